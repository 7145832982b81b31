// A reader listens, an admin takes its level, its token is renewed, and it joins again. Argument: {url, key,
// more: {reader: [a token, its next one], admin, sub}}; prints {told, again}: what its channel was told, and what
// the next join was.
import { createClient } from '@supabase/supabase-js'
import WebSocket from 'ws'

const { url, key, more } = JSON.parse(process.argv[2])
const [first, next] = more.reader
let token = first
// Who is not told fails, and does not wait for ever.
setTimeout(() => {
  console.error('it was not told within a minute')
  process.exit(1)
}, 60_000)
const options = { realtime: { transport: WebSocket, timeout: 60_000 } }
const reader = createClient(url, key, { ...options, accessToken: async () => token })
const admin = createClient(url, key, { ...options, accessToken: async () => more.admin })

const usage = (tell) =>
  new Promise((resolve) => {
    reader
      .channel('hiems:usage', { config: { private: true } })
      .on('system', {}, (it) => tell(it.message))
      .subscribe((status, error) => {
        tell(status)
        resolve({ status, reason: error?.message ?? null })
      })
  })

await reader.realtime.setAuth()
const told = []
let close
const closed = new Promise((resolve) => (close = resolve))
await usage((it) => {
  told.push(it)
  if (it === 'CLOSED') close()
})
await admin.schema('hiems').rpc('revoke_access', { grantee: more.sub }).throwOnError()
token = next
await reader.realtime.setAuth()
await closed
const again = await usage(() => {})
console.log(JSON.stringify({ told, again }))
process.exit(0)
