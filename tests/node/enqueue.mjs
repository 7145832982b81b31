// Enqueues a call and waits for its answer, as a browser does. Argument: {url, key, more: {token, args}};
// prints {id, answer}.
import { createClient } from '@supabase/supabase-js'
import WebSocket from 'ws'

const { url, key, more } = JSON.parse(process.argv[2])
const supabase = createClient(url, key, {
  accessToken: async () => more.token,
  global: { fetch: (address, init) => fetch(String(address).replace('/rest/v1', ''), init) },
  realtime: { transport: WebSocket },
})
const hiems = supabase.schema('hiems')

const { data: id } = await hiems.rpc('enqueue_prompt', more.args).throwOnError()
let answer = null
while (answer === null) {
  const { data, error, status } = await hiems.rpc('await_prompt', { id })
  if (error && status !== 408) throw new Error(JSON.stringify(error))
  answer = data
}
console.log(JSON.stringify({ id, answer }))
