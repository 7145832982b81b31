// Stands for Supabase's API gateway, and for Realtime behind it: Realtime's own server cannot be had from npm.
// It speaks the protocol that supabase-js speaks, and decides nothing itself: PostgreSQL is asked who joins
// and who sees a row, in the SQL that Realtime uses (lib/realtime/tenants/authorization.ex and walrus).
// Nobody sends here: tests/wire/supabase/join.rs asks who may. Argument: {database, secret, rest, decoder}:
// how to connect, the secret of tokens, PostgREST's address; prints the port that it listens on.
import { createHmac } from 'node:crypto'
import http from 'node:http'
import pg from 'pg'
import { WebSocketServer } from 'ws'

const { database, secret, rest, decoder } = JSON.parse(process.argv[2])
const pool = new pg.Pool(database)
// The server ends first, where a test fails.
pool.on('error', () => process.exit(1))

/** What a token says, once its signature and its time are right. */
function claimsOf(token) {
  const [head, body, signature] = String(token).split('.')
  const signed = createHmac('sha256', secret).update(`${head}.${body}`).digest('base64url')
  if (signature !== signed) throw new Error('JwtSignatureError: Failed to validate JWT signature')
  const claims = JSON.parse(Buffer.from(body, 'base64url').toString())
  if (!claims.role || !claims.exp) throw new Error('InvalidJWTToken: Fields `role` and `exp` are required in JWT')
  if (claims.exp * 1_000 <= Date.now()) throw new Error('InvalidJWTToken: Token has expired')
  return claims
}

/** Runs this in a transaction that leaves nothing behind. */
async function tried(body) {
  const client = await pool.connect()
  try {
    await client.query('BEGIN')
    return await body(async (sql, values) => (await client.query(sql, values)).rows)
  } finally {
    await client.query('ROLLBACK')
    client.release()
  }
}

const become = (query, claims, topic) =>
  query(
    `SELECT set_config('role', $1, true), set_config('realtime.topic', $2, true),
            set_config('request.jwt.claims', $3, true)`,
    [claims.role, topic, JSON.stringify(claims)],
  )

/** Whether who has these claims sees a row of the topic. */
const mayRead = (claims, topic) =>
  tried(async (query) => {
    const rows = await query(
      `INSERT INTO realtime.messages (topic, extension) VALUES ($1, 'broadcast'), ($1, 'presence') RETURNING id`,
      [topic],
    )
    await become(query, claims, topic)
    const seen = 'SELECT FROM realtime.messages WHERE topic = $1 AND id = ANY ($2)'
    return (await query(seen, [topic, rows.map(({ id }) => id)])).length > 0
  })

/** Each joined channel: {say, topic, isPrivate, claims, changes}. */
const channels = new Set()

async function join(say, topic, payload, apikey) {
  const claims = claimsOf(payload.access_token ?? apikey)
  const isPrivate = payload.config.private === true
  if (isPrivate && !(await mayRead(claims, topic))) {
    throw new Error(`Unauthorized: You do not have permissions to read from this Channel topic: ${topic}`)
  }
  const changes = (payload.config.postgres_changes ?? []).map((it, i) => ({ ...it, id: i + 1 }))
  return { say, topic, isPrivate, claims, changes }
}

/** What Realtime says of a subscription to changes, after the join. */
async function subscribed({ say, topic, changes }) {
  if (changes.length === 0) return
  const { rows } = await pool.query(
    `SELECT FROM unnest($1::text[], $2::text[]) AS wanted(schema, name)
     WHERE NOT EXISTS (SELECT FROM pg_publication_tables
                       WHERE pubname = 'supabase_realtime' AND schemaname = schema AND tablename = name)`,
    [changes.map(({ schema }) => schema), changes.map(({ table }) => table)],
  )
  const status = rows.length === 0 ? 'ok' : 'error'
  const message = status === 'ok' ? 'Subscribed to PostgreSQL' : 'Unable to subscribe to changes with given parameters'
  say('system', { extension: 'postgres_changes', status, message, channel: topic })
}

function serve(socket, apikey) {
  const joined = new Map()
  const leave = (name) => {
    channels.delete(joined.get(name))
    joined.delete(name)
  }
  socket.on('close', () => [...joined.keys()].forEach(leave))
  socket.on('message', async (text) => {
    const [joinRef, ref, name, event, payload] = JSON.parse(text)
    const say = (what, it, to = null) => socket.send(JSON.stringify([joinRef, to, name, what, it]))
    const reply = (status, response) => say('phx_reply', { status, response }, ref)
    const topic = name.replace(/^realtime:/, '')
    if (event === 'heartbeat') return reply('ok', {})
    if (event === 'phx_leave') return leave(name), reply('ok', {})
    try {
      if (event === 'phx_join') {
        const channel = await join(say, topic, payload, apikey)
        joined.set(name, channel)
        channels.add(channel)
        reply('ok', { postgres_changes: channel.changes })
        await subscribed(channel)
      } else if (event === 'access_token' && joined.has(name)) {
        const channel = joined.get(name)
        const config = { private: channel.isPrivate }
        channel.claims = (await join(say, topic, { ...payload, config }, apikey)).claims
      }
    } catch ({ message }) {
      if (event === 'phx_join') return reply('error', { reason: message })
      leave(name)
      say('system', { extension: 'system', status: 'error', message, channel: topic })
      say('phx_close', {})
    }
  })
}

