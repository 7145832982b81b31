-- Closed by default: nothing to PUBLIC. hiems.grant_access() opens what a level needs.
REVOKE ALL ON SCHEMA hiems, hiems_private FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA hiems, hiems_private FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA hiems, hiems_private FROM PUBLIC;

-- What \df+ says of the functions. PTnnn is HTTP status nnn in PostgREST.
COMMENT ON FUNCTION hiems.submit_prompt(text, jsonb, text, text, text, jsonb, jsonb, text) IS
'Calls a model through OpenRouter, books the call in hiems.ai_usage_logs in the caller''s transaction, and returns OpenRouter''s body. The call is billed, and booked, also if the transaction rolls back, or the caller is cancelled.
model: such as ''openai/gpt-4o-mini''; NULL: hiems.default_model.
messages: a JSON array of {"role", "content"} objects; roles system, developer, user, assistant, tool. A JSON string that holds the array will do.
"user" (quoted: unquoted it is the role''s name): for whom; NULL: the token''s subject, else the role.
use_case: what for; NULL: hiems.use_case. session_id: groups calls, at OpenRouter too. metadata: kept with the row, not sent. Texts have at most 512 octets each, metadata 64 kB.
options: every other field of the request, such as {"temperature": 0.2, "max_completion_tokens": 500}; not model, messages, user, session_id, stream, stream_options, usage, or credentials.
idempotency_key: not supported yet.
Errors: 22023 bad argument, or refused by OpenRouter (400); 42501 no level caller, another''s "user", or in an index or materialized view; 25006 read-only transaction; 0A000 standby, parallel query, idempotency_key, or not READ COMMITTED in a token''s session; 55000 a trigger of somebody else''s on the ledger; 57014 cancelled; PT402 credits, PT403 not allowed, PT404 not found, PT408 no answer in time, PT413 too large (hiems.max_request_bytes), PT422 cannot be processed, PT429 too many, or hiems.max_in_flight is reached (seconds to wait in DETAIL), PT502 OpenRouter or the provider failed, or the outcome is not known, PT503 no key, key refused, or nothing available, no free worker slot; XX000 a defect. A 429 or 503 that came before anything was billed is tried again first (hiems.max_attempts). After sending, DETAIL names the call''s id, but for 57014, which is PostgreSQL''s own.
Source: OpenRouter, API reference, Chat completions; Errors and debugging.';

COMMENT ON FUNCTION hiems.complete(text, text, text, text) IS
'Asks a model one question and returns the text of its answer; NULL where the answer has none (a tool call). prompt: the question; model, "user", use_case: as in hiems.submit_prompt(). Books, and raises, as that does; a NULL prompt is 22023.';

COMMENT ON FUNCTION hiems.set_api_key(text, text, text) IS
'Seals an OpenRouter key and stores it under a name, in the caller''s transaction; one of that name is replaced, and the next call uses it. kind: ''inference'' or ''management''. A key written into the statement stands in its log: bind it. Errors: 42501 no level admin; 22023 key, name or kind cannot be used; PT503 the master key cannot be read.';
COMMENT ON FUNCTION hiems.drop_api_key(text) IS
'Forgets a key. Errors: 42501 no level admin; PT404 there is none of that name.';

COMMENT ON FUNCTION hiems.grant_access(text, text) IS
'Gives a level to a database role, and the privileges to reach hiems. level: caller (may call, sees its own rows), reader (sees all figures), admin (both, and keys, levels, rates), service (a caller that may name any "user"). Idempotent. Errors: 42501 no level admin; 22023 unknown role or level.';
COMMENT ON FUNCTION hiems.grant_user_access(text, text) IS
'Gives a level to one token''s user: its claim sub. It comes in by a role that must have a level of its own. Idempotent. Errors: 42501 no level admin; 22023 no user, or unknown level.';
COMMENT ON FUNCTION hiems.revoke_access(text, text) IS
'Takes a level (NULL: every level) from a role and a token''s user of that name. True if it had one. Errors: 42501 no level admin; 22023 unknown level.';
COMMENT ON FUNCTION hiems.has_level(text) IS
'True if the current role, or its token''s user, has the level; a superuser has all. Errors: 22023 unknown level.';

COMMENT ON FUNCTION hiems.current_principal() IS
'Whose rows are this session''s own: jwt:<sub> in sessions of hiems.jwt_session_roles, else role:<name>. NULL where a token''s session has no subject: it sees no rows as its own, and what it books belongs to role:<name>. Never raises.';
COMMENT ON FUNCTION hiems.current_user_id() IS
'The user that this session''s calls are booked to where none is named; NULL where a token''s session has no subject: they are booked to its role then. Never raises.';

COMMENT ON FUNCTION hiems.set_exchange_rate(text, numeric, date, text) IS
'Stores SEK per 1 unit of a currency (ISO 4217) for a day, and where it comes from; a rate of that day is replaced, rows already booked keep theirs. A call is booked with the newest rate that is not after its day, in the hiems.reporting_time_zone of the gateway (set it for the database). Errors: 42501 no level admin; 22023 no rate.';
COMMENT ON FUNCTION hiems.reporting_time_zone() IS
'The time zone of the days in views: hiems.reporting_time_zone, else the TimeZone that the session began with.';
