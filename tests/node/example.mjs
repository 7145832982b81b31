// Runs the functions of examples/typescript. Argument: {url, key, more: {module, token, fails}}; prints what
// they gave, or, where `fails` is set, what asking failed with.
import WebSocket from 'ws'

const { url, key, more } = JSON.parse(process.argv[2])
const { connect, ask, enqueue, collect, spentByDay, CallFailed } = await import(more.module)
const hiems = connect(url, key, {
  accessToken: async () => more.token,
  global: { fetch: (address, init) => fetch(String(address).replace('/rest/v1', ''), init) },
  realtime: { transport: WebSocket },
})
const messages = [{ role: 'user', content: 'hello' }]

if (more.fails) {
  const error = await ask(hiems, messages, 'chat').catch((error) => error)
  if (!(error instanceof CallFailed)) throw new Error(`no CallFailed: ${error}`)
  const { status, code, call, retryAfterSeconds } = error
  console.log(JSON.stringify({ status, code, call, retryAfterSeconds }))
} else {
  const asked = await ask(hiems, messages, 'chat')
  const id = await enqueue(hiems, messages, 'report-1')
  const again = await enqueue(hiems, messages, 'report-1')
  const collected = await collect(hiems, id, 50)
  const spent = await spentByDay(hiems)
  console.log(JSON.stringify({ asked, id, again, collected, spent }))
}
