-- Closed by default: nothing to PUBLIC. hiems.grant_access() opens what a level needs.
REVOKE ALL ON SCHEMA hiems, hiems_private FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA hiems, hiems_private FROM PUBLIC;
REVOKE ALL ON ALL ROUTINES IN SCHEMA hiems, hiems_private FROM PUBLIC;

-- Nobody's search_path counts in a function of hiems's: whoever owns the database could set one for it, and have what is
-- planted there run by a superuser. Without a SET clause are those in C whose SQL sets the path itself (src/pg/spi.rs), and
-- that must not have one: the procedure could not commit; and what a parallel query may call (row-level security does) has its
-- library loaded when the query begins only without one. A library that is loaded later, in parallel mode, is refused
-- the values of its settings.
DO $$
DECLARE
    function regprocedure;
BEGIN
    FOR function IN
        SELECT p.oid FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
        WHERE n.nspname IN ('hiems', 'hiems_private') AND p.prokind = 'f'
          AND p.proparallel = 'u' AND NOT EXISTS (SELECT FROM unnest(p.proconfig) AS s (setting) WHERE s.setting LIKE 'search\_path=%')
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = pg_catalog, pg_temp', function);
    END LOOP;
END
$$;

-- What \df+ says of the functions. PTnnn is HTTP status nnn in PostgREST.
COMMENT ON FUNCTION hiems.submit_prompt(text, jsonb, text, text, text, jsonb, jsonb, text) IS
'Calls a model through OpenRouter, books the call in hiems.ai_usage_logs in the caller''s transaction, and returns OpenRouter''s body. The call is billed, and booked, also if the transaction rolls back, or the caller is cancelled.
model: such as ''openai/gpt-4o-mini''; NULL: hiems.default_model.
messages: a JSON array of {"role", "content"} objects; roles system, developer, user, assistant, tool. A JSON string that holds the array will do.
"user" (quoted: unquoted it is the role''s name): for whom; NULL: the token''s subject, else the role.
use_case: what for; NULL: hiems.use_case. session_id: groups calls, at OpenRouter too. metadata: kept with the row, not sent. Texts have at most 512 octets each (session_id 256 characters, as OpenRouter takes them), metadata 64 kB, nested at most 500 deep.
options: every other field of the request, such as {"temperature": 0.2, "max_completion_tokens": 500}; not model, messages, user, session_id, stream, stream_options, usage, or credentials.
idempotency_key: a text of your own (at most 512 octets) for a call that must not be made twice; it is the caller''s own. A second call with the same key and the same request waits for the first, and gets its answer, with {"hiems": {"replayed": true, "call": id}} in it; nothing is sent, nothing is booked. It holds for hiems.answer_retention, also across a crash. A call that failed and was surely not billed sets its key free; one of unknown outcome does not: the second call raises PT502.
Errors: 22023 bad argument, refused by OpenRouter (400), or another request under the same idempotency_key; 42501 no level caller, another''s "user", or in an index or materialized view; 25006 read-only transaction; 0A000 standby, parallel query, or not READ COMMITTED in a token''s session; 55000 a trigger of somebody else''s on the ledger, or the answer of the same idempotency_key is not kept any more; 57014 cancelled; PT402 credits, PT403 not allowed, PT404 not found, PT504 no answer in time, PT413 too large (hiems.max_request_bytes), PT422 cannot be processed, PT429 too many, or hiems.max_in_flight is reached, or the caller''s share of it (hiems.max_share; seconds to wait in DETAIL), PT502 OpenRouter or the provider failed, or the outcome is not known, PT503 no key, key refused, or nothing available, no free worker slot, or no room for the journal; XX000 a defect. A 429 or 503 that came before anything was billed is tried again first (hiems.max_attempts). After sending, DETAIL names the call''s id, also where PostgreSQL itself ends the call (57014 cancelled or timed out, 57P01 terminated): the call is finished, and hiems.await_prompt(id) gives its answer.
Source: OpenRouter, API reference, Chat completions; Errors and debugging.';

