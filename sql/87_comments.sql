-- What \d+ and \df+ say of the schemas, tables, views and triggers. The functions' comments are in
-- 90_grants_comments.sql.

COMMENT ON SCHEMA hiems IS 'Calling OpenRouter, the ledger of what it cost, and views over it. Safe to expose: functions check the caller''s level, row-level security the rows.';
COMMENT ON SCHEMA hiems_private IS 'Keys, calls on their way, levels, exchange rates. For nobody but hiems.';

COMMENT ON TABLE hiems_private.access IS 'Who has which level. Use hiems.grant_access(), grant_user_access() and revoke_access().';
COMMENT ON COLUMN hiems_private.access.grantee_kind IS '''role'': a database role by name; ''user'': a token''s subject (claim sub).';
COMMENT ON COLUMN hiems_private.access.grantee IS 'The role''s name, or the subject.';
COMMENT ON COLUMN hiems_private.access.level IS 'caller, reader, admin or service.';
COMMENT ON COLUMN hiems_private.access.granted_at IS 'When it was given.';
COMMENT ON COLUMN hiems_private.access.granted_by IS 'The login that gave it.';
COMMENT ON COLUMN hiems_private.access.role_oid IS 'The role that had the name when the level was given, or restored: only while it has that name the level counts. NULL: of a token''s user, or there was no such role.';
COMMENT ON INDEX hiems_private.access_pkey IS 'One row per grantee and level.';
COMMENT ON TRIGGER find_role ON hiems_private.access IS 'Finds the role by its name, also in a restore.';
COMMENT ON FUNCTION hiems_private.find_role_of_level() IS 'The role that has the name now, or NULL, into role_oid. Trigger.';

COMMENT ON TABLE hiems_private.principals IS 'The principals that database roles have, or have had: none is given to another role, ever.';
COMMENT ON COLUMN hiems_private.principals.principal IS 'role:<name> for the first role of that name, role#2:<name> for the next one. Rows of calls have it.';
COMMENT ON COLUMN hiems_private.principals.role_name IS 'The role''s name then.';
COMMENT ON COLUMN hiems_private.principals.taken_at IS 'When the role first called.';
COMMENT ON INDEX hiems_private.principals_pkey IS 'None is given twice.';
COMMENT ON INDEX hiems_private.principals_role_name IS 'How many roles of one name there were.';

COMMENT ON TABLE hiems_private.principal_roles IS 'Which role has which principal. Dumped while the role is there under its name; after a restore the role of that name has it.';
COMMENT ON COLUMN hiems_private.principal_roles.principal IS 'One of hiems_private.principals.';
COMMENT ON COLUMN hiems_private.principal_roles.role_name IS 'The role''s name: under another one it has another principal.';
COMMENT ON COLUMN hiems_private.principal_roles.role_oid IS 'The role; NULL: there was none of that name when the row was restored, and nobody has the principal.';
COMMENT ON INDEX hiems_private.principal_roles_pkey IS 'Each is one role''s.';
COMMENT ON INDEX hiems_private.principal_roles_role IS 'What row-level security asks: the principal of a role.';
COMMENT ON TRIGGER find_role ON hiems_private.principal_roles IS 'Finds the role by its name in a restore.';
COMMENT ON FUNCTION hiems_private.find_role_of_principal() IS 'The role that has the name now, or NULL, into role_oid. Trigger.';

COMMENT ON TABLE hiems_private.installation IS 'An id that sealed keys are bound to. One row, made with the first key, dumped with the keys.';
COMMENT ON COLUMN hiems_private.installation.id IS 'Random.';
COMMENT ON COLUMN hiems_private.installation.singleton IS 'Always true: there is one row.';
COMMENT ON INDEX hiems_private.installation_pkey IS 'Keeps it at one row.';

COMMENT ON TABLE hiems_private.api_keys IS 'OpenRouter keys, sealed by AES-256-GCM under a master key. Only the gateway opens them.';
COMMENT ON COLUMN hiems_private.api_keys.name IS 'The name that hiems.api_key_name picks it by; part of what the ciphertext is bound to.';
COMMENT ON COLUMN hiems_private.api_keys.kind IS '''inference'': pays for calls; ''management'': reads the account, cannot call models.';
COMMENT ON COLUMN hiems_private.api_keys.version IS 'Counts up with each key stored under the name; part of what the ciphertext is bound to.';
COMMENT ON COLUMN hiems_private.api_keys.nonce IS '12 random bytes, fresh for each seal.';
COMMENT ON COLUMN hiems_private.api_keys.ciphertext IS 'The key, encrypted and authenticated.';
COMMENT ON COLUMN hiems_private.api_keys.fingerprint IS 'The first 16 hexadecimal digits of the key''s SHA-256, by which OpenRouter lists keys too.';
COMMENT ON COLUMN hiems_private.api_keys.master_key IS 'Which master key sealed it: the first 16 hexadecimal digits of the SHA-256 of its 64 digits in lower case.';
COMMENT ON COLUMN hiems_private.api_keys.database_oid IS 'The database that it is sealed for; in another (a copy, a restored dump) it is refused until hiems.adopt_api_keys(). Part of what the ciphertext is bound to.';
COMMENT ON COLUMN hiems_private.api_keys.sealed_at IS 'When it was sealed: stored, or sealed anew by hiems.rotate_master_key().';
COMMENT ON COLUMN hiems_private.api_keys.stored_at IS 'When the key was stored.';
COMMENT ON COLUMN hiems_private.api_keys.stored_by IS 'The login that stored it.';
COMMENT ON INDEX hiems_private.api_keys_pkey IS 'One key per name.';

