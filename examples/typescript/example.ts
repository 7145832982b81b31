// What a browser says to hiems, by supabase-js: a call, a slow call by the queue, costs, and news of both.
// Types are in hiems.d.ts; docs/supabase.md says what has to be set up.
import { createClient, type SupabaseClient } from '@supabase/supabase-js'
import type { Database } from './hiems.d.ts'

export type Hiems = SupabaseClient<Database, 'hiems'>

/** The client of a signed-in user: the token's `sub` is who calls, and whose rows are seen. */
export function connect(url: string, key: string, options = {}): Hiems {
  return createClient<Database, 'hiems'>(url, key, { db: { schema: 'hiems' }, ...options })
}

/** The part of OpenRouter's answer that is used here. */
export interface ChatCompletion {
  id: string
  model: string
  choices: { message: { content: string | null }; finish_reason: string | null }[]
  usage?: { prompt_tokens: number; completion_tokens: number; total_tokens: number; cost?: number }
}

export type Message = { role: 'system' | 'user' | 'assistant'; content: string }

/** What hiems says of a call that failed; `code` is the SQLSTATE: PT402 is HTTP status 402, and so on. */
export class CallFailed extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly details: string | null,
    readonly hint: string | null,
  ) {
    super(message)
  }

  /** The call's id, where it reached OpenRouter: its row in `ai_usage_logs` has it. */
  get call(): string | undefined {
    return this.details?.match(/^call ([0-9a-f-]{36})/)?.[1]
  }

  /** How long to wait before the next try, where that is known. */
  get retryAfterSeconds(): number | undefined {
    const seconds = this.details?.match(/retry after (\d+) s/)?.[1]
    return seconds === undefined ? undefined : Number(seconds)
  }
}

type Refusal = { code: string; message: string; details: string | null; hint: string | null }

function failed(status: number, error: Refusal): CallFailed {
  return new CallFailed(status, error.code, error.message, error.details, error.hint)
}

/** A call whose answer comes within some 50 s; it holds a connection of PostgREST's pool meanwhile. */
export async function ask(hiems: Hiems, messages: Message[], useCase: string): Promise<ChatCompletion> {
  const { data, error, status } = await hiems.rpc('submit_prompt', {
    model: 'openai/gpt-4o-mini',
    messages,
    use_case: useCase,
    options: { temperature: 0.2, max_completion_tokens: 500 },
  })
  if (error) throw failed(status, error)
  return data as unknown as ChatCompletion
}

/** For all that is slow: enqueues a call and returns its id. With the same key it is enqueued once. */
export async function enqueue(hiems: Hiems, messages: Message[], key: string): Promise<string> {
  const { data, error, status } = await hiems.rpc('enqueue_prompt', {
    model: 'openai/gpt-4o-mini',
    messages,
    use_case: 'report',
    idempotency_key: key,
  })
  if (error) throw failed(status, error)
  return data!
}

/** The answer of an enqueued call, once it is there. A look takes milliseconds: nothing is held in between. */
async function look(hiems: Hiems, id: string): Promise<ChatCompletion | undefined> {
  const { data, error, status } = await hiems.rpc('await_prompt', { id, timeout: '0 s' })
  if (!error) return data as unknown as ChatCompletion
  // PT408: it is on its way.
  if (status !== 408) throw failed(status, error)
}

/** The answer of an enqueued call, without Realtime: it looks again and again. */
export async function collect(hiems: Hiems, id: string, pauseMs = 1_000): Promise<ChatCompletion> {
  for (;;) {
    const answer = await look(hiems, id)
    if (answer) return answer
    await new Promise((resume) => setTimeout(resume, pauseMs))
  }
}

/**
 * The same with Realtime: enqueues a call, and has its answer as soon as the broadcast says that it is booked. An
 * event is a hint, which a lost connection loses, and a call that was never sent has none: so it looks by itself
 * too, now and then. With the same key it can be asked again, from another page as well.
 */
export async function askSlowly(
  hiems: Hiems,
  userId: string,
  messages: Message[],
  key: string,
  pauseMs = 15_000,
): Promise<ChatCompletion> {
  let id: string
  let wake = () => {}
  const stop = await onBooked(hiems, userId, (event) => event.id === id && wake())
  try {
    id = await enqueue(hiems, messages, key)
    for (;;) {
      // Made before the look, so that no event is missed in between.
      let timer: ReturnType<typeof setTimeout>
      const woken = new Promise<void>((resume) => {
        wake = resume
        timer = setTimeout(resume, pauseMs)
      })
      try {
        const answer = await look(hiems, id)
        if (answer) return answer
        await woken
      } finally {
        clearTimeout(timer!)
      }
    }
  } finally {
    stop()
  }
}

/** What the signed-in user has spent, by day. Text, so that no digit is lost. */
export async function spentByDay(hiems: Hiems): Promise<{ day: string; cost_usd: string | null }[]> {
  const { data, error, status } = await hiems
    .from('my_usage_daily')
    .select('day, cost_usd::text')
    .order('day')
    .overrideTypes<{ day: string; cost_usd: string | null }[], { merge: false }>()
  if (error) throw failed(status, error)
  return data
}

/** What is broadcast of a booked call: figures of its row, no prompts. */
export interface Booked {
  id: string
  created_at: string
  booked_at: string
  model: string | null
  user_id: string | null
  use_case: string | null
  total_tokens: number | null
  cost_usd: number | null
  outcome: string
  calls: number
  adjusts: string | null
}

/** Tells of each booked call of this user, by private broadcast, until what it gives is called. */
export async function onBooked(hiems: Hiems, userId: string, tell: (event: Booked) => void): Promise<() => void> {
  await hiems.realtime.setAuth()
  return await new Promise((joined, refused) => {
    const channel = hiems
      .channel(`hiems:user:${userId}`, { config: { private: true } })
      .on('broadcast', { event: 'usage' }, ({ payload }) => tell(payload as Booked))
      .subscribe((status, error) => {
        if (status === 'SUBSCRIBED') return joined(() => void hiems.removeChannel(channel))
        if (status === 'CLOSED') return
        void hiems.removeChannel(channel)
        refused(error ?? new Error(status))
      })
  })
}
