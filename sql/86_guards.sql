-- What is written to our tables is written with hiems's own rights, and a trigger or a rule of somebody
-- else's would run with them too: none may be put there but by a superuser. A careless GRANT ALL on the
-- schema's tables includes TRIGGER.
CREATE FUNCTION hiems_private.guard_tables() RETURNS event_trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    guarded text;
BEGIN
    IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        RETURN;
    END IF;
    SELECT c.oid::regclass::text INTO guarded
    FROM pg_event_trigger_ddl_commands() AS d
    LEFT JOIN pg_trigger AS t ON d.classid = 'pg_trigger'::regclass AND t.oid = d.objid
    LEFT JOIN pg_rewrite AS r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
    JOIN pg_class AS c ON c.oid IN (t.tgrelid, r.ev_class)
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname IN ('hiems', 'hiems_private')
    LIMIT 1;
    IF guarded IS NOT NULL THEN
        RAISE EXCEPTION 'only superusers may put a trigger or a rule on a table of hiems' USING
            ERRCODE = '42501',
            DETAIL = format('%s on %s was refused: it would run with rights of hiems.', tg_tag, guarded),
            HINT = 'Listen to hiems_usage to learn of new rows.';
    END IF;
END
$$;
CREATE EVENT TRIGGER hiems_guard_tables ON ddl_command_end
    WHEN TAG IN ('CREATE TRIGGER', 'CREATE RULE')
    EXECUTE FUNCTION hiems_private.guard_tables();
-- Also where session_replication_role is replica, which some may set who are no superusers.
ALTER EVENT TRIGGER hiems_guard_tables ENABLE ALWAYS;

-- A foreign key onto a table of hiems tells whether a row exists, whoever may not see it, and keeps it
-- from being deleted. A careless GRANT ALL includes REFERENCES.
CREATE FUNCTION hiems_private.guard_references() RETURNS event_trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    guarded text;
BEGIN
    IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        RETURN;
    END IF;
    SELECT f.confrelid::regclass::text INTO guarded
    FROM pg_constraint AS f
    JOIN pg_class AS c ON c.oid = f.confrelid
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE f.contype = 'f' AND f.conparentid = 0 AND n.nspname IN ('hiems', 'hiems_private')
      AND f.conrelid IN (SELECT objid FROM pg_event_trigger_ddl_commands())
      -- Made by this transaction: one of a superuser's stays, and its table can be altered.
      AND f.xmin IN (SELECT transactionid FROM pg_locks
                     WHERE pid = pg_backend_pid() AND locktype = 'transactionid'
                       AND mode = 'ExclusiveLock' AND granted)
    LIMIT 1;
    IF guarded IS NOT NULL THEN
        RAISE EXCEPTION 'only superusers may put a foreign key on a table of hiems' USING
            ERRCODE = '42501',
            DETAIL = format('%s with a reference to %s was refused.', tg_tag, guarded),
            HINT = 'Keep the id in a column without a foreign key.';
    END IF;
END
$$;
CREATE EVENT TRIGGER hiems_guard_references ON ddl_command_end
    WHEN TAG IN ('CREATE TABLE', 'ALTER TABLE', 'CREATE SCHEMA')
    EXECUTE FUNCTION hiems_private.guard_references();
ALTER EVENT TRIGGER hiems_guard_references ENABLE ALWAYS;

-- A trusted extension is made with a superuser's rights, so that whoever may CREATE in the database can put it into any
-- schema: into ours, where its functions would be taken for hiems's, and DROP EXTENSION hiems would need CASCADE.
CREATE FUNCTION hiems_private.guard_schemas() RETURNS event_trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    guarded text;
BEGIN
    IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        RETURN;
    END IF;
    SELECT format('%I in schema %I', e.extname, n.nspname) INTO guarded
    FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace
    WHERE n.nspname IN ('hiems', 'hiems_private')
      -- Made, or moved, by this transaction, by CASCADE too: one of a superuser's stays.
      AND e.xmin IN (SELECT transactionid FROM pg_locks
                     WHERE pid = pg_backend_pid() AND locktype = 'transactionid'
                       AND mode = 'ExclusiveLock' AND granted)
    LIMIT 1;
    IF guarded IS NOT NULL THEN
        RAISE EXCEPTION 'only superusers may put an extension into a schema of hiems' USING
            ERRCODE = '42501',
            DETAIL = format('%s was refused: extension %s.', tg_tag, guarded),
            HINT = 'CREATE EXTENSION ... SCHEMA names another schema.';
    END IF;
END
$$;
CREATE EVENT TRIGGER hiems_guard_schemas ON ddl_command_end
    WHEN TAG IN ('CREATE EXTENSION', 'ALTER EXTENSION')
    EXECUTE FUNCTION hiems_private.guard_schemas();
ALTER EVENT TRIGGER hiems_guard_schemas ENABLE ALWAYS;

-- DROP EXTENSION takes the ledger with it: hiems.allow_drop must be on. The library looks at it once it
-- is loaded (src/pg/drop_guard.rs), and calling this loads it.
CREATE FUNCTION hiems_private.guard_drop() RETURNS event_trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'hiems_guard_drop';
CREATE EVENT TRIGGER hiems_guard_drop ON ddl_command_start
    WHEN TAG IN ('DROP EXTENSION', 'DROP LANGUAGE', 'DROP OWNED', 'DROP SCHEMA')
    EXECUTE FUNCTION hiems_private.guard_drop();
ALTER EVENT TRIGGER hiems_guard_drop ENABLE ALWAYS;
