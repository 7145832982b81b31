// The whole path of two users and a reader: what each asks, and what each is told. Argument: {url, key, more:
// {ada, bea, boss: tokens, args}}; prints {asked: {ada, bea}: ids, events, changes: {ada, bea, boss}: what each
// was told, answer, elsewhere: what was told on a public channel of ada's topic}.
import { createClient } from '@supabase/supabase-js'
import WebSocket from 'ws'

const { url, key, more } = JSON.parse(process.argv[2])
const options = { realtime: { transport: WebSocket, timeout: 60_000 } }
// Who is not told fails, and does not wait for ever.
setTimeout(() => {
  console.error('it was not told within a minute')
  process.exit(1)
}, 60_000)
const subscribe = (channel) =>
  new Promise((resolve, reject) => {
    channel.subscribe((status, error) => (status === 'SUBSCRIBED' ? resolve() : reject(error ?? new Error(status))))
  })

/** Keeps what it is told, and tells who waits for it. */
class Told {
  all = []
  waiting = []
  push(it) {
    this.all.push(it)
    this.waiting.forEach((look) => look())
  }
  until(is) {
    return new Promise((resolve) => {
      const look = () => this.all.some(is) && resolve(this.all.find(is))
      this.waiting.push(look)
      look()
    })
  }
}

async function signIn(token, topic) {
  const supabase = createClient(url, key, { ...options, accessToken: async () => token })
  await supabase.realtime.setAuth()
  const [events, changes, systems] = [new Told(), new Told(), new Told()]
  await subscribe(
    supabase
      .channel(topic, { config: { private: true } })
      .on('broadcast', { event: 'usage' }, ({ payload }) => events.push(payload)),
  )
  await subscribe(
    supabase
      .channel('ledger')
      .on('system', {}, (it) => systems.push(it))
      .on('postgres_changes', { event: 'INSERT', schema: 'hiems', table: 'ai_usage_logs' }, (it) => changes.push(it)),
  )
  const { status, message } = await systems.until(({ extension }) => extension === 'postgres_changes')
  if (status !== 'ok') throw new Error(message)
  const hiems = supabase.schema('hiems')
  const rpc = async (name, args) => (await hiems.rpc(name, args).throwOnError()).data
  return { supabase, events, changes, rpc }
}

const ada = await signIn(more.ada, 'hiems:user:ada')
const bea = await signIn(more.bea, 'hiems:user:bea')
const boss = await signIn(more.boss, 'hiems:usage')
const elsewhere = []
await subscribe(
  bea.supabase.channel('hiems:user:ada').on('broadcast', { event: '*' }, ({ payload }) => elsewhere.push(payload)),
)

const asked = { ada: [], bea: [] }
let answer
for (let i = 0; i < 2; i++) {
  const id = await ada.rpc('enqueue_prompt', more.args)
  asked.ada.push(id)
  await ada.events.until((event) => event.id === id)
  // It is booked: so the answer is there.
  answer = await ada.rpc('await_prompt', { id, timeout: '0 s' })
  const other = await bea.rpc('enqueue_prompt', more.args)
  asked.bea.push(other)
  await bea.events.until((event) => event.id === other)
}
for (const [who, id] of [[ada, asked.ada[1]], [bea, asked.bea[1]], [boss, asked.ada[1]], [boss, asked.bea[1]]]) {
  await who.events.until((event) => event.id === id)
  await who.changes.until((change) => change.new.id === id)
}
const of = (list) => ({ ada: ada[list].all, bea: bea[list].all, boss: boss[list].all })
console.log(JSON.stringify({ asked, answer, elsewhere, events: of('events'), changes: of('changes') }))
process.exit(0)