COMMENT ON TABLE hiems_private.calls IS 'Calls on their way: a row from before the request is sent until its ledger row is there. Written by the gateway.';
COMMENT ON COLUMN hiems_private.calls.id IS 'The call''s id, and its ledger row''s.';
COMMENT ON COLUMN hiems_private.calls.state IS '''sent'': in flight, or about to be, or answered a moment ago; ''answered'', ''failed'': settled, to be booked; ''unknown'': sent, and no more is known, or a stream that its caller closed, whose cost is asked for; ''booked'': it is in the ledger, and its generation is looked up to be compared.';
COMMENT ON COLUMN hiems_private.calls.created_at IS 'When the call was made.';
COMMENT ON COLUMN hiems_private.calls.settled_at IS 'When its end was committed; NULL while it is in flight.';
COMMENT ON COLUMN hiems_private.calls.caller_xid IS 'The caller''s top-level transaction; NULL: it is made for none.';
COMMENT ON COLUMN hiems_private.calls.system_identifier IS 'The cluster that transaction ran in: after a restore it is another one, and the caller gone.';
COMMENT ON COLUMN hiems_private.calls.caller_gone IS 'True once the caller was cancelled or died before it had read the answer.';
COMMENT ON COLUMN hiems_private.calls.look_up IS 'True where OpenRouter''s record of the generation has yet to say what it cost (GET /generation).';
COMMENT ON COLUMN hiems_private.calls.deferred_xid IS 'The innermost transaction of a caller that left the booking to the gateway, since the ledger was locked or it did not fetch a stream to its end; else NULL.';
COMMENT ON COLUMN hiems_private.calls.generation_id IS 'OpenRouter''s id of the generation, from the moment the headers came; NULL before.';
COMMENT ON COLUMN hiems_private.calls.batch_id IS 'The statement of hiems.submit_prompts() that it is one of; NULL: of none.';
COMMENT ON COLUMN hiems_private.calls.batch_size IS 'How many calls that one makes; NULL: it is of none.';
COMMENT ON COLUMN hiems_private.calls.principal IS 'Who called: jwt:<sub> or role:<name>.';
COMMENT ON COLUMN hiems_private.calls.entry IS 'The ledger row to be, by column name, as far as it is known.';
COMMENT ON INDEX hiems_private.calls_pkey IS 'One row per call.';

COMMENT ON TABLE hiems_private.queue IS 'Calls that are to be made later. Written by hiems.enqueue_prompt() and its kin, and by the gateway, which takes each out in the commit that journals it as about to be sent.';
COMMENT ON COLUMN hiems_private.queue.id IS 'The call''s id, and its ledger row''s.';
COMMENT ON COLUMN hiems_private.queue.state IS '''queued''; ''paused'': it came by a restore, or was enqueued on another timeline of the server, or in the database that this one is a copy of, and may have been made there; ''failed'': given up, and nothing was billed.';
COMMENT ON COLUMN hiems_private.queue.run_at IS 'Not to be made before; NULL: as soon as there is room.';
COMMENT ON COLUMN hiems_private.queue.priority IS 'Higher ones first.';
COMMENT ON COLUMN hiems_private.queue.model IS 'The model that is asked.';
COMMENT ON COLUMN hiems_private.queue.attempts IS 'How often it has been sent, or tried to be.';
COMMENT ON COLUMN hiems_private.queue.max_attempts IS 'How often it may be.';
COMMENT ON COLUMN hiems_private.queue.enqueued_at IS 'When it was enqueued.';
COMMENT ON COLUMN hiems_private.queue.caller_xid IS 'The transaction that enqueued it.';
COMMENT ON COLUMN hiems_private.queue.origin IS 'The cluster, its timeline and its data directory: no other sends it.';
COMMENT ON COLUMN hiems_private.queue.charges_beyond_tokens IS 'True if the request asks for what is charged apart from tokens: tools, plugins, search.';
COMMENT ON COLUMN hiems_private.queue.principal IS 'Who called: jwt:<sub> or role:<name>.';
COMMENT ON COLUMN hiems_private.queue.entry IS 'The ledger row to be, by column name, as far as it is known.';
COMMENT ON COLUMN hiems_private.queue.failure IS 'Why the last attempt failed; NULL: there was none.';
COMMENT ON COLUMN hiems_private.queue.failed_at IS 'When it was given up; NULL: it was not.';
COMMENT ON INDEX hiems_private.queue_pkey IS 'One row per call.';
COMMENT ON INDEX hiems_private.queue_ready IS 'The next calls of each model.';
COMMENT ON INDEX hiems_private.queue_later IS 'Whose time comes next.';
COMMENT ON INDEX hiems_private.queue_failed IS 'For what is due to be forgotten.';

