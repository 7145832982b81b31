-- What a dashboard or BI tool reads. Every view runs with the reader's own rights, so row-level
-- security holds; sums are exact, and what is not known is counted beside them, never shown as 0. A
-- correcting row (calls = 0) holds differences; one with the cost_source 'settled' makes a cost known that
-- its call's row does not know.
CREATE VIEW hiems.usage_totals WITH (security_invoker = true) AS
SELECT coalesce(sum(calls), 0)::bigint                          AS calls,
       sum(prompt_tokens)::bigint                               AS prompt_tokens,
       sum(completion_tokens)::bigint                           AS completion_tokens,
       sum(total_tokens)::bigint                                AS total_tokens,
       sum(cached_tokens)::bigint                               AS cached_tokens,
       sum(cache_write_tokens)::bigint                          AS cache_write_tokens,
       sum(reasoning_tokens)::bigint                            AS reasoning_tokens,
       sum(cost_usd)                                            AS cost_usd,
       sum(cost_sek)                                            AS cost_sek,
       sum(upstream_cost_usd) FILTER (WHERE is_byok)            AS byok_upstream_cost_usd,
       count(*) FILTER (WHERE cost_usd IS NULL)
           - count(*) FILTER (WHERE calls = 0 AND cost_source = 'settled') AS calls_without_cost,
       count(*) FILTER (WHERE cost_usd IS NOT NULL AND cost_sek IS NULL
                        AND (calls = 1 OR cost_source = 'settled')) AS calls_without_rate,
       count(*) FILTER (WHERE outcome = 'failed' AND calls = 1) AS failed_calls,
       min(created_at)                                          AS first_call_at,
       max(created_at)                                          AS last_call_at
FROM hiems.ai_usage_logs;

-- For admins: hiems.list_api_keys() looks at the level.
CREATE VIEW hiems.api_keys WITH (security_invoker = true) AS
SELECT name, kind, fingerprint, version, stored_at, stored_by, master_key, sealed_at
FROM hiems.list_api_keys();

CREATE VIEW hiems.usage_by_model WITH (security_invoker = true) AS
SELECT coalesce(model, model_requested)                         AS model,
       sum(calls)::bigint                                       AS calls,
       sum(prompt_tokens)::bigint                               AS prompt_tokens,
       sum(completion_tokens)::bigint                           AS completion_tokens,
       sum(total_tokens)::bigint                                AS total_tokens,
       sum(cost_usd)                                            AS cost_usd,
       sum(cost_sek)                                            AS cost_sek,
       count(*) FILTER (WHERE cost_usd IS NULL)
           - count(*) FILTER (WHERE calls = 0 AND cost_source = 'settled') AS calls_without_cost,
       count(*) FILTER (WHERE cost_usd IS NOT NULL AND cost_sek IS NULL
                        AND (calls = 1 OR cost_source = 'settled')) AS calls_without_rate,
       count(*) FILTER (WHERE outcome = 'failed' AND calls = 1) AS failed_calls
FROM hiems.ai_usage_logs
GROUP BY 1;

CREATE VIEW hiems.usage_by_use_case WITH (security_invoker = true) AS
SELECT coalesce(use_case, 'unspecified')                        AS use_case,
       sum(calls)::bigint                                       AS calls,
       sum(prompt_tokens)::bigint                               AS prompt_tokens,
       sum(completion_tokens)::bigint                           AS completion_tokens,
       sum(total_tokens)::bigint                                AS total_tokens,
       sum(cost_usd)                                            AS cost_usd,
       sum(cost_sek)                                            AS cost_sek,
       count(*) FILTER (WHERE cost_usd IS NULL)
           - count(*) FILTER (WHERE calls = 0 AND cost_source = 'settled') AS calls_without_cost,
       count(*) FILTER (WHERE cost_usd IS NOT NULL AND cost_sek IS NULL
                        AND (calls = 1 OR cost_source = 'settled')) AS calls_without_rate,
       count(*) FILTER (WHERE outcome = 'failed' AND calls = 1) AS failed_calls
FROM hiems.ai_usage_logs
GROUP BY 1;

CREATE VIEW hiems.usage_by_user WITH (security_invoker = true) AS
SELECT user_id,
       sum(calls)::bigint                                       AS calls,
       sum(prompt_tokens)::bigint                               AS prompt_tokens,
       sum(completion_tokens)::bigint                           AS completion_tokens,
       sum(total_tokens)::bigint                                AS total_tokens,
       sum(cost_usd)                                            AS cost_usd,
       sum(cost_sek)                                            AS cost_sek,
       count(*) FILTER (WHERE cost_usd IS NULL)
           - count(*) FILTER (WHERE calls = 0 AND cost_source = 'settled') AS calls_without_cost,
       count(*) FILTER (WHERE cost_usd IS NOT NULL AND cost_sek IS NULL
                        AND (calls = 1 OR cost_source = 'settled')) AS calls_without_rate,
       count(*) FILTER (WHERE outcome = 'failed' AND calls = 1) AS failed_calls
