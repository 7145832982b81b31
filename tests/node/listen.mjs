// Listens on hiems_usage. Argument: {host, port, user, database}; prints a line when it listens, and then the
// first message that comes, with the rows that it reads by it.
import pg from 'pg'

const client = new pg.Client(JSON.parse(process.argv[2]))
await client.connect()
const told = new Promise((resolve) => client.on('notification', resolve))
await client.query('LISTEN hiems_usage')
console.log('listening')
const { channel, payload } = await told
const { rows } = await client.query(
  'SELECT id, user_id, cost_usd::text FROM hiems.ai_usage_logs WHERE id = ANY ($1)',
  [JSON.parse(payload).ids],
)
console.log(JSON.stringify({ channel, payload, rows }))
await client.end()
