-- Everything that is on its way: a row from before the request is sent until its ledger row is
-- there. Written by the gateway only (src/worker/journal.rs), in transactions of its own.
CREATE TABLE hiems_private.calls (
    id                uuid PRIMARY KEY,
    -- 'booked': it is in the ledger, and its generation is still to be looked up.
    state             text NOT NULL
        CHECK (state IN ('sent', 'answered', 'failed', 'unknown', 'booked')),
    created_at        timestamptz NOT NULL,
    settled_at        timestamptz,
    -- The caller's top-level transaction and the cluster it ran in: the row is booked by the
    -- sweep once that transaction is over and has left no ledger row. NULL: it is made for no
    -- transaction, and is booked in the commit that settles it, or by the sweep.
    caller_xid        xid8,
    system_identifier bigint NOT NULL,
    -- True once the caller was cancelled or died before it had read the answer.
    caller_gone       boolean NOT NULL DEFAULT false,
    -- Set where the caller could not book it, since the ledger was locked, or did not fetch a stream to its
    -- end: the innermost transaction that it ran in.
    deferred_xid      xid8,
    generation_id     text,
    -- True where OpenRouter's own record of the generation has yet to say what it cost.
    look_up           boolean NOT NULL DEFAULT false,
    -- The call of hiems.submit_prompts() that it is one of, and how many that one makes; else NULL.
    batch_id          uuid,
    batch_size        integer,
    principal         text NOT NULL,
    -- The ledger row to be, as far as it is known. As text: it is written twice, and hardly ever looked into.
    entry             json NOT NULL
) WITH (
    fillfactor = 70,
    -- Each call is an insert, some updates and a delete: what is dead must be found before it is in the way.
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE hiems_private.calls ENABLE ROW LEVEL SECURITY;

-- Row-level security says nothing of TRUNCATE, which a careless GRANT ALL includes: what is on its way
-- would be lost to the ledger. 10 is the superuser that initdb makes.
CREATE FUNCTION hiems_private.refuse_journal_truncate() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'only superusers may empty the journal' USING
        ERRCODE = '42501',
        DETAIL = 'TRUNCATE on hiems_private.calls was refused: calls on their way would not be booked.',
        HINT = 'It empties itself: each call leaves it for hiems.ai_usage_logs.';
END
$$;
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON hiems_private.calls
    FOR EACH STATEMENT WHEN (NOT pg_catalog.pg_has_role(10::oid, 'USAGE'))
    EXECUTE FUNCTION hiems_private.refuse_journal_truncate();
ALTER TABLE hiems_private.calls ENABLE ALWAYS TRIGGER no_truncate;
SELECT pg_catalog.pg_extension_config_dump('hiems_private.calls', '');

-- Answers that their callers do not have as they came, and, where hiems.log_content is on, prompts and
-- answers. Apart from the calls, which stay small; never in a dump. Written by src/contents.rs only.
CREATE TABLE hiems_private.answers (
    call_id   uuid PRIMARY KEY,
    principal text NOT NULL,
    kept_at   timestamptz NOT NULL DEFAULT now(),
    answer    bytea NOT NULL
);
CREATE INDEX answers_kept_at ON hiems_private.answers (kept_at);
ALTER TABLE hiems_private.answers ENABLE ROW LEVEL SECURITY;

-- Which call has a caller's idempotency key. Without content, so that a dump may hold it: what was made
-- once is not made again after a restore. Written by src/idempotency.rs only.
CREATE TABLE hiems_private.idempotency_keys (
    principal       text NOT NULL,
    idempotency_key text NOT NULL,
    call_id         uuid NOT NULL,
    request_digest  text NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (principal, idempotency_key)
);
CREATE INDEX idempotency_keys_call_id ON hiems_private.idempotency_keys (call_id);
CREATE INDEX idempotency_keys_created_at ON hiems_private.idempotency_keys (created_at);
ALTER TABLE hiems_private.idempotency_keys ENABLE ROW LEVEL SECURITY;
SELECT pg_catalog.pg_extension_config_dump('hiems_private.idempotency_keys', '');

CREATE TABLE hiems_private.content_logs (
    call_id   uuid PRIMARY KEY,
    principal text NOT NULL,
    logged_at timestamptz NOT NULL DEFAULT now(),
    request   text NOT NULL,
    answer    text NOT NULL
);
CREATE INDEX content_logs_logged_at ON hiems_private.content_logs (logged_at);
ALTER TABLE hiems_private.content_logs ENABLE ROW LEVEL SECURITY;
