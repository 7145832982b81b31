-- The ledger: append-only, one row per call that reached OpenRouter. Written by src/ledger.rs only.
CREATE TABLE hiems.ai_usage_logs (
    id                   uuid PRIMARY KEY,
    created_at           timestamptz NOT NULL,
    booked_at            timestamptz NOT NULL,
    generation_id        text,
    model                text,
    model_requested      text,
    provider             text,
    user_id              text,
    use_case             text,
    session_id           text,
    metadata             jsonb,
    prompt_tokens        bigint,
    completion_tokens    bigint,
    total_tokens         bigint,
    cached_tokens        bigint,
    cache_write_tokens   bigint,
    reasoning_tokens     bigint,
    cost_usd             numeric,
    upstream_cost_usd    numeric,
    is_byok              boolean,
    cost_source          text NOT NULL
        CHECK (cost_source IN ('billed', 'settled', 'estimated', 'not_billed', 'unknown')),
    cost_sek             numeric,
    usd_sek_rate         numeric,
    rate_date            date,
    rate_source          text,
    outcome              text NOT NULL
        CHECK (outcome IN ('committed', 'rolled_back', 'cancelled', 'failed', 'unknown', 'recorded')),
    finish_reason        text,
    native_finish_reason text,
    http_status          integer,
    error_code           text,
    latency_ms           bigint,
    first_token_ms       bigint,
    attempts             integer NOT NULL,
    streamed             boolean NOT NULL,
    booked_xid           xid8 NOT NULL,
    principal            text NOT NULL,
    key_name             text,
    role_name            text,
    application_name     text,
    adjusts              uuid,
    calls                smallint NOT NULL CHECK (calls IN (0, 1)),
    CHECK ((cost_source = 'unknown') = (cost_usd IS NULL)),
    CHECK ((adjusts IS NULL) = (calls = 1))
);
CREATE INDEX ai_usage_logs_created_at ON hiems.ai_usage_logs (created_at);
CREATE INDEX ai_usage_logs_principal ON hiems.ai_usage_logs (principal, created_at);
CREATE INDEX ai_usage_logs_booked_xid ON hiems.ai_usage_logs (booked_xid);
CREATE INDEX ai_usage_logs_adjusts ON hiems.ai_usage_logs (adjusts) WHERE adjusts IS NOT NULL;
-- What hiems.settle_now() asks for.
CREATE INDEX ai_usage_logs_unknown ON hiems.ai_usage_logs (generation_id)
    WHERE cost_source = 'unknown' AND generation_id IS NOT NULL;
SELECT pg_catalog.pg_extension_config_dump('hiems.ai_usage_logs', '');

-- What a caller's own booking does itself, past the executor (src/ledger/book.rs): the two are to be changed together,
-- and the names of constraints, triggers and partial indexes stand there, too.
-- booked_xid is this cluster's own transaction, also on a subscriber; a restored or replicated row
-- keeps the booked_at it came with.
CREATE FUNCTION hiems_private.stamp_ledger_row() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.booked_xid := pg_catalog.pg_current_xact_id();
    NEW.booked_at := coalesce(NEW.booked_at, pg_catalog.clock_timestamp());
    RETURN NEW;
END
$$;
CREATE TRIGGER stamp BEFORE INSERT ON hiems.ai_usage_logs
    FOR EACH ROW EXECUTE FUNCTION hiems_private.stamp_ledger_row();
ALTER TABLE hiems.ai_usage_logs ENABLE ALWAYS TRIGGER stamp;

-- But for what is older than hiems.ledger_retention, where the gateway deletes it. Two steps: who is no superuser
-- may not even ask.
CREATE FUNCTION hiems_private.refuse_ledger_change() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' AND pg_catalog.pg_has_role(10::oid, 'USAGE') THEN
        IF hiems_private.deletes_old_rows() THEN
            RETURN NULL;
        END IF;
    END IF;
    RAISE EXCEPTION 'the ledger is append-only' USING
        ERRCODE = '42501',
        DETAIL = pg_catalog.format('%s on hiems.ai_usage_logs was refused.', TG_OP),
        HINT = 'A superuser corrects a figure by a row that holds the difference (column adjusts).';
END
$$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON hiems.ai_usage_logs
    FOR EACH STATEMENT EXECUTE FUNCTION hiems_private.refuse_ledger_change();
ALTER TABLE hiems.ai_usage_logs ENABLE ALWAYS TRIGGER append_only;

-- hiems writes as a superuser; 10 is the one that initdb makes. No policy lets anybody else insert, but
-- a role with BYPASSRLS asks no policy.
CREATE FUNCTION hiems_private.refuse_ledger_row() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'only hiems writes to the ledger' USING
        ERRCODE = '42501',
        DETAIL = 'INSERT on hiems.ai_usage_logs was refused.',
        HINT = 'Calls are booked by hiems.submit_prompt() and its like.';
END
$$;
CREATE TRIGGER written_by_hiems BEFORE INSERT ON hiems.ai_usage_logs
    FOR EACH STATEMENT WHEN (NOT pg_catalog.pg_has_role(10::oid, 'USAGE'))
    EXECUTE FUNCTION hiems_private.refuse_ledger_row();
ALTER TABLE hiems.ai_usage_logs ENABLE ALWAYS TRIGGER written_by_hiems;

ALTER TABLE hiems.ai_usage_logs ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_rows_and_readers ON hiems.ai_usage_logs FOR SELECT
    USING (principal = (SELECT hiems.current_principal())
           OR (SELECT hiems.has_level('reader')));
-- The same of what is on its way: hiems.calls reads it with its reader's rights.
CREATE POLICY own_rows_and_readers ON hiems_private.calls FOR SELECT
    USING (principal = (SELECT hiems.current_principal())
           OR (SELECT hiems.has_level('reader')));
CREATE POLICY own_rows_and_readers ON hiems_private.queue FOR SELECT
    USING (principal = (SELECT hiems.current_principal())
           OR (SELECT hiems.has_level('reader')));
