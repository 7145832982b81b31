\set ON_ERROR_STOP on
\pset footer off
\pset null -

\echo
\echo '== The operator: time zone, key, exchange rate, and who may do what'
\set ECHO queries
ALTER DATABASE demo SET hiems.reporting_time_zone = 'Europe/Stockholm';
\set ECHO none
\connect demo
\getenv key OPENROUTER_API_KEY
\echo 'SELECT hiems.set_api_key(''sk-or-...'');'
SELECT hiems.set_api_key(:'key') \g /dev/null
\set ECHO queries
SELECT hiems.set_exchange_rate('USD', 10.4521, current_date - 1, 'demo') \g /dev/null
CREATE ROLE demo_app;
SELECT hiems.grant_access('demo_app', 'caller') \g /dev/null

\set ECHO none
\echo
\echo '== An application calls models, for users and use cases'
\set ECHO queries
SET ROLE demo_app;
SELECT answer ->> 'model' AS model, answer #>> '{choices,0,message,content}' AS answer,
       answer #>> '{usage,cost}' AS cost_usd
FROM hiems.submit_prompt(
    'openai/gpt-4o-mini',
    '[{"role": "user", "content": "Name three Nordic capitals."}]',
    "user" => 'alice', use_case => 'quiz',
    options => '{"max_completion_tokens": 60}') AS answer;
SELECT hiems.complete('Say hello in Swedish.', 'anthropic/claude-sonnet-4.5', "user" => 'bob');
SELECT prompt, hiems.complete(prompt, 'google/gemini-2.5-flash', 'alice', 'translation')
FROM (VALUES ('Translate "winter" to Latin.'), ('Translate "snow" to Latin.')) AS v (prompt);

\set ECHO none
\echo
\echo '== A call that is rolled back, and one that is cut off: both are billed, so both are booked'
\set ECHO queries
BEGIN;
SELECT length(hiems.complete('This will be rolled back.', 'openai/gpt-4o-mini', 'bob')) AS characters;
ROLLBACK;
\set ON_ERROR_STOP off
SET statement_timeout = '60ms';
SELECT hiems.complete('This takes too long.', 'openai/gpt-4o-mini', 'bob');
RESET statement_timeout;

\set ECHO none
\echo
\echo '== A call that OpenRouter refuses'
\set ECHO queries
SELECT hiems.complete('Hello?', 'nope/no-such-model', 'bob');

\set ECHO none
\echo
\echo '== The caller may call, and sees its own rows; figures and keys are for others'
\set ECHO queries
SELECT calls, total_tokens, cost_usd FROM hiems.my_usage_totals;
SELECT * FROM hiems.usage_by_user;
SELECT hiems.set_api_key('sk-or-mine');
RESET ROLE;

\set ECHO none
\set ON_ERROR_STOP on
\echo
\echo '== The ledger, once what callers left is booked'
DO $$
BEGIN
    FOR i IN 1..300 LOOP
        EXIT WHEN NOT EXISTS (SELECT FROM hiems_private.calls);
        PERFORM pg_sleep(0.1);
    END LOOP;
END
$$;
\set ECHO queries
SELECT user_id, use_case, model, prompt_tokens AS prompt, completion_tokens AS completion,
       cost_usd, round(cost_sek, 8) AS cost_sek, cost_source, outcome
FROM hiems.ai_usage_logs ORDER BY created_at;

\set ECHO none
\echo
\echo '== The views'
\set ECHO queries
\x on
SELECT * FROM hiems.usage_totals;
\x off
SELECT * FROM hiems.usage_by_model;
SELECT * FROM hiems.usage_by_use_case;
SELECT * FROM hiems.usage_by_user;
SELECT * FROM hiems.usage_daily;
\x on
SELECT * FROM hiems.model_statistics;
\x off
SET ROLE demo_app;
SELECT * FROM hiems.my_usage_totals;
SELECT * FROM hiems.my_usage_by_model;
SELECT * FROM hiems.my_usage_daily;
RESET ROLE;

\set ECHO none
\echo
\echo '== Is it well?'
\set ECHO queries
SELECT name, status, detail FROM hiems.health();
SELECT name, kind, fingerprint FROM hiems.api_keys;
