// Made by scripts/types from the catalog: do not edit. createClient<Database>(...).schema('hiems')
// Numbers are JavaScript's: a cost to the last digit is read as text, select('cost_usd::text').

export type Json = string | number | boolean | null | { [key: string]: Json | undefined } | Json[]

export type Database = {
  hiems: {
    Tables: {
      ai_usage_logs: {
        Row: {
          id: string
          created_at: string
          booked_at: string
          generation_id: string | null
          model: string | null
          model_requested: string | null
          provider: string | null
          user_id: string | null
          use_case: string | null
          session_id: string | null
          metadata: Json | null
          prompt_tokens: number | null
          completion_tokens: number | null
          total_tokens: number | null
          cached_tokens: number | null
          cache_write_tokens: number | null
          reasoning_tokens: number | null
          cost_usd: number | null
          upstream_cost_usd: number | null
          is_byok: boolean | null
          cost_source: string
          cost_sek: number | null
          usd_sek_rate: number | null
          rate_date: string | null
          rate_source: string | null
          outcome: string
          finish_reason: string | null
          native_finish_reason: string | null
          http_status: number | null
          error_code: string | null
          latency_ms: number | null
          first_token_ms: number | null
          attempts: number
          streamed: boolean
          booked_xid: string
          principal: string
          key_name: string | null
          role_name: string | null
          application_name: string | null
          adjusts: string | null
          calls: number
        }
        Insert: { [column: string]: never }
        Update: { [column: string]: never }
        Relationships: []
      }
    }
    Views: {
      api_keys: {
        Row: {
          name: string | null
          kind: string | null
          fingerprint: string | null
          version: number | null
          stored_at: string | null
          stored_by: string | null
          master_key: string | null
          sealed_at: string | null
        }
        Relationships: []
      }
      calls: {
        Row: {
          id: string | null
          state: string | null
          created_at: string | null
          age: string | null
          settled_at: string | null
          model_requested: string | null
          user_id: string | null
          use_case: string | null
          session_id: string | null
          attempts: number | null
          generation_id: string | null
          cost_usd: number | null
          caller_gone: boolean | null
          principal: string | null
          batch_id: string | null
          batch_size: number | null
          batch_done: number | null
          batch_failed: number | null
          batch_cost_usd: number | null
          run_at: string | null
          priority: number | null
          max_attempts: number | null
          last_error: string | null
        }
        Relationships: []
      }
      model_statistics: {
        Row: {
          model: string | null
          provider: string | null
          calls: number | null
          failed_calls: number | null
          cost_usd_per_call: number | null
          cost_usd_per_million_tokens: number | null
          prompt_tokens_per_call: number | null
          completion_tokens_per_call: number | null
          latency_ms_average: number | null
          latency_ms_p50: number | null
          latency_ms_p95: number | null
          completion_tokens_per_second: number | null
        }
        Relationships: []
      }
      my_usage_by_model: {
        Row: {
          model: string | null
          calls: number | null
          prompt_tokens: number | null
          completion_tokens: number | null
          total_tokens: number | null
          cost_usd: number | null
          cost_sek: number | null
          calls_without_cost: number | null
          calls_without_rate: number | null
          failed_calls: number | null
        }
        Relationships: []
      }
      my_usage_daily: {
        Row: {
          day: string | null
          calls: number | null
          prompt_tokens: number | null
          completion_tokens: number | null
          total_tokens: number | null
          cost_usd: number | null
          cost_sek: number | null
          calls_without_cost: number | null
          calls_without_rate: number | null
          failed_calls: number | null
        }
        Relationships: []
      }
      my_usage_totals: {
        Row: {
          calls: number | null
          prompt_tokens: number | null
          completion_tokens: number | null
          total_tokens: number | null
          cost_usd: number | null
          cost_sek: number | null
          calls_without_cost: number | null
          calls_without_rate: number | null
          failed_calls: number | null
        }
        Relationships: []
      }
      usage_by_model: {
        Row: {
          model: string | null
          calls: number | null
          prompt_tokens: number | null
          completion_tokens: number | null
          total_tokens: number | null
          cost_usd: number | null
          cost_sek: number | null
          calls_without_cost: number | null
          calls_without_rate: number | null
          failed_calls: number | null
        }
        Relationships: []
      }
      usage_by_use_case: {
        Row: {
          use_case: string | null
          calls: number | null
          prompt_tokens: number | null
          completion_tokens: number | null
          total_tokens: number | null
          cost_usd: number | null
          cost_sek: number | null
          calls_without_cost: number | null
          calls_without_rate: number | null
          failed_calls: number | null
        }
        Relationships: []
      }
      usage_by_user: {
        Row: {
          user_id: string | null
          calls: number | null
          prompt_tokens: number | null
          completion_tokens: number | null
          total_tokens: number | null
          cost_usd: number | null
          cost_sek: number | null
          calls_without_cost: number | null
          calls_without_rate: number | null
          failed_calls: number | null
        }
        Relationships: []
      }
      usage_daily: {
        Row: {
          day: string | null
          calls: number | null
          prompt_tokens: number | null
          completion_tokens: number | null
          total_tokens: number | null
          cost_usd: number | null
          cost_sek: number | null
          calls_without_cost: number | null
          calls_without_rate: number | null
          failed_calls: number | null
        }
        Relationships: []
      }
      usage_totals: {
        Row: {
          calls: number | null
          prompt_tokens: number | null
          completion_tokens: number | null
          total_tokens: number | null
          cached_tokens: number | null
          cache_write_tokens: number | null
          reasoning_tokens: number | null
          cost_usd: number | null
          cost_sek: number | null
          byok_upstream_cost_usd: number | null
          calls_without_cost: number | null
          calls_without_rate: number | null
          failed_calls: number | null
          first_call_at: string | null
          last_call_at: string | null
        }
        Relationships: []
      }
    }
    Functions: {
      /** Has this database use the keys that were stored in another one: it is a copy of that (CREATE DATABASE ... */
      adopt_api_keys: {
        Args: Record<PropertyKey, never>
        Returns: number | null
      }
      /** The answer of one of the caller's own calls: OpenRouter's body, as hiems.submit_prompt() gives it. */
      await_prompt: {
        Args: { id: string | null; timeout?: string | null }
        Returns: Json
      }
      /** Takes a call out of the queue, with the commit of this transaction. */
      cancel_prompt: {
        Args: { id: string | null }
        Returns: boolean | null
      }
      /** What is wrong with hiems in a project of Supabase's: a row per check that is well, and one per thing that is not, with its name, status (ok, warn, fail), what was found, and what mends it (hint; NULL: nothing to do). */
      check_supabase: {
        Args: Record<PropertyKey, never>
        Returns: { name: string | null; status: string | null; detail: string | null; hint: string | null }[]
      }
      /** Asks a model one question and returns the text of its answer; NULL where the answer has none (a tool call). */
      complete: {
        Args: { prompt: string | null; model?: string | null; user?: string | null; use_case?: string | null }
        Returns: string | null
      }
      /** Whose rows are this session's own: jwt:<sub> in sessions of hiems.jwt_session_roles, else role:<name>, or role#2:<name> where an older role of that name, dropped or renamed since, has called before. */
      current_principal: {
        Args: Record<PropertyKey, never>
        Returns: string | null
      }
      /** The user that this session's calls are booked to where none is named; NULL where a token's session has no subject: they are booked to its role then. */
      current_user_id: {
        Args: Record<PropertyKey, never>
        Returns: string | null
      }
      /** Takes back what hiems.enable_supabase() gave: the policies on realtime.messages (and with them the broadcast), the ledger's place in supabase_realtime, and the levels of authenticated and service_role. */
      disable_supabase: {
        Args: Record<PropertyKey, never>
        Returns: { step: string | null; status: string | null; detail: string | null; hint: string | null }[]
      }
      /** Forgets a key. */
      drop_api_key: {
        Args: { name?: string | null }
        Returns: undefined
      }
      /** Opens hiems in a project of Supabase's, step by step; a row each: step, status (done; kept: it was so already; skipped: there is nothing to do it with), detail, hint (NULL: nothing to do). */
      enable_supabase: {
        Args: Record<PropertyKey, never>
        Returns: { step: string | null; status: string | null; detail: string | null; hint: string | null }[]
      }
      /** Enqueues a call, and returns its id; the gateway makes it once this transaction is committed, and books it; what is rolled back is never sent. */
      enqueue_prompt: {
        Args: { model: string | null; messages: Json | null; user?: string | null; use_case?: string | null; session_id?: string | null; metadata?: Json | null; options?: Json | null; idempotency_key?: string | null; run_at?: string | null; priority?: number | null; max_attempts?: number | null }
        Returns: string | null
      }
      /** Enqueues many calls at once, and returns their ids in the order of the requests. */
      enqueue_prompts: {
        Args: { requests: Json | null }
        Returns: string[]
      }
      /** Asks a model one question and returns its answer as JSON that matches a JSON Schema, every number as the model wrote it. */
      extract: {
        Args: { prompt: string | null; schema: Json | null; model?: string | null; user?: string | null; use_case?: string | null; options?: Json | null }
        Returns: Json
      }
      /** Gives a level to a database role, and the privileges to reach hiems. */
      grant_access: {
        Args: { role: string | null; level: string | null }
        Returns: undefined
      }
      /** Gives a level to one token's user: its claim sub. */
      grant_user_access: {
        Args: { user_id: string | null; level: string | null }
        Returns: undefined
      }
      /** True if the current role, or its token's user, has the level; a superuser has all. */
      has_level: {
        Args: { level: string | null }
        Returns: boolean | null
      }
      /** Whether hiems is well: a row per check with its name, status (ok, warn, fail), what was found, and what to do (hint; NULL: nothing). */
      health: {
        Args: Record<PropertyKey, never>
        Returns: { name: string | null; status: string | null; detail: string | null; hint: string | null }[]
      }
      /** What the view hiems.api_keys shows. */
      list_api_keys: {
        Args: Record<PropertyKey, never>
        Returns: { name: string | null; kind: string | null; fingerprint: string | null; version: number | null; stored_at: string | null; stored_by: string | null; master_key: string | null; sealed_at: string | null }[]
      }
      /** The answer to one of the caller's own calls (its id), as it came from OpenRouter; kept for hiems.answer_retention where it was changed to fit jsonb, cannot be read, has a part of the text beside an error, is that of a stream that failed (its events), or came after its caller had gone. */
      raw_answer: {
        Args: { call: string | null }
        Returns: string | null
      }
      /** The time zone of the days in views: hiems.reporting_time_zone, else the TimeZone that the session began with. */
      reporting_time_zone: {
        Args: Record<PropertyKey, never>
        Returns: string | null
      }
      /** Has paused calls made after all, and returns how many. */
      resume_prompts: {
        Args: Record<PropertyKey, never>
        Returns: number | null
      }
      /** Takes a level (NULL: every level) from a role, by whatever name it was given, and from a token's user of that name. */
      revoke_access: {
        Args: { grantee: string | null; level?: string | null }
        Returns: boolean | null
      }
      /** Seals every stored key of this database with a new master key, in the caller's transaction, and returns how many there are; calls go on meanwhile. */
      rotate_master_key: {
        Args: Record<PropertyKey, never>
        Returns: number | null
      }
      /** Seals an OpenRouter key and stores it under a name, in the caller's transaction; one of that name is replaced, and the next call after the commit uses it. */
      set_api_key: {
        Args: { key: string | null; name?: string | null; kind?: string | null }
        Returns: undefined
      }
      /** As hiems.set_api_key(), with the key in a variable of the environment that the server was started in. */
      set_api_key_from_environment: {
        Args: { variable?: string | null; name?: string | null; kind?: string | null }
        Returns: undefined
      }
      /** As hiems.set_api_key(), with the key in a file of the server: the gateway reads it, and no session ever has it. */
      set_api_key_from_file: {
        Args: { path: string | null; name?: string | null; kind?: string | null }
        Returns: undefined
      }
      /** Stores SEK per 1 unit of a currency (ISO 4217) for a day, and where it comes from; a rate of that day is replaced, rows already booked keep theirs. */
      set_exchange_rate: {
        Args: { currency: string | null; sek_per_unit: number | null; rate_date: string | null; source: string | null }
        Returns: undefined
      }
      /** Asks OpenRouter at once (GET /generation) for every cost that is not known, without waiting for the next time that the gateway would, and also for those that it has given up (hiems.settlement_timeout); waits until each has been asked for once. */
      settle_now: {
        Args: Record<PropertyKey, never>
        Returns: { settled: number | null; corrected: number | null; confirmed: number | null; unknown: number | null }[]
      }
      /** As hiems.submit_prompt(), with the answer as it is generated: a row for each chunk of OpenRouter's stream, as it came but for what jsonb refuses. */
      stream_prompt: {
        Args: { model: string | null; messages: Json | null; user?: string | null; use_case?: string | null; session_id?: string | null; metadata?: Json | null; options?: Json | null }
        Returns: Json[]
      }
      /** Calls a model through OpenRouter, books the call in hiems.ai_usage_logs in the caller's transaction, and returns OpenRouter's body. */
      submit_prompt: {
        Args: { model: string | null; messages: Json | null; user?: string | null; use_case?: string | null; session_id?: string | null; metadata?: Json | null; options?: Json | null; idempotency_key?: string | null }
        Returns: Json
      }
      /** Makes many calls at once, and gives a row for each as it ends, in the order of ending. */
      submit_prompts: {
        Args: { requests: Json | null; max_concurrency?: number | null; on_error?: string | null }
        Returns: { ordinality: number | null; response: Json | null; content: string | null; error_code: string | null; error_message: string | null; cost_usd: number | null; finish_reason: string | null }[]
      }
      /** Asks OpenRouter (GET /key) about a stored key as this transaction sees it, so that a new one can be looked at before the commit. */
      verify_api_key: {
        Args: { name?: string | null }
        Returns: { key_name: string | null; kind: string | null; label: string | null; is_management_key: boolean | null; is_free_tier: boolean | null; limit_usd: number | null; limit_remaining_usd: number | null; limit_reset: string | null; limit_includes_byok: boolean | null; usage_usd: number | null; usage_daily_usd: number | null; usage_weekly_usd: number | null; usage_monthly_usd: number | null; byok_usage_usd: number | null; byok_usage_daily_usd: number | null; byok_usage_weekly_usd: number | null; byok_usage_monthly_usd: number | null; expires_at: string | null }[]
      }
    }
    Enums: {}
    CompositeTypes: {}
  }
}