COMMENT ON TABLE hiems_private.requests IS 'What queued calls ask. Never in a dump.';
COMMENT ON COLUMN hiems_private.requests.call_id IS 'The call.';
COMMENT ON COLUMN hiems_private.requests.body IS 'The body to be sent: JSON.';
COMMENT ON INDEX hiems_private.requests_pkey IS 'One request per call.';

COMMENT ON TABLE hiems_private.answers IS 'Answers that their callers do not have as they came, for hiems.answer_retention. Use hiems.raw_answer(). Never in a dump.';
COMMENT ON COLUMN hiems_private.answers.call_id IS 'The call.';
COMMENT ON COLUMN hiems_private.answers.principal IS 'Whose it is.';
COMMENT ON COLUMN hiems_private.answers.kept_at IS 'When it came.';
COMMENT ON COLUMN hiems_private.answers.answer IS 'The body as it came, but for a key in it, which is blotted out.';
COMMENT ON INDEX hiems_private.answers_pkey IS 'One answer per call.';
COMMENT ON INDEX hiems_private.answers_kept_at IS 'For what is due to be forgotten.';

COMMENT ON TABLE hiems_private.idempotency_keys IS 'Which call has an idempotency key of a caller''s; until its answer is not kept any more. Written by the gateway.';
COMMENT ON COLUMN hiems_private.idempotency_keys.principal IS 'Whose key it is.';
COMMENT ON COLUMN hiems_private.idempotency_keys.idempotency_key IS 'The key, as the caller gave it.';
COMMENT ON COLUMN hiems_private.idempotency_keys.call_id IS 'The call that has it.';
COMMENT ON COLUMN hiems_private.idempotency_keys.request_digest IS 'SHA-256 of the request''s body: another content under the same key is refused.';
COMMENT ON COLUMN hiems_private.idempotency_keys.created_at IS 'When it was taken.';
COMMENT ON INDEX hiems_private.idempotency_keys_pkey IS 'One call per key.';
COMMENT ON INDEX hiems_private.idempotency_keys_call_id IS 'To set the keys of calls free that were not billed.';
COMMENT ON INDEX hiems_private.idempotency_keys_created_at IS 'For what is due to be forgotten.';

