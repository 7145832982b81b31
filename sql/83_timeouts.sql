-- PostgREST sets a function's own statement_timeout before it calls it (db-hoisted-tx-settings): what waits
-- for OpenRouter outlives the 8 s of Supabase's authenticated, and ends within the 60 s of its API gateway.
-- Everywhere else a statement keeps the timeout that it began with: PostgreSQL does not look again.
ALTER FUNCTION hiems.submit_prompt SET statement_timeout = '55s';
ALTER FUNCTION hiems.complete SET statement_timeout = '55s';
ALTER FUNCTION hiems.extract SET statement_timeout = '55s';
ALTER FUNCTION hiems.submit_prompts SET statement_timeout = '55s';
ALTER FUNCTION hiems.stream_prompt SET statement_timeout = '55s';
ALTER FUNCTION hiems.await_prompt SET statement_timeout = '55s';
ALTER FUNCTION hiems.verify_api_key SET statement_timeout = '55s';
ALTER FUNCTION hiems.settle_now SET statement_timeout = '55s';