FROM hiems.ai_usage_logs
GROUP BY 1;

CREATE VIEW hiems.usage_daily WITH (security_invoker = true) AS
SELECT (created_at AT TIME ZONE (SELECT hiems.reporting_time_zone()))::date AS day,
       sum(calls)::bigint                                       AS calls,
       sum(prompt_tokens)::bigint                               AS prompt_tokens,
       sum(completion_tokens)::bigint                           AS completion_tokens,
       sum(total_tokens)::bigint                                AS total_tokens,
       sum(cost_usd)                                            AS cost_usd,
       sum(cost_sek)                                            AS cost_sek,
       count(*) FILTER (WHERE cost_usd IS NULL)
           - count(*) FILTER (WHERE calls = 0 AND cost_source = 'settled') AS calls_without_cost,
       count(*) FILTER (WHERE cost_usd IS NOT NULL AND cost_sek IS NULL
                        AND (calls = 1 OR cost_source = 'settled')) AS calls_without_rate,
       count(*) FILTER (WHERE outcome = 'failed' AND calls = 1) AS failed_calls
FROM hiems.ai_usage_logs
GROUP BY 1;

-- Averages are over calls: each with its corrections first.
CREATE VIEW hiems.model_statistics WITH (security_invoker = true) AS
SELECT coalesce(l.model, l.model_requested)                     AS model,
       l.provider,
       count(*)                                                 AS calls,
       count(*) FILTER (WHERE l.outcome = 'failed')             AS failed_calls,
       -- Exact types throughout: an operator that fits better than PostgreSQL's own must not exist.
       sum(f.cost_usd) / nullif(count(f.cost_usd), 0)::numeric  AS cost_usd_per_call,
       1000000::numeric * sum(f.cost_usd) FILTER (WHERE f.total_tokens > 0)
           / nullif(sum(f.total_tokens) FILTER (WHERE f.cost_usd IS NOT NULL), 0::numeric)
                                                                AS cost_usd_per_million_tokens,
       avg(f.prompt_tokens)                                     AS prompt_tokens_per_call,
       avg(f.completion_tokens)                                 AS completion_tokens_per_call,
       avg(l.latency_ms)                                        AS latency_ms_average,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY l.latency_ms)  AS latency_ms_p50,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY l.latency_ms) AS latency_ms_p95,
       1000::numeric * sum(f.completion_tokens) FILTER (WHERE l.latency_ms > 0)
           / nullif(sum(l.latency_ms) FILTER (WHERE f.completion_tokens IS NOT NULL), 0::numeric)
                                                                AS completion_tokens_per_second
FROM hiems.ai_usage_logs AS l
LEFT JOIN (SELECT adjusts,
                  sum(cost_usd)                  AS cost_usd,
                  sum(prompt_tokens)::bigint     AS prompt_tokens,
                  sum(completion_tokens)::bigint AS completion_tokens,
                  sum(total_tokens)::bigint      AS total_tokens
           FROM hiems.ai_usage_logs WHERE adjusts IS NOT NULL GROUP BY adjusts) AS c
    ON c.adjusts = l.id
CROSS JOIN LATERAL (
    SELECT CASE WHEN c.cost_usd IS NULL THEN l.cost_usd
                ELSE coalesce(l.cost_usd, 0::numeric) + c.cost_usd END     AS cost_usd,
           CASE WHEN c.prompt_tokens IS NULL THEN l.prompt_tokens
                ELSE coalesce(l.prompt_tokens, 0::bigint) + c.prompt_tokens END AS prompt_tokens,
           CASE WHEN c.completion_tokens IS NULL THEN l.completion_tokens
                ELSE coalesce(l.completion_tokens, 0::bigint) + c.completion_tokens END
                                                                           AS completion_tokens,
           CASE WHEN c.total_tokens IS NULL THEN l.total_tokens
                ELSE coalesce(l.total_tokens, 0::bigint) + c.total_tokens END AS total_tokens
) AS f
WHERE l.calls = 1
GROUP BY 1, 2;

CREATE VIEW hiems.my_usage_totals WITH (security_invoker = true) AS
SELECT coalesce(sum(calls), 0)::bigint                          AS calls,
       sum(prompt_tokens)::bigint                               AS prompt_tokens,
       sum(completion_tokens)::bigint                           AS completion_tokens,
       sum(total_tokens)::bigint                                AS total_tokens,
       sum(cost_usd)                                            AS cost_usd,
       sum(cost_sek)                                            AS cost_sek,
       count(*) FILTER (WHERE cost_usd IS NULL)
           - count(*) FILTER (WHERE calls = 0 AND cost_source = 'settled') AS calls_without_cost,
       count(*) FILTER (WHERE cost_usd IS NOT NULL AND cost_sek IS NULL
                        AND (calls = 1 OR cost_source = 'settled')) AS calls_without_rate,
       count(*) FILTER (WHERE outcome = 'failed' AND calls = 1) AS failed_calls