COMMENT ON TABLE hiems_private.content_logs IS 'Prompts and answers, where hiems.log_content is on, for hiems.content_retention. Never in a dump.';
COMMENT ON COLUMN hiems_private.content_logs.call_id IS 'The call.';
COMMENT ON COLUMN hiems_private.content_logs.principal IS 'Who called.';
COMMENT ON COLUMN hiems_private.content_logs.logged_at IS 'When the answer came.';
COMMENT ON COLUMN hiems_private.content_logs.request IS 'The body that was sent: JSON.';
COMMENT ON COLUMN hiems_private.content_logs.answer IS 'The body of the answer, or of the error; what is no text in it is replaced.';
COMMENT ON INDEX hiems_private.content_logs_pkey IS 'One row per call.';
COMMENT ON INDEX hiems_private.content_logs_logged_at IS 'For what is due to be forgotten.';

COMMENT ON TABLE hiems.ai_usage_logs IS 'The ledger: one row per call that reached OpenRouter, also where the caller rolled back, was cancelled, or failed. Append-only; sum() over it is always right. Each caller sees its own rows, a reader all.';
COMMENT ON COLUMN hiems.ai_usage_logs.id IS 'The call''s id, a uuid of version 7; errors name it.';
COMMENT ON COLUMN hiems.ai_usage_logs.created_at IS 'When the call was made.';
COMMENT ON COLUMN hiems.ai_usage_logs.booked_at IS 'When this row was written; incremental loads follow this one.';
COMMENT ON COLUMN hiems.ai_usage_logs.generation_id IS 'OpenRouter''s id of the generation (gen-...); NULL where none is known.';
COMMENT ON COLUMN hiems.ai_usage_logs.model IS 'The model that answered, which may be dated or a fallback; NULL without an answer.';
COMMENT ON COLUMN hiems.ai_usage_logs.model_requested IS 'The model that was asked for.';
COMMENT ON COLUMN hiems.ai_usage_logs.provider IS 'The provider that served it, as OpenRouter names it; NULL: not said, or no answer.';
COMMENT ON COLUMN hiems.ai_usage_logs.user_id IS 'For whom: the token''s subject, the argument "user", or the role. A label; access goes by principal.';
COMMENT ON COLUMN hiems.ai_usage_logs.use_case IS 'The argument use_case, else the setting hiems.use_case; NULL: unspecified.';
COMMENT ON COLUMN hiems.ai_usage_logs.session_id IS 'The argument session_id, which groups calls at OpenRouter too; NULL: none was given.';
COMMENT ON COLUMN hiems.ai_usage_logs.metadata IS 'The argument metadata; it is not sent to OpenRouter. NULL: none was given.';
COMMENT ON COLUMN hiems.ai_usage_logs.prompt_tokens IS 'Tokens of the prompt, cached ones included; NULL: not said.';
COMMENT ON COLUMN hiems.ai_usage_logs.completion_tokens IS 'Tokens of the completion, reasoning included; NULL: not said.';
COMMENT ON COLUMN hiems.ai_usage_logs.total_tokens IS 'Prompt and completion together, as OpenRouter adds them up; NULL: not said.';
COMMENT ON COLUMN hiems.ai_usage_logs.cached_tokens IS 'Prompt tokens read from a cache, inside prompt_tokens; NULL: not said.';
COMMENT ON COLUMN hiems.ai_usage_logs.cache_write_tokens IS 'Prompt tokens written to a cache, inside prompt_tokens; NULL: not said.';
COMMENT ON COLUMN hiems.ai_usage_logs.reasoning_tokens IS 'Completion tokens spent on reasoning, inside completion_tokens; NULL: not said.';
COMMENT ON COLUMN hiems.ai_usage_logs.cost_usd IS 'What OpenRouter charged, US dollars: the literal usage.cost of the answer, every digit; 0 where cost_source is ''not_billed''. NULL: not known, never 0. With BYOK only OpenRouter''s fee. Source: OpenRouter, Usage accounting.';
COMMENT ON COLUMN hiems.ai_usage_logs.upstream_cost_usd IS 'usage.cost_details.upstream_inference_cost, US dollars. With BYOK the provider''s own bill; else it repeats cost_usd: never add the two. NULL: not said.';
COMMENT ON COLUMN hiems.ai_usage_logs.is_byok IS 'True: paid with a provider key of one''s own; NULL: not said.';
COMMENT ON COLUMN hiems.ai_usage_logs.cost_source IS '''billed'': from the answer, or, in a correcting row, OpenRouter''s record of the generation; ''settled'': the answer did not say it, the record did; ''not_billed'': it failed before anything was generated, so 0; ''unknown'': cost_usd is NULL; ''estimated'': for later versions.';
COMMENT ON COLUMN hiems.ai_usage_logs.cost_sek IS 'cost_usd * usd_sek_rate, every digit; NULL where either is.';
COMMENT ON COLUMN hiems.ai_usage_logs.usd_sek_rate IS 'SEK per 1 USD: the newest rate not after the call''s day; NULL: there was none.';
COMMENT ON COLUMN hiems.ai_usage_logs.rate_date IS 'The day of that rate; NULL: there was none.';
COMMENT ON COLUMN hiems.ai_usage_logs.rate_source IS 'Where that rate comes from; NULL: there was none.';
COMMENT ON COLUMN hiems.ai_usage_logs.outcome IS '''committed'': the caller has the answer; ''rolled_back'': it had, and rolled back; ''cancelled'': it was cancelled or ended before, or closed a stream before its end; ''failed'': it got an error; ''unknown'': sent, and no more is known; ''recorded'': entered by hand.';
COMMENT ON COLUMN hiems.ai_usage_logs.finish_reason IS 'Why it ended, in OpenRouter''s words (stop, length, tool_calls, content_filter, error); NULL: not said, or no answer.';
COMMENT ON COLUMN hiems.ai_usage_logs.native_finish_reason IS 'Why it ended, in the provider''s words; NULL: not said, or no answer.';
COMMENT ON COLUMN hiems.ai_usage_logs.http_status IS 'The HTTP status of the answer; NULL: there was none.';
COMMENT ON COLUMN hiems.ai_usage_logs.error_code IS 'OpenRouter''s error_type or code, or hiems''s own: timeout, connection_lost, response_too_large, unreadable_answer, gateway_lost, internal; NULL: no error.';
COMMENT ON COLUMN hiems.ai_usage_logs.latency_ms IS 'Milliseconds from sending (the last attempt) to the whole answer, or to the error; NULL: not measured, since the gateway failed on the way.';
COMMENT ON COLUMN hiems.ai_usage_logs.first_token_ms IS 'Milliseconds to the first token of a stream; NULL: it was not streamed.';
COMMENT ON COLUMN hiems.ai_usage_logs.attempts IS 'How often it was sent: again only where it was refused with 429 or 503 before anything was billed.';
COMMENT ON COLUMN hiems.ai_usage_logs.streamed IS 'True if the answer was streamed.';
COMMENT ON COLUMN hiems.ai_usage_logs.booked_xid IS 'The transaction of this cluster that wrote the row.';
COMMENT ON COLUMN hiems.ai_usage_logs.principal IS 'Who really called: jwt:<sub> or role:<name>. Row-level security goes by it.';
COMMENT ON COLUMN hiems.ai_usage_logs.key_name IS 'The name of the stored key that paid.';
COMMENT ON COLUMN hiems.ai_usage_logs.role_name IS 'The role whose rights counted.';
COMMENT ON COLUMN hiems.ai_usage_logs.application_name IS 'The session''s application_name; NULL: none.';
COMMENT ON COLUMN hiems.ai_usage_logs.adjusts IS 'NULL, or the row that this one corrects: it then holds the differences, and its calls is 0.';
COMMENT ON COLUMN hiems.ai_usage_logs.calls IS '1, or 0 in a correcting row.';
COMMENT ON INDEX hiems.ai_usage_logs_pkey IS 'No call is booked twice.';
COMMENT ON INDEX hiems.ai_usage_logs_created_at IS 'For ranges of time.';
COMMENT ON INDEX hiems.ai_usage_logs_principal IS 'For a caller''s own rows.';
COMMENT ON INDEX hiems.ai_usage_logs_booked_xid IS 'For what was booked since a snapshot.';
COMMENT ON POLICY own_rows_and_readers ON hiems_private.queue IS 'Each principal sees its own queued calls, whoever has the level reader sees all.';
COMMENT ON POLICY own_rows_and_readers ON hiems_private.calls IS 'Each principal sees its own calls on their way, whoever has the level reader sees all.';
COMMENT ON POLICY own_rows_and_readers ON hiems.ai_usage_logs IS 'Each principal sees its own rows, whoever has the level reader sees all.';
COMMENT ON TRIGGER no_truncate ON hiems_private.calls IS 'Refuses TRUNCATE by anybody but superusers (42501).';
COMMENT ON TRIGGER stamp ON hiems.ai_usage_logs IS 'Sets booked_xid, and booked_at where it is not set.';
COMMENT ON TRIGGER append_only ON hiems.ai_usage_logs IS 'Refuses UPDATE, DELETE and TRUNCATE (42501), but for what goes by hiems.ledger_retention.';
COMMENT ON TRIGGER written_by_hiems ON hiems.ai_usage_logs IS 'Refuses INSERT by anybody but hiems and superusers (42501).';
COMMENT ON TRIGGER notify ON hiems.ai_usage_logs IS 'Tells channel hiems_usage of new rows, where hiems.notify is commit.';