COMMENT ON PROCEDURE hiems.submit_prompt_detached(text, jsonb, text, text, text, jsonb, jsonb, text, jsonb) IS
'As hiems.submit_prompt(), for long calls: commits the caller''s transaction first, and holds neither a snapshot nor a transaction id while it waits, so that VACUUM and others are not held up. answer: OpenRouter''s body; NULL is given for it, or, in PL/pgSQL, a variable (answer => v). The other arguments are those of hiems.submit_prompt(). What the transaction did so far is committed even if the call fails; settings made by SET LOCAL end.
The gateway books the call with its settlement: the row is there when CALL returns (''committed'' with the answer, ''failed'' with an error, ''cancelled'' where the caller had gone by then), or, where a table is locked or the cost is not known yet, some time after; a ROLLBACK afterwards changes nothing. NOTIFY goes by the gateway''s hiems.notify.
Errors: 25001 in a transaction block, a function, an EXCEPTION block, or a procedure with a SET clause or SECURITY DEFINER: nothing was committed or sent; else as hiems.submit_prompt(). After a cancel, a timeout or the end of the session hiems.await_prompt(id) gives the answer; DETAIL names the id. PostgREST calls no procedures.';

COMMENT ON FUNCTION hiems.stream_prompt(text, jsonb, text, text, text, jsonb, jsonb) IS
'As hiems.submit_prompt(), with the answer as it is generated: a row for each chunk of OpenRouter''s stream, as it came but for what jsonb refuses. Text, reasoning and tool calls are in choices[0].delta, the end in choices[0].finish_reason, tokens and cost in the usage of the last but for none (its choices may be empty). Comments and [DONE] are no rows.
SELECT hiems.stream_prompt(...) gives the rows as they come: over a cursor, or to a client that reads row by row, such as psql with FETCH_COUNT set. SELECT * FROM hiems.stream_prompt(...) waits for all of them first: so PostgreSQL runs functions in FROM.
Arguments: as in hiems.submit_prompt(); there is no idempotency_key. options must not have stream or stream_options.
The call is booked (streamed, first_token_ms, the last usage''s tokens and cost) in the caller''s transaction when it has fetched the end: the row after the last. hiems.request_timeout bounds the whole stream, however slowly it is fetched; what is not fetched yet waits in the gateway, at most hiems.max_response_bytes, more raises PT502.
Where the rows are not fetched to the end (LIMIT, CLOSE, the end of the transaction, cancel, terminate), the stream is closed at OpenRouter, which stops many providers, and is booked as cancelled with what OpenRouter''s record says it did cost (hiems.settlement_timeout); where it had ended by then, it is booked as what became of the transaction: committed or rolled_back.
Errors: as in hiems.submit_prompt(), before the first row or between rows; the rows before it stand. PT429 also where 100 streams are open in the session. PT502 also where the stream ends in the middle, or ends in an error of the provider''s (that error''s own SQLSTATE where it has a code). A WARNING where a chunk was changed to fit jsonb: hiems.raw_answer(id) has the events as they came, and so it has those of a stream that failed. Else the answer is not kept for hiems.await_prompt().
Source: OpenRouter, API reference, Streaming.';

COMMENT ON FUNCTION hiems.complete(text, text, text, text) IS
'Asks a model one question and returns the text of its answer; NULL where the answer has none (a tool call). A content of parts is the text of its parts. A WARNING where the model was stopped (finish_reason length or content_filter): the text may be missing, or end in the middle. prompt: the question; model, "user", use_case: as in hiems.submit_prompt(). Books, and raises, as that does; a NULL prompt is 22023.';