const MESSAGES = `
  SELECT id, topic, event, payload, private FROM realtime.messages
  WHERE extension = 'broadcast' AND NOT id = ANY ($1) ORDER BY inserted_at`
const sent = []

/** New rows of realtime.messages, to who has joined. A public channel of the same name is another one. */
async function broadcast() {
  const { rows } = await pool.query(MESSAGES, [sent])
  for (const { id, topic, event, payload, private: isPrivate } of rows) {
    sent.push(id)
    for (const channel of channels) {
      if (channel.topic !== topic || channel.isPrivate !== isPrivate) continue
      channel.say('broadcast', { type: 'broadcast', event, payload, meta: { id } })
    }
  }
}

const WAL2JSON = `
  SELECT data FROM pg_logical_slot_get_changes(current_database(), NULL, 100,
    'format-version', '2', 'include-transaction', 'false', 'include-pk', 'true', 'actions', 'insert',
    'add-tables', (SELECT coalesce(string_agg(format('%s.%s', schemaname, tablename), ','), 'none.none')
                   FROM pg_publication_tables WHERE pubname = 'supabase_realtime'))`
// What PostgreSQL has itself says as much of the ledger; the key is all that is read of it.
const TEST_DECODING = `
  SELECT json_build_object('action', 'I', 'schema', 'hiems', 'table', 'ai_usage_logs', 'columns',
           json_build_array(json_build_object('name', 'id', 'type', 'uuid',
             'value', substring(data FROM $$\\mid\\[uuid\\]:'([^']+)'$$))))::text AS data
  FROM pg_logical_slot_get_changes(current_database(), NULL, 100)
  WHERE data LIKE 'table hiems.ai\\_usage\\_logs: INSERT:%'
    AND EXISTS (SELECT FROM pg_publication_tables WHERE pubname = 'supabase_realtime' AND tablename = 'ai_usage_logs')`

/** The columns of an inserted row that these claims may see; none: they do not see it. */
const visible = ({ schema, table, columns }, claims) =>
  tried(async (query) => {
    await become(query, claims, '')
    const may = `SELECT name FROM unnest($2::text[]) AS name WHERE has_column_privilege($1::text, name, 'SELECT')`
    const of = `${pg.escapeIdentifier(schema)}.${pg.escapeIdentifier(table)}`
    const names = (await query(may, [of, columns.map(({ name }) => name)])).map(({ name }) => name)
    if (!names.includes('id')) return []
    const { value: id } = columns.find(({ name }) => name === 'id')
    const [{ exists }] = await query(`SELECT EXISTS (SELECT FROM ${of} WHERE id = $1)`, [id])
    return exists ? columns.filter(({ name }) => names.includes(name)) : []
  })

/** Inserted rows of published tables, to the subscribers that see them. */
async function tellChanges(slot) {
  const { rows } = await slot.query(decoder === 'wal2json' ? WAL2JSON : TEST_DECODING)
  for (const change of rows.map(({ data }) => JSON.parse(data))) {
    const { schema, table } = change
    for (const channel of channels) {
      const ids = channel.changes
        .filter((it) => it.schema === schema && it.table === table && ['*', 'INSERT'].includes(it.event))
        .map(({ id }) => id)
      if (ids.length === 0) continue
      const columns = await visible(change, channel.claims)
      if (columns.length === 0) continue
      const record = Object.fromEntries(columns.map(({ name, value }) => [name, value]))
      const told = { type: 'INSERT', schema, table, commit_timestamp: new Date().toISOString(), record, errors: null }
      told.columns = columns.map(({ name, type }) => ({ name, type }))
      channel.say('postgres_changes', { ids, data: told })
    }
  }
}

const slot = new pg.Client(database)
slot.on('error', () => process.exit(1))
await slot.connect()
await slot.query('SELECT pg_create_logical_replication_slot(current_database(), $1, true)', [decoder])
sent.push(...(await pool.query(MESSAGES, [[]])).rows.map(({ id }) => id))

// /rest/v1 is PostgREST's.
const server = http.createServer((request, response) => {
  const { method, headers, url } = request
  const forwarded = http.request(rest + url.replace('/rest/v1', ''), { method, headers }, (answer) => {
    response.writeHead(answer.statusCode, answer.headers)
    answer.pipe(response)
  })
  forwarded.on('error', () => response.writeHead(502).end())
  request.pipe(forwarded)
})
const keyOf = (request) => new URL(request.url, 'http://localhost').searchParams.get('apikey')
const verifyClient = ({ req }) => {
  try {
    return claimsOf(keyOf(req)) !== undefined
  } catch {
    return false
  }
}
new WebSocketServer({ server, path: '/realtime/v1/websocket', verifyClient }).on('connection', (socket, request) =>
  serve(socket, keyOf(request)),
)
server.listen(0, '127.0.0.1', () => console.log(server.address().port))

// As often as Realtime looks.
for (;;) {
  await broadcast()
  await tellChanges(slot)
  await new Promise((resume) => setTimeout(resume, 100))
}