COMMENT ON TABLE hiems_private.exchange_rates IS 'SEK per unit of a currency, by day. Use hiems.set_exchange_rate().';
COMMENT ON COLUMN hiems_private.exchange_rates.currency IS 'ISO 4217.';
COMMENT ON COLUMN hiems_private.exchange_rates.rate_date IS 'From this day on, until a later rate.';
COMMENT ON COLUMN hiems_private.exchange_rates.sek_per_unit IS 'SEK per 1 unit.';
COMMENT ON COLUMN hiems_private.exchange_rates.source IS 'Where the rate comes from.';
COMMENT ON COLUMN hiems_private.exchange_rates.stored_at IS 'When it was stored.';
COMMENT ON INDEX hiems_private.exchange_rates_pkey IS 'One rate per currency and day.';

COMMENT ON TABLE hiems_private.broadcast IS 'That booked calls are broadcast by Supabase''s Realtime: one row, or none. Use hiems.enable_supabase() and disable_supabase().';
COMMENT ON COLUMN hiems_private.broadcast.messages IS 'The OID of realtime.messages as it was then: no other table is written to.';
COMMENT ON COLUMN hiems_private.broadcast.enabled_at IS 'When it was enabled.';
COMMENT ON COLUMN hiems_private.broadcast.enabled_by IS 'The login that enabled it.';
COMMENT ON COLUMN hiems_private.broadcast.singleton IS 'Always true: there is one row.';
COMMENT ON INDEX hiems_private.broadcast_pkey IS 'Keeps it at one row.';

