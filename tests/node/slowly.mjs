// Runs what examples/typescript does with Realtime. Argument: {url, key, more: {module, token, fails}}; prints
// {first, again, refusal}: the answers of one key asked twice, and of another user's topic; or, where `fails`
// is set, what asking failed with. It looks by itself after 10 minutes only: before that there is the broadcast.
import WebSocket from 'ws'

const { url, key, more } = JSON.parse(process.argv[2])
const { connect, askSlowly, onBooked, CallFailed } = await import(more.module)
// Who is not told fails, and does not wait for ever.
setTimeout(() => {
  console.error('it was not told within a minute')
  process.exit(1)
}, 60_000)
const realtime = { transport: WebSocket, timeout: 60_000 }
const hiems = connect(url, key, { accessToken: async () => more.token, realtime })
const ask = (key) => askSlowly(hiems, 'ada', [{ role: 'user', content: 'hello' }], key, 600_000)

if (more.fails) {
  const error = await ask('report-2').catch((error) => error)
  if (!(error instanceof CallFailed)) throw new Error(`no CallFailed: ${error}`)
  const { status, code, call } = error
  console.log(JSON.stringify({ status, code, call }))
} else {
  const first = await ask('report-1')
  const again = await ask('report-1')
  const refusal = await onBooked(hiems, 'bea', () => {}).catch((error) => error.message)
  console.log(JSON.stringify({ first, again, refusal }))
}
process.exit(0)