COMMENT ON FUNCTION hiems.submit_prompts(jsonb, integer, text) IS
'Makes many calls at once, and gives a row for each as it ends, in the order of ending. Each is booked as by hiems.submit_prompt(), in the caller''s transaction: all together, with the last row. SELECT hiems.submit_prompts(...) and a cursor over it give rows while others are in flight; FROM hiems.submit_prompts(...) waits for all first, as PostgreSQL does with any function there. SELECT (r).* FROM (SELECT hiems.submit_prompts(...) AS r) AS t streams the columns; (hiems.submit_prompts(...)).* can make all the calls, and pay for them, once per column: do not write it.
requests: a JSON array of objects whose fields are the arguments of hiems.submit_prompt(): model, messages, user, use_case, session_id, metadata, options, idempotency_key. [] makes no calls.
max_concurrency: how many are in flight at a time, 1 to 10000; NULL: 32. Where hiems.max_in_flight is reached, or the caller''s share of it (hiems.max_share), a request waits for its turn. Calls that wait for a slow reader of rows count as in flight.
on_error: ''keep'' (or NULL): a request that cannot be used, is refused or fails gives a row that says so, and the others go on. ''raise'': the first error is raised, "request N: ..." with its own SQLSTATE; where a request cannot be used nothing is sent, and after a call that failed nothing more is sent.
Columns. ordinality: the request''s place in the array, from 1. response: OpenRouter''s body; content: the text of its first choice (NULL: it has none); both NULL where the call failed. error_code: the SQLSTATE that hiems.submit_prompt() would raise, and error_message: what it would say, with the call''s id; NULL where it was answered. cost_usd: what the call was billed with, US dollars, every digit; 0 where nothing was sent or billed, or the answer is another call''s by its idempotency_key; NULL: not known (see hiems.settle_now()). finish_reason: how the answer ended, in OpenRouter''s word; length and content_filter: the text may be missing, or end in the middle; NULL: it is not said.
What is read no further (LIMIT, CLOSE) sends nothing more: rows that were given are booked by the gateway as the transaction ends; calls in flight are finished and booked as cancelled, and hiems.await_prompt(id) has their answers for a while. After a cancel nothing more is sent either, and what was is booked as cancelled. hiems.calls shows how far it is. Where the gateway is told to leave, the next one makes what is left.
Errors: as hiems.submit_prompt(); and 22023 requests are NULL or no array, max_concurrency or on_error cannot be used, or, with on_error ''raise'', a request cannot be used. What PostgreSQL raises in the middle (57014, 57P01) has how far it was in DETAIL.
Source: OpenRouter, API reference, Chat completions; Errors and debugging.';

