-- The queue: calls that are to be made later, by the gateway. A call is here or in hiems_private.calls,
-- never in both: taking it out is the commit that journals it as about to be sent. Written by src/queue.rs
-- only.
CREATE TABLE hiems_private.queue (
    id                    uuid PRIMARY KEY,
    -- 'paused': it came by a restore, from another timeline of the server, or with a copy of the database, and may
    -- have been sent there since. 'failed': it was given up, and nothing was ever billed.
    state                 text NOT NULL CHECK (state IN ('queued', 'paused', 'failed')),
    -- NULL: as soon as there is room.
    run_at                timestamptz,
    priority              integer NOT NULL,
    model                 text NOT NULL,
    attempts              integer NOT NULL,
    max_attempts          integer NOT NULL,
    enqueued_at           timestamptz NOT NULL,
    -- The transaction that enqueued it, and the server, timeline and database that it is to be sent by.
    caller_xid            xid8 NOT NULL,
    origin                text NOT NULL,
    charges_beyond_tokens boolean NOT NULL,
    principal             text NOT NULL,
    -- The ledger row to be, as far as it is known.
    entry                 jsonb NOT NULL,
    -- Why the last attempt failed.
    failure               jsonb,
    failed_at             timestamptz
);
CREATE INDEX queue_ready ON hiems_private.queue (model, priority DESC, id)
    WHERE state = 'queued' AND run_at IS NULL;
CREATE INDEX queue_later ON hiems_private.queue (run_at)
    WHERE state = 'queued' AND run_at IS NOT NULL;
CREATE INDEX queue_failed ON hiems_private.queue (failed_at) WHERE state = 'failed';
ALTER TABLE hiems_private.queue ENABLE ROW LEVEL SECURITY;
-- Each call is an insert and a delete: what is dead must be found before it is in the way.
ALTER TABLE hiems_private.queue SET (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
SELECT pg_catalog.pg_extension_config_dump('hiems_private.queue', '');

-- What they ask. Apart, since it is content: never in a dump, and for no role to read.
CREATE TABLE hiems_private.requests (
    call_id uuid PRIMARY KEY,
    body    text NOT NULL
);
ALTER TABLE hiems_private.requests ENABLE ROW LEVEL SECURITY;
ALTER TABLE hiems_private.requests SET (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