COMMENT ON VIEW hiems.usage_totals IS 'Everything that the reader may see, in one row.';
COMMENT ON VIEW hiems.api_keys IS 'The stored OpenRouter keys, without their secrets. For the level admin: to everybody else it has no rows.';
COMMENT ON VIEW hiems.usage_by_model IS 'By the model that answered, or, without an answer, that was asked for.';
COMMENT ON VIEW hiems.usage_by_use_case IS 'By use case.';
COMMENT ON VIEW hiems.usage_by_user IS 'By user.';
COMMENT ON VIEW hiems.usage_daily IS 'By day in hiems.reporting_time_zone.';
COMMENT ON VIEW hiems.model_statistics IS 'By model and provider: prices paid, speed, failures.';
COMMENT ON VIEW hiems.calls IS 'Calls on their way: in flight, or answered and not yet in the ledger since the caller''s transaction is open. The caller''s own; a reader sees all.';
COMMENT ON VIEW hiems.my_usage_totals IS 'The caller''s own calls, in one row.';
COMMENT ON VIEW hiems.my_usage_by_model IS 'The caller''s own calls, by model.';
COMMENT ON VIEW hiems.my_usage_daily IS 'The caller''s own calls, by day in hiems.reporting_time_zone.';

-- The views' columns of one name mean one thing, so each is said once.
DO $$
DECLARE
    meanings CONSTANT jsonb := '{
        "calls": "How many calls.",
        "prompt_tokens": "Sum of prompt tokens; NULL: none is known.",
        "completion_tokens": "Sum of completion tokens; NULL: none is known.",
        "total_tokens": "Sum of all tokens; NULL: none is known.",
        "cached_tokens": "Sum of prompt tokens read from a cache; NULL: none is known.",
        "cache_write_tokens": "Sum of prompt tokens written to a cache; NULL: none is known.",
        "reasoning_tokens": "Sum of reasoning tokens; NULL: none is known.",
        "cost_usd": "Sum of what OpenRouter charged, US dollars, exact; NULL: no cost is known. See calls_without_cost.",
        "cost_sek": "The same in SEK, each call at the rate of its day; NULL: none is known. See calls_without_rate.",
        "byok_upstream_cost_usd": "What providers bill for calls with keys of one''s own, US dollars; not in cost_usd.",
        "calls_without_cost": "Rows whose cost is not known: cost_usd does not hold them.",
        "calls_without_rate": "Rows with a cost and no exchange rate: cost_sek does not hold them.",
        "failed_calls": "Calls whose outcome is ''failed''; those of outcome ''unknown'', such as a timeout of hiems''s own, are not among them.",
        "first_call_at": "When the first call was made; NULL: there is none.",
        "last_call_at": "When the last call was made; NULL: there is none.",
        "model": "The model that answered, or, without an answer, that was asked for.",
        "use_case": "The use case, or ''unspecified''.",
        "user_id": "The user.",
        "day": "The day in hiems.reporting_time_zone.",
        "provider": "The provider that served it; NULL: none did.",
        "cost_usd_per_call": "Mean cost of the calls whose cost is known, US dollars.",
        "cost_usd_per_million_tokens": "Cost of the calls whose cost is known, by million of their tokens, US dollars.",
        "prompt_tokens_per_call": "Mean of prompt tokens.",
        "completion_tokens_per_call": "Mean of completion tokens.",
        "latency_ms_average": "Mean time to the whole answer, milliseconds.",
        "latency_ms_p50": "Median time to the whole answer, milliseconds.",
        "latency_ms_p95": "95th percentile of the time to the whole answer, milliseconds.",
        "completion_tokens_per_second": "Completion tokens by second of waiting.",
        "name": "The name that hiems.api_key_name picks it by.",
        "kind": "inference: pays for calls; management: reads the account, cannot call models.",
        "fingerprint": "The first 16 hexadecimal digits of the key''s SHA-256, by which OpenRouter lists keys too.",
        "version": "Counts up with each key stored under the name.",
        "stored_at": "When the key was stored.",
        "stored_by": "The login that stored it.",
        "master_key": "Which master key sealed it: the first 16 hexadecimal digits of the SHA-256 of its 64 digits in lower case.",
        "sealed_at": "When it was sealed: stored, or sealed anew by hiems.rotate_master_key()."}';
    col record;