FROM hiems.ai_usage_logs
WHERE principal = (SELECT hiems.current_principal());

CREATE VIEW hiems.my_usage_by_model WITH (security_invoker = true) AS
SELECT coalesce(model, model_requested)                         AS model,
       sum(calls)::bigint                                       AS calls,
       sum(prompt_tokens)::bigint                               AS prompt_tokens,
       sum(completion_tokens)::bigint                           AS completion_tokens,
       sum(total_tokens)::bigint                                AS total_tokens,
       sum(cost_usd)                                            AS cost_usd,
       sum(cost_sek)                                            AS cost_sek,
       count(*) FILTER (WHERE cost_usd IS NULL)
           - count(*) FILTER (WHERE calls = 0 AND cost_source = 'settled') AS calls_without_cost,
       count(*) FILTER (WHERE cost_usd IS NOT NULL AND cost_sek IS NULL
                        AND (calls = 1 OR cost_source = 'settled')) AS calls_without_rate,
       count(*) FILTER (WHERE outcome = 'failed' AND calls = 1) AS failed_calls
FROM hiems.ai_usage_logs
WHERE principal = (SELECT hiems.current_principal())
GROUP BY 1;

CREATE VIEW hiems.my_usage_daily WITH (security_invoker = true) AS
SELECT (created_at AT TIME ZONE (SELECT hiems.reporting_time_zone()))::date AS day,
       sum(calls)::bigint                                       AS calls,
       sum(prompt_tokens)::bigint                               AS prompt_tokens,
       sum(completion_tokens)::bigint                           AS completion_tokens,
       sum(total_tokens)::bigint                                AS total_tokens,
       sum(cost_usd)                                            AS cost_usd,
       sum(cost_sek)                                            AS cost_sek,
       count(*) FILTER (WHERE cost_usd IS NULL)
           - count(*) FILTER (WHERE calls = 0 AND cost_source = 'settled') AS calls_without_cost,
       count(*) FILTER (WHERE cost_usd IS NOT NULL AND cost_sek IS NULL
                        AND (calls = 1 OR cost_source = 'settled')) AS calls_without_rate,
       count(*) FILTER (WHERE outcome = 'failed' AND calls = 1) AS failed_calls
FROM hiems.ai_usage_logs
WHERE principal = (SELECT hiems.current_principal())
GROUP BY 1;

-- What is on its way: each caller sees its own calls, a reader all. The rights on the tables beneath are
-- in src/access.rs. What is in the ledger is no longer on its way, though the sweep forgets it later.
CREATE VIEW hiems.calls WITH (security_invoker = true) AS
SELECT c.id,
       c.state,
       c.created_at,
       clock_timestamp() - c.created_at                          AS age,
       c.settled_at,
       c.entry ->> 'model_requested'                              AS model_requested,
       c.entry ->> 'user_id'                                      AS user_id,
       c.entry ->> 'use_case'                                     AS use_case,
       c.entry ->> 'session_id'                                   AS session_id,
       (c.entry ->> 'attempts')::integer                          AS attempts,
       c.generation_id,
       (c.entry ->> 'cost_usd')::numeric                          AS cost_usd,
       c.caller_gone,
       c.principal,
       c.batch_id,
       c.batch_size,
       CASE WHEN c.batch_id IS NOT NULL
            THEN count(*) FILTER (WHERE c.state <> 'sent') OVER batch END AS batch_done,
       CASE WHEN c.batch_id IS NOT NULL
            THEN count(*) FILTER (WHERE c.state IN ('failed', 'unknown')) OVER batch END
                                                                  AS batch_failed,
       CASE WHEN c.batch_id IS NOT NULL
            THEN sum((c.entry ->> 'cost_usd')::numeric) FILTER (WHERE c.state <> 'sent') OVER batch END
                                                                  AS batch_cost_usd,
       NULL::timestamptz                                          AS run_at,
       NULL::integer                                              AS priority,
       NULL::integer                                              AS max_attempts,
       NULL::text                                                 AS last_error
FROM hiems_private.calls AS c
WHERE NOT EXISTS (SELECT FROM hiems.ai_usage_logs AS l WHERE l.id = c.id)
WINDOW batch AS (PARTITION BY c.batch_id)
UNION ALL
SELECT q.id,
       q.state,
       q.enqueued_at,
       clock_timestamp() - q.enqueued_at,
       q.failed_at,
       q.model,
       q.entry ->> 'user_id',
       q.entry ->> 'use_case',
       q.entry ->> 'session_id',
       q.attempts,
       NULL,
       NULL,
       false,
       q.principal,
       NULL,
       NULL,
       NULL,
       NULL,
       NULL,
       q.run_at,
       q.priority,
       q.max_attempts,
       nullif(concat_ws(': ', q.failure ->> 'message', q.failure ->> 'detail'), '')
FROM hiems_private.queue AS q;
