// Joins channels as a browser does. Argument: {url, key, more: [{token, topic, private}]}; prints what each
// was told, [{status, reason}].
import { createClient } from '@supabase/supabase-js'
import WebSocket from 'ws'

const { url, key, more } = JSON.parse(process.argv[2])
const options = { realtime: { transport: WebSocket, timeout: 60_000 } }
const told = []
for (const { token, topic, private: isPrivate } of more) {
  const supabase = createClient(url, key, { ...options, accessToken: async () => token })
  await supabase.realtime.setAuth()
  const channel = supabase.channel(topic, { config: { private: isPrivate } })
  told.push(
    await new Promise((resolve) => {
      channel.subscribe((status, error) => resolve({ status, reason: error?.message ?? null }))
    }),
  )
  await supabase.removeAllChannels()
}
console.log(JSON.stringify(told))
process.exit(0)
