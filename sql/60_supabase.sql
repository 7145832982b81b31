-- That booked calls are broadcast, and by which table of Realtime's: one row, or none. Written by
-- src/supabase/policies.rs only. Not in a dump: whoever restores one says anew whom it is shown to.
CREATE TABLE hiems_private.broadcast (
    messages   oid NOT NULL,
    enabled_at timestamptz NOT NULL DEFAULT now(),
    enabled_by text NOT NULL DEFAULT session_user,
    singleton  boolean PRIMARY KEY DEFAULT true CHECK (singleton)
);
ALTER TABLE hiems_private.broadcast ENABLE ROW LEVEL SECURITY;