BEGIN
    FOR col IN
        SELECT c.oid::regclass AS view, a.attname AS name
        FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
        WHERE c.relnamespace = 'hiems'::regnamespace AND c.relkind = 'v' AND a.attnum > 0
    LOOP
        EXECUTE format('COMMENT ON COLUMN %s.%I IS %L', col.view, col.name, meanings ->> col.name);
    END LOOP;
END
$$;

COMMENT ON COLUMN hiems.calls.id IS 'The call''s id; its ledger row will have it.';
COMMENT ON COLUMN hiems.calls.state IS '''queued'': to be made; ''paused'': see hiems.resume_prompts(); ''sent'': in flight, or answered a moment ago; ''answered'', ''failed'': ended, and in the ledger soon after the caller''s transaction is over; ''unknown'': sent, and no more is known, or a stream that its caller closed, until its cost is. A queued call that is ''failed'' (last_error says why) was given up before anything was billed, and comes into no ledger.';
COMMENT ON COLUMN hiems.calls.created_at IS 'When the call was made, or enqueued.';
COMMENT ON COLUMN hiems.calls.age IS 'How long ago that was.';
COMMENT ON COLUMN hiems.calls.settled_at IS 'When it ended; NULL while it is in flight.';
COMMENT ON COLUMN hiems.calls.model_requested IS 'The model that was asked for.';
COMMENT ON COLUMN hiems.calls.user_id IS 'The user.';
COMMENT ON COLUMN hiems.calls.use_case IS 'The use case; NULL: unspecified.';
COMMENT ON COLUMN hiems.calls.session_id IS 'The session_id; NULL: none was given.';
COMMENT ON COLUMN hiems.calls.attempts IS 'How often it was sent.';
COMMENT ON COLUMN hiems.calls.generation_id IS 'OpenRouter''s id of the generation, from the moment the headers came; NULL before.';
COMMENT ON COLUMN hiems.calls.cost_usd IS 'What it cost, US dollars; NULL: not known, or not yet.';
COMMENT ON COLUMN hiems.calls.caller_gone IS 'True once the caller was cancelled or died before it had read the answer.';
COMMENT ON COLUMN hiems.calls.principal IS 'Who called: jwt:<sub> or role:<name>.';
COMMENT ON COLUMN hiems.calls.run_at IS 'Of a queued call: not to be made before; NULL: as soon as there is room, or it is not queued.';
COMMENT ON COLUMN hiems.calls.priority IS 'Of a queued call: higher ones first; NULL: it is not queued.';
COMMENT ON COLUMN hiems.calls.max_attempts IS 'Of a queued call: how often it may be sent; NULL: it is not queued.';
COMMENT ON COLUMN hiems.calls.last_error IS 'Of a queued call: why the last attempt failed; NULL: there was none, or it is not queued.';
COMMENT ON COLUMN hiems.calls.batch_id IS 'The run of hiems.submit_prompts() that it is one of; NULL: of none, as in the columns that follow.';
COMMENT ON COLUMN hiems.calls.batch_size IS 'How many calls that run makes: sent, or to be sent.';
COMMENT ON COLUMN hiems.calls.batch_done IS 'How many of them have ended. What was not sent after all (refused, or answered by an idempotency_key) is not among them.';
COMMENT ON COLUMN hiems.calls.batch_failed IS 'How many of those failed, or are of unknown outcome.';
COMMENT ON COLUMN hiems.calls.batch_cost_usd IS 'What those that have ended cost, US dollars, as far as it is known; NULL: none is known.';

COMMENT ON FUNCTION hiems_private.stamp_ledger_row() IS 'Sets what every ledger row has of its own booking.';
COMMENT ON FUNCTION hiems_private.refuse_ledger_change() IS 'Raises 42501: the ledger is append-only. Lets hiems''s own deletion of old rows through (hiems.ledger_retention).';
COMMENT ON FUNCTION hiems_private.refuse_journal_truncate() IS 'Raises 42501: only superusers may empty the journal.';
COMMENT ON FUNCTION hiems_private.refuse_ledger_row() IS 'Raises 42501: only hiems writes to the ledger.';
COMMENT ON FUNCTION hiems_private.notify_usage() IS 'Sends {"v":1,"count":n,"ids":[up to 100]} on channel hiems_usage, but where the queue is nearly full.';
COMMENT ON FUNCTION hiems_private.guard_tables() IS 'Raises 42501 where somebody who is no superuser puts a trigger or a rule on a table of hiems.';
COMMENT ON FUNCTION hiems_private.guard_drop() IS 'Loads the library, which refuses DROP EXTENSION hiems (55000) while hiems.allow_drop is off.';
COMMENT ON EVENT TRIGGER hiems_guard_drop IS 'Keeps the ledger from going with DROP EXTENSION by mistake.';
COMMENT ON EVENT TRIGGER hiems_guard_tables IS 'Keeps triggers and rules of others off the tables of hiems.';
COMMENT ON FUNCTION hiems_private.guard_schemas() IS 'Raises 42501 where somebody who is no superuser puts an extension into a schema of hiems.';
COMMENT ON EVENT TRIGGER hiems_guard_schemas IS 'Keeps extensions of others out of the schemas of hiems.';
COMMENT ON FUNCTION hiems_private.guard_references() IS 'Raises 42501 where somebody who is no superuser puts a foreign key on a table of hiems.';
COMMENT ON EVENT TRIGGER hiems_guard_references IS 'Keeps foreign keys of others off the tables of hiems.';
