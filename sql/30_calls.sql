-- Everything that is on its way: a row from before the request is sent until its ledger row is
-- there. Written by the gateway only (src/worker/journal.rs), in transactions of its own.
CREATE TABLE hiems_private.calls (
    id                uuid PRIMARY KEY,
    state             text NOT NULL CHECK (state IN ('sent', 'answered', 'failed', 'unknown')),
    created_at        timestamptz NOT NULL,
    settled_at        timestamptz,
    -- The caller's top-level transaction and the cluster it ran in: the row is booked by the
    -- sweep once that transaction is over and has left no ledger row.
    caller_xid        xid8 NOT NULL,
    system_identifier bigint NOT NULL,
    -- True once the caller was cancelled or died before it had read the answer.
    caller_gone       boolean NOT NULL DEFAULT false,
    -- Set where the caller could not book it, since the ledger was locked: the innermost transaction
    -- that it ran in.
    deferred_xid      xid8,
    generation_id     text,
    principal         text NOT NULL,
    -- The ledger row to be, as far as it is known.
    entry             jsonb NOT NULL
) WITH (fillfactor = 70);
ALTER TABLE hiems_private.calls ENABLE ROW LEVEL SECURITY;
SELECT pg_catalog.pg_extension_config_dump('hiems_private.calls', '');
