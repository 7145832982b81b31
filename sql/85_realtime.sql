-- Tells listeners of new ledger rows; of a caller's own booking src/realtime.rs does, in the same words. A message is a hint: ids only, since LISTEN has no access
-- control; the listener reads the rows under its own rights.
CREATE FUNCTION hiems_private.notify_usage() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    payload pg_catalog.text;
BEGIN
    -- A full queue fails the transactions that notify, at commit: fall silent well before.
    IF pg_catalog.pg_notification_queue_usage() OPERATOR(pg_catalog.>) 0.9 THEN
        RETURN NULL;
    END IF;
    -- Fires for a statement that inserted nothing, too.
    SELECT pg_catalog.format('{"v":1,"count":%s,"ids":["%s"]}', pg_catalog.max(counted.total),
                             pg_catalog.string_agg(counted.id::pg_catalog.text, '","'))
    INTO payload
    FROM (SELECT id, pg_catalog.count(*) OVER () AS total FROM new_rows LIMIT 100) AS counted
    HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 0;
    IF payload IS NULL THEN
        RETURN NULL;
    END IF;
    -- 100 ids are some 4,000 octets; the limit is 8,000.
    PERFORM pg_catalog.pg_notify('hiems_usage', payload);
    RETURN NULL;
END
$$;
CREATE TRIGGER notify AFTER INSERT ON hiems.ai_usage_logs
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT
    -- A session that has not loaded the library knows no setting of hiems: the default counts. With
    -- 'coalesced' the gateway tells, soon after the commit (src/realtime.rs).
    WHEN (coalesce(pg_catalog.current_setting('hiems.notify', true), 'commit')
          NOT IN ('off', 'coalesced'))
    EXECUTE FUNCTION hiems_private.notify_usage();
