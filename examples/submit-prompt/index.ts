// The edge function submit-prompt for hosted Supabase, where no extension of one's own can be installed:
// it forwards to hiems on a PostgreSQL beside the project, with the user's own token.
// Request: POST {model, messages, user?, ...}, as submit_prompt takes them. Response: OpenRouter's body, or
// {error: {code, message, metadata}} with the same status, as OpenRouter's own errors are.
// Secret HIEMS_URL: where PostgREST stands in front of that PostgreSQL; it checks the project's tokens.

const cors = {
  'Access-Control-Allow-Origin': '*',
  'Access-Control-Allow-Headers': 'authorization, x-client-info, apikey, content-type',
}

function answer(status: number, body: unknown): Response {
  const headers = { ...cors, 'Content-Type': 'application/json' }
  return new Response(JSON.stringify(body), { status, headers })
}

function refuse(status: number, message: string, metadata = {}): Response {
  return answer(status, { error: { code: status, message, metadata } })
}

Deno.serve(async (request: Request): Promise<Response> => {
  if (request.method === 'OPTIONS') return new Response('ok', { headers: cors })
  if (request.method !== 'POST') return refuse(405, 'use POST')
  const token = request.headers.get('Authorization')
  if (!token) return refuse(401, 'no token')
  const headers = { Authorization: token, 'Content-Type': 'application/json', 'Content-Profile': 'hiems' }
  const url = `${Deno.env.get('HIEMS_URL')}/rpc/submit_prompt`
  try {
    const asked = await fetch(url, { method: 'POST', headers, body: await request.text() })
    if (asked.ok) return new Response(asked.body, { headers: { ...cors, 'Content-Type': 'application/json' } })
    const { code, message, details, hint } = await asked.json()
    return refuse(asked.status, message, { sqlstate: code, details, hint })
  } catch {
    // Whether it was sent is not known: hiems books it all the same.
    return refuse(502, 'hiems did not answer')
  }
})