COMMENT ON FUNCTION hiems.extract(text, jsonb, text, text, text, jsonb) IS
'Asks a model one question and returns its answer as JSON that matches a JSON Schema, every number as the model wrote it.
prompt: the question. schema: a JSON object, draft 2020-12, at most 256 kB, nested at most 100 deep; references within it only ("#/$defs/..."), patterns without look-around and back-references. It is sent as response_format (json_schema, strict), so models that know it keep to it; what a model wants of a strict schema (such as "additionalProperties": false) is its own. model, "user", use_case, options: as in hiems.submit_prompt(); not response_format, and provider.require_parameters is true unless options say false, so that no provider is asked that leaves the schema out.
The answer is compared with the schema as it comes; JSON in one ```json fence around all of it will do. It is nested at most 100 deep.
Errors: 22023 the prompt or schema is NULL, or the schema cannot be used or takes more than 2 s of the processor or 128 MB (DETAIL says why): nothing was sent; PT503 the program hiems-validator, which tries the schema, cannot be started: nothing was sent; PT422 the answer does not match: DETAIL names the call, the place (a JSON pointer) and what is wrong there, or says that it is no JSON, was cut off, is a refusal, or takes as much to compare. That is billed, and booked as ''rolled_back'', and hiems.await_prompt(id) gives the whole answer for hiems.answer_retention. Else as hiems.submit_prompt().
Source: OpenRouter, Structured outputs.';

COMMENT ON FUNCTION hiems.set_api_key(text, text, text) IS
'Seals an OpenRouter key and stores it under a name, in the caller''s transaction; one of that name is replaced, and the next call after the commit uses it. kind: ''inference'' or ''management''. A key written into the statement stands in psql''s history, and in the log where statements are logged: bind it. Errors: 42501 no level admin; 22023 key, name or kind cannot be used; PT503 the master key cannot be read.';
COMMENT ON FUNCTION hiems.set_api_key_from_file(text, text, text) IS
'As hiems.set_api_key(), with the key in a file of the server: the gateway reads it, and no session ever has it. path: absolute. The file belongs to the server''s user and has mode 0600, or to root and has mode 0640; or less. Needs the level admin, and a superuser or the role pg_read_server_files. Errors: 42501 either is missing; 22023 path, file, name or kind cannot be used; PT503 the master key cannot be read.';
COMMENT ON FUNCTION hiems.set_api_key_from_environment(text, text, text) IS
'As hiems.set_api_key(), with the key in a variable of the environment that the server was started in. variable: begins with HIEMS_ or OPENROUTER_; no other is read. For superusers. Errors: 42501 no superuser; 22023 the variable is not set or may not be read, or key, name or kind cannot be used; PT503 the master key cannot be read.';
COMMENT ON FUNCTION hiems.verify_api_key(text) IS
'Asks OpenRouter (GET /key) about a stored key as this transaction sees it, so that a new one can be looked at before the commit. Costs nothing and books nothing; a server''s error or a broken connection is tried again twice, all within hiems.request_timeout. One row; NULL: OpenRouter does not say.
key_name, kind: as stored; a WARNING where kind and is_management_key do not agree. label: OpenRouter''s name for it. limit_usd: what it may spend, NULL: no limit; limit_remaining_usd: what is left of that; limit_reset: how often it begins anew; limit_includes_byok: whether usage of provider keys of one''s own counts.
usage_usd: what it has been charged, US dollars, every digit, over all time; _daily, _weekly, _monthly: in the current UTC day, week from Monday, month. byok_usage_*: what providers bill for its calls with keys of one''s own. expires_at: NULL: never.
Errors: 42501 no level admin; PT404 no such key; 0A000 standby; 57014 cancelled; PT504 no answer in time; PT502 OpenRouter failed; PT503 OpenRouter refused the key, cannot be reached, or the key cannot be opened.
Source: OpenRouter, API reference, Get current API key.';
COMMENT ON FUNCTION hiems.list_api_keys() IS
'What the view hiems.api_keys shows. No rows without the level admin.';
COMMENT ON FUNCTION hiems.rotate_master_key() IS
'Seals every stored key of this database with a new master key, in the caller''s transaction, and returns how many there are; calls go on meanwhile. Where hiems.master_key_file is not set, a new master key is made and put before the others in hiems_master.key; else it is the first in the file of that setting, where an operator has put it. The older ones stay in the file: other databases of the server, standbys and backups may need them. Errors: 42501 no level admin; 55000 every key is sealed with the first master key already, and hiems does not make another in an operator''s file; PT503 the file, or one of the keys, cannot be used: nothing is changed then.';
COMMENT ON FUNCTION hiems.adopt_api_keys() IS
'Has this database use the keys that were stored in another one: it is a copy of that (CREATE DATABASE ... TEMPLATE), or was restored from its dump. Until then its calls are refused with PT503, since a copy would spend by the other''s keys, without what was set for that database (ALTER DATABASE ... SET hiems.jwt_session_roles, say): set that first. Seals them for this database, in the caller''s transaction, and returns how many they were; 0: all were stored here. For superusers. Errors: 42501 no superuser; PT503 the master key file, or one of the keys, cannot be used: nothing is changed then.';
COMMENT ON FUNCTION hiems.drop_api_key(text) IS
'Forgets a key. Errors: 42501 no level admin; PT404 there is none of that name.';

COMMENT ON FUNCTION hiems.raw_answer(uuid) IS
'The answer to one of the caller''s own calls (its id), as it came from OpenRouter; kept for hiems.answer_retention where it was changed to fit jsonb, cannot be read, has a part of the text beside an error, is that of a stream that failed (its events), or came after its caller had gone. NULL for NULL. Errors: 42501 no level caller; PT404 there is none, or it is another''s.';

COMMENT ON FUNCTION hiems.settle_now() IS
'Asks OpenRouter at once (GET /generation) for every cost that is not known, without waiting for the next time that the gateway would, and also for those that it has given up (hiems.settlement_timeout); waits until each has been asked for once. One row, in calls. settled: the cost was not known, and is now: in the call''s own row, or, where that was booked by then, in a correcting row. corrected: booked with other figures than OpenRouter''s; a correcting row has the difference. confirmed: booked as OpenRouter says. unknown: OpenRouter does not say, or not yet; what is not given up is asked for again later. Costs nothing. Errors: 42501 no level admin; 25006 read-only transaction or standby; 57014 cancelled; PT503 the gateway does not start, or the journal is locked. Where the ledger is locked, it waits.
Source: OpenRouter, API reference, Get request & usage metadata for a generation.';

COMMENT ON FUNCTION hiems.await_prompt(uuid, interval) IS
'The answer of one of the caller''s own calls: OpenRouter''s body, as hiems.submit_prompt() gives it. id: from hiems.enqueue_prompt(), or, of a call whose caller was cancelled, timed out or ended, or that had an idempotency_key, from the error''s DETAIL or hiems.calls. Waits for the call''s end; timeout: for how long at most (7 seconds: less than what Supabase gives a token''s statement), NULL: until it ends. Answers are kept for hiems.answer_retention. NULL for NULL. Raises what the call itself failed with, and 42501 no level caller; PT404 no such call, another''s, or its answer is not kept (its caller has it); PT408 it has not ended within the timeout; 55000 this transaction itself has enqueued it (commit first), or it is paused (hiems.resume_prompts()); 57014 cancelled. Costs nothing.';

COMMENT ON FUNCTION hiems.enqueue_prompt(text, jsonb, text, text, text, jsonb, jsonb, text, timestamptz, integer, integer) IS
'Enqueues a call, and returns its id; the gateway makes it once this transaction is committed, and books it; what is rolled back is never sent. Nothing waits for it: hiems.await_prompt(id) gives its answer, for hiems.answer_retention, and channel hiems_calls tells its id when it has ended. It outlives crashes and restarts of the server.
model to options: as in hiems.submit_prompt(). idempotency_key: a second call with the same key and request is not enqueued; the first one''s id is returned.
run_at: not before; NULL: as soon as there is room. priority: -100 to 100, higher ones first, above 0 for the levels service and admin; NULL: 0. max_attempts: how often it may be sent, 1 to 1000; NULL: 10. It is sent again only where it was surely not billed: a 429 or 503, or no connection; after what Retry-After says, else after 1 s, doubling up to 10 min. A 429 or 503 slows that model, and no other. One model has at most hiems.queue_concurrency calls in flight.
Errors: 22023 bad argument; 42501 no level caller, another''s "user", or a priority above 0 without the level; 25006 read-only transaction; 0A000 standby, parallel query, or not READ COMMITTED in a token''s session; 55000 a trigger of somebody else''s on the ledger; PT413 too large, or more idempotency keys in one transaction than a quarter of max_locks_per_transaction * max_connections; PT503 the gateway does not start.';
COMMENT ON FUNCTION hiems.enqueue_prompts(jsonb) IS
'Enqueues many calls at once, and returns their ids in the order of the requests. requests: a JSON array of objects whose fields are the arguments of hiems.enqueue_prompt(). All or none: where one cannot be used the error says which, by its place in the array. No rows for ''[]''. Errors: as hiems.enqueue_prompt().';
COMMENT ON FUNCTION hiems.cancel_prompt(uuid) IS
'Takes a call out of the queue, with the commit of this transaction. True: it will not be made. False: it is on its way, or has ended: what was sent is billed, finished and booked. NULL for NULL. Each caller its own, an admin any. Errors: 42501 no level caller; 25006 read-only transaction; PT404 no such call, or another''s.';
COMMENT ON FUNCTION hiems.resume_prompts() IS
'Has paused calls made after all, and returns how many. A call is paused where it may have been made elsewhere: it was enqueued on another timeline of this server (a standby was promoted, a backup restored), in the database that this one is a copy of, or came by a dump; a move to another tablespace looks like a copy. Look there first: what has been made would be made, and billed, again. Dumps hold no requests: calls out of one stay paused, and can be cancelled. Errors: 42501 no level admin; 25006 read-only transaction.';

COMMENT ON FUNCTION hiems.health() IS
'Whether hiems is well: a row per check with its name, status (ok, warn, fail), what was found, and what to do (hint; NULL: nothing). Checks: gateway, settings, openrouter, versions, api_keys, master_key, unsettled_calls, pending_spend, queue, clock, notify_queue, guards, preload. Starts the gateway where none is up. Errors: 42501 no level admin.';

COMMENT ON FUNCTION hiems.grant_access(text, text) IS
'Gives a level to a database role, and the privileges to reach hiems. level: caller (may call, sees its own rows), reader (sees all figures), admin (both, and keys, levels, rates), service (a caller that may name any "user"). It is the role''s own, while it has this name: a role that is renamed has to be granted anew, and one that comes after it by that name has nothing. Idempotent. Errors: 42501 no level admin; 22023 unknown role or level.';
COMMENT ON FUNCTION hiems.grant_user_access(text, text) IS
'Gives a level to one token''s user: its claim sub. It comes in by a role that must have a level of its own. Idempotent. Errors: 42501 no level admin; 22023 no user, or unknown level.';
COMMENT ON FUNCTION hiems.revoke_access(text, text) IS
'Takes a level (NULL: every level) from a role, by whatever name it was given, and from a token''s user of that name. True if it had one. A WARNING where the policies of the broadcast on realtime.messages cannot follow (hiems.enable_supabase()): the level is taken all the same. Errors: 42501 no level admin; 22023 unknown level.';
COMMENT ON FUNCTION hiems.has_level(text) IS
'True if the current role, or its token''s user, has the level; a superuser has all. Errors: 22023 unknown level.';

COMMENT ON FUNCTION hiems.current_principal() IS
'Whose rows are this session''s own: jwt:<sub> in sessions of hiems.jwt_session_roles, else role:<name>, or role#2:<name> where an older role of that name, dropped or renamed since, has called before. NULL where a token''s session has no subject: it sees no rows as its own, and what it books belongs to its role. Never raises of its own.';
COMMENT ON FUNCTION hiems.current_user_id() IS
'The user that this session''s calls are booked to where none is named; NULL where a token''s session has no subject: they are booked to its role then. Never raises.';

COMMENT ON FUNCTION hiems.set_exchange_rate(text, numeric, date, text) IS
'Stores SEK per 1 unit of a currency (ISO 4217) for a day, and where it comes from; a rate of that day is replaced, rows already booked keep theirs. A call is booked with the newest rate that is not after its day, in the hiems.reporting_time_zone of the gateway (set it for the database). Errors: 42501 no level admin; 22023 no rate.';
COMMENT ON FUNCTION hiems.reporting_time_zone() IS
'The time zone of the days in views: hiems.reporting_time_zone, else the TimeZone that the session began with.';

COMMENT ON FUNCTION hiems.enable_supabase() IS
'Opens hiems in a project of Supabase''s, step by step; a row each: step, status (done; kept: it was so already; skipped: there is nothing to do it with), detail, hint (NULL: nothing to do). Idempotent; to be called again after a restore, or after what hiems.check_supabase() says. With hiems''s own rights, so that Supabase''s postgres may call it, who is no superuser.
levels: authenticated caller, service_role service; anon none. privileges: what a GRANT ALL over the schemas has opened to PUBLIC and to these roles is closed again. publication: hiems.ai_usage_logs into supabase_realtime. broadcast: policies on realtime.messages; while they are there, the gateway sends an event "usage" for each booked call to the private topics hiems:user:<sub> and, for readers, hiems:usage. api: NOTIFY pgrst, ''reload schema''.
Waits for locks on realtime.messages and on the ledger; can be cancelled. Errors: 42501 no level admin; 25006 read-only transaction or standby.';
COMMENT ON FUNCTION hiems.disable_supabase() IS
'Takes back what hiems.enable_supabase() gave: the policies on realtime.messages (and with them the broadcast), the ledger''s place in supabase_realtime, and the levels of authenticated and service_role. Columns and errors: as there. Idempotent.';
COMMENT ON FUNCTION hiems.check_supabase() IS
'What is wrong with hiems in a project of Supabase''s: a row per check that is well, and one per thing that is not, with its name, status (ok, warn, fail), what was found, and what mends it (hint; NULL: nothing to do). Checks: roles, levels, tokens, privileges, api, postgres_changes, policies, broadcast. Reads only; where Supabase is not there, it says what is missing. Errors: 42501 no level admin.';
COMMENT ON FUNCTION hiems_private.deletes_old_rows() IS
'True while this process, the gateway, deletes ledger rows that are older than hiems.ledger_retention; else false. For the trigger append_only.';
