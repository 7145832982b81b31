// Calls functions of hiems as a browser does. Argument: {url, key, more: [{token, rpc, args}]}; prints what
// supabase-js gave for each.
import { createClient } from '@supabase/supabase-js'
import WebSocket from 'ws'

const { url, key, more } = JSON.parse(process.argv[2])
// Supabase's API gateway takes /rest/v1 away; here PostgREST is asked itself.
const fetchThere = (address, init) => fetch(String(address).replace('/rest/v1', ''), init)

const answers = []
for (const { token, rpc, args } of more) {
  const supabase = createClient(url, key, {
    accessToken: async () => token,
    global: { fetch: fetchThere },
    realtime: { transport: WebSocket },
  })
  const { data, error, status } = await supabase.schema('hiems').rpc(rpc, args)
  answers.push({ data, error, status })
}
console.log(JSON.stringify(answers))
