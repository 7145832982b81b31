//! What a role may try that has every privilege on the tables and no level, by a careless
//! `GRANT ALL ON ALL TABLES IN SCHEMA hiems`, by an attribute, or by one of PostgreSQL's own roles.

use std::sync::Mutex;

use hiems_tests::{Database, ResultExt, postgresql_version};
use postgres::Client;

use super::{call, count, with_two_rows};

/// A parameter's privileges are one row of the whole server: two tests at once would be in each other's way.
static PARAMETER: Mutex<()> = Mutex::new(());

/// Two rows, and a role with all that a schema's owner may give by hand.
fn with_careless_grants() -> (Database<'static>, String, Client) {
    let (mut database, _) = with_two_rows();
    let role = database.role("careless");
    let name = &database.name;
    database.open_by_hand(&role);
    let alone = PARAMETER.lock();
    database
        .admin()
        .batch_execute(&format!(
            "GRANT CREATE, TEMPORARY ON DATABASE {name} TO {role};
             -- Supabase lets its role postgres set this one, which is no superuser.
             GRANT SET ON PARAMETER session_replication_role TO {role}"
        ))
        .expect("grants");
    drop(alone);
    let mut client = database.connect(&role);
    client.batch_execute("CREATE SCHEMA mine").expect("a schema");
    (database, role, client)
}

/// All that could make a row, or the table, another: the rows, and what hangs on the tables.
fn state(database: &Database) -> Option<String> {
    database.text(
        "SELECT concat_ws(E'\\n',
             (SELECT string_agg(l::text, E'\\n' ORDER BY id) FROM hiems.ai_usage_logs AS l),
             (SELECT string_agg(concat_ws(' ', tgrelid::regclass, tgname, tgfoid, tgenabled), E'\\n'
                                ORDER BY oid) FROM pg_trigger),
             (SELECT string_agg(pg_get_constraintdef(oid), E'\\n' ORDER BY oid)
              FROM pg_constraint WHERE 'hiems.ai_usage_logs'::regclass IN (conrelid, confrelid)),
             (SELECT string_agg(pg_get_viewdef(oid), E'\\n' ORDER BY oid)
              FROM pg_class WHERE relkind = 'v' AND relnamespace = 'hiems'::regnamespace),
             (SELECT string_agg(inhrelid::text, ' ') FROM pg_inherits),
             (SELECT string_agg(polname, ' ') FROM pg_policy),
             (SELECT string_agg(concat(evtname, evtenabled), ' ' ORDER BY oid) FROM pg_event_trigger),
             (SELECT count(*) FROM pg_publication_rel),
             (SELECT count(*) FROM pg_statistic_ext))",
        &[],
    )
}

#[test]
fn nothing_that_is_tried_changes_the_ledger() {
    let (database, _, mut client) = with_careless_grants();
    client
        .batch_execute(
            "CREATE FUNCTION mine.grab() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN RAISE 'a planted trigger ran'; END $$;
             CREATE TABLE mine.child (LIKE hiems.ai_usage_logs);
             CREATE TABLE mine.parent (LIKE hiems.ai_usage_logs) PARTITION BY LIST (model)",
        )
        .expect("objects of one's own");
    let before = state(&database);
    for replication_role in ["origin", "replica"] {
        client
            .batch_execute(&format!("SET session_replication_role = {replication_role}"))
            .expect("it was granted");
        for sql in [
            "CREATE TRIGGER t BEFORE INSERT ON hiems.ai_usage_logs
                 FOR EACH ROW EXECUTE FUNCTION mine.grab()",
            "CREATE CONSTRAINT TRIGGER t AFTER INSERT ON hiems.ai_usage_logs DEFERRABLE
                 FOR EACH ROW EXECUTE FUNCTION mine.grab()",
            "CREATE OR REPLACE TRIGGER stamp BEFORE INSERT ON hiems.ai_usage_logs
                 FOR EACH ROW EXECUTE FUNCTION mine.grab()",
            "CREATE OR REPLACE TRIGGER append_only BEFORE DELETE ON hiems.ai_usage_logs
                 FOR EACH ROW EXECUTE FUNCTION mine.grab()",
            "CREATE TRIGGER t INSTEAD OF INSERT ON hiems.usage_totals
                 FOR EACH ROW EXECUTE FUNCTION mine.grab()",
            "DO $$ BEGIN EXECUTE 'CREATE TRIGGER t BEFORE INSERT ON hiems.ai_usage_logs
                 FOR EACH ROW EXECUTE FUNCTION mine.grab()'; END $$",
            "CREATE RULE r AS ON INSERT TO hiems.ai_usage_logs DO INSTEAD NOTHING",
            "CREATE OR REPLACE RULE \"_RETURN\" AS ON SELECT TO hiems.usage_totals
                 DO INSTEAD SELECT * FROM mine.child",
            "CREATE OR REPLACE VIEW hiems.usage_totals AS SELECT 1 AS calls",
            "ALTER VIEW hiems.usage_totals RESET (security_invoker)",
            "ALTER TABLE hiems.ai_usage_logs DISABLE TRIGGER append_only",
            "ALTER TABLE hiems.ai_usage_logs ADD COLUMN x text",
            "ALTER TABLE hiems.ai_usage_logs INHERIT mine.child",
            "ALTER TABLE mine.child INHERIT hiems.ai_usage_logs",
            "CREATE TABLE mine.heir () INHERITS (hiems.ai_usage_logs)",
            "ALTER TABLE mine.parent ATTACH PARTITION hiems.ai_usage_logs DEFAULT",
            "CREATE POLICY p ON hiems.ai_usage_logs USING (true)",
            "ALTER POLICY own_rows_and_readers ON hiems.ai_usage_logs USING (true)",
            "CREATE INDEX ON hiems.ai_usage_logs (user_id)",
            "CREATE STATISTICS mine.s ON user_id, principal FROM hiems.ai_usage_logs",
            "CREATE PUBLICATION p FOR TABLE hiems.ai_usage_logs",
            "COMMENT ON TABLE hiems.ai_usage_logs IS 'x'",
            "ALTER EVENT TRIGGER hiems_guard_tables DISABLE",
            "DROP EVENT TRIGGER hiems_guard_references",
            "DROP EXTENSION hiems",
            "CREATE FUNCTION hiems.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "UPDATE hiems.ai_usage_logs SET cost_usd = 0",
            "DELETE FROM hiems.ai_usage_logs",
            "TRUNCATE hiems.ai_usage_logs CASCADE",
            "INSERT INTO hiems.ai_usage_logs SELECT * FROM mine.child",
            "MERGE INTO hiems.ai_usage_logs AS l USING (SELECT 1) AS s ON true
                 WHEN MATCHED THEN DELETE
                 WHEN NOT MATCHED THEN INSERT (id) VALUES (gen_random_uuid())",
            "INSERT INTO hiems.usage_totals (calls) VALUES (1)",
            "DELETE FROM hiems.usage_totals",
            "DELETE FROM hiems.calls",
            "UPDATE hiems.calls SET principal = 'role:me'",
            "INSERT INTO hiems.calls (id, state, created_at, principal)
                 VALUES (gen_random_uuid(), 'sent', now(), 'role:me')",
            "BEGIN; LOCK TABLE hiems.calls IN ACCESS EXCLUSIVE MODE",
        ] {
            let refused = client.batch_execute(sql).sqlstate();
            // A view of sums cannot be written to, and a table that inherits is no partition.
            let known = ["42501", "55000", "42809"].contains(&refused.as_str());
            assert!(known, "{replication_role}: {sql}: {refused}");
            let _ = client.batch_execute("ROLLBACK");
        }
        // From 17 on GRANT ALL includes MAINTAIN: maintenance makes no row another.
        for sql in [
            "VACUUM FULL hiems.ai_usage_logs",
            "ANALYZE hiems.ai_usage_logs",
            "REINDEX TABLE hiems.ai_usage_logs",
            "CLUSTER hiems.ai_usage_logs USING ai_usage_logs_pkey",
        ] {
            let _ = client.batch_execute(sql);
        }
        assert_eq!(state(&database), before, "{replication_role}");
    }
    // No row is hidden behind a lock, and none is read by one.
    let locked = client
        .query("SELECT id FROM hiems.ai_usage_logs FOR UPDATE", &[])
        .expect("row-level security hides, and raises nothing");
    assert!(locked.is_empty());
    call(&mut database.admin(), "").expect("an answer");
}

/// They would tell whether a row exists, and keep it from being deleted.
#[test]
fn a_foreign_key_onto_the_ledger_is_a_superuser_s_to_make() {
    let (database, role, mut client) = with_careless_grants();
    client.batch_execute("CREATE TABLE mine.t (id uuid)").expect("a table");
    for sql in [
        "CREATE TABLE mine.f (id uuid REFERENCES hiems.ai_usage_logs)",
        "CREATE TABLE mine.f (id uuid, FOREIGN KEY (id) REFERENCES hiems.ai_usage_logs (id)
             ON DELETE CASCADE)",
        "CREATE TABLE mine.f (id uuid REFERENCES hiems.ai_usage_logs) PARTITION BY LIST (id)",
        "ALTER TABLE mine.t ADD FOREIGN KEY (id) REFERENCES hiems.ai_usage_logs",
        "ALTER TABLE mine.t ADD FOREIGN KEY (id) REFERENCES hiems.ai_usage_logs NOT VALID",
        "ALTER TABLE mine.t ADD COLUMN x uuid REFERENCES hiems.ai_usage_logs",
        "CREATE SCHEMA f CREATE TABLE t (id uuid REFERENCES hiems.ai_usage_logs)",
        "BEGIN; SAVEPOINT s; ALTER TABLE mine.t ADD FOREIGN KEY (id) REFERENCES hiems.ai_usage_logs",
        "DO $$ BEGIN
             BEGIN
                 ALTER TABLE mine.t ADD FOREIGN KEY (id) REFERENCES hiems.ai_usage_logs;
             EXCEPTION WHEN unique_violation THEN NULL;
             END;
         END $$",
    ] {
        assert_eq!(client.batch_execute(sql).sqlstate(), "42501", "{sql}");
        let _ = client.batch_execute("ROLLBACK");
    }
    let onto = "SELECT count(*)::text FROM pg_constraint
                WHERE contype = 'f' AND confrelid = 'hiems.ai_usage_logs'::regclass";
    assert_eq!(database.text(onto, &[]).as_deref(), Some("0"));
    // One of a superuser's leaves the table its owner's to alter, partitions included.
    database
        .admin()
        .batch_execute(&format!(
            "CREATE TABLE mine.app (id uuid REFERENCES hiems.ai_usage_logs) PARTITION BY LIST (id);
             ALTER TABLE mine.app OWNER TO {role}"
        ))
        .expect("a superuser may");
    client
        .batch_execute(
            "ALTER TABLE mine.app ADD COLUMN x text;
             CREATE TABLE mine.part PARTITION OF mine.app DEFAULT;
             CREATE TABLE mine.other (id int PRIMARY KEY);
             ALTER TABLE mine.app ADD COLUMN o int REFERENCES mine.other",
        )
        .expect("its own table, and foreign keys of its own");
}

/// BYPASSRLS asks no policy: such a role sees all rows once it may read, and writes none all the same.
#[test]
fn a_role_with_bypassrls_sees_rows_and_writes_none() {
    let (database, role, mut client) = with_careless_grants();
    database.admin().batch_execute(&format!("ALTER ROLE {role} BYPASSRLS")).expect("an attribute");
    assert_eq!(count(&mut client, "hiems.ai_usage_logs").expect("it may read"), 2);
    let before = state(&database);
    for sql in [
        "INSERT INTO hiems.ai_usage_logs SELECT * FROM hiems.ai_usage_logs",
        "INSERT INTO hiems.ai_usage_logs SELECT * FROM hiems.ai_usage_logs WHERE false",
        "UPDATE hiems.ai_usage_logs SET cost_usd = 0",
        "DELETE FROM hiems.ai_usage_logs",
        "TRUNCATE hiems.ai_usage_logs",
        "SET session_replication_role = replica; DELETE FROM hiems.ai_usage_logs",
        "SET session_replication_role = replica;
         INSERT INTO hiems.ai_usage_logs SELECT * FROM hiems.ai_usage_logs",
    ] {
        assert_eq!(client.batch_execute(sql).sqlstate(), "42501", "{sql}");
    }
    // The client loses its way over a COPY that is refused; the state says what came of it.
    let mut copying = database.connect(&role);
    let copied =
        copying.copy_in("COPY hiems.ai_usage_logs (id) FROM STDIN").expect("a COPY begins");
    assert!(copied.finish().is_err());
    assert_eq!(call(&mut client, "").sqlstate(), "42501", "it has no level");
    assert_eq!(state(&database), before);
}

/// PostgreSQL's own roles open every schema; row-level security is on in every table of ours.
#[test]
fn roles_that_read_and_write_all_data_find_nothing_of_ours() {
    let (mut database, _) = with_two_rows();
    let role = database.role("all_data");
    let mut admin = database.admin();
    admin
        .batch_execute(&format!("GRANT pg_read_all_data, pg_write_all_data TO {role}"))
        .expect("a membership");
    if postgresql_version() != "15" {
        admin.batch_execute(&format!("GRANT pg_maintain TO {role}")).expect("a membership");
    }
    let mut client = database.connect(&role);
    for table in ["access", "api_keys", "calls", "exchange_rates", "installation"] {
        let table = format!("hiems_private.{table}");
        match count(&mut client, &table) {
            Ok(rows) => assert_eq!(rows, 0, "{table}"),
            // Its policy asks functions that are not theirs to run.
            Err(error) => {
                assert_eq!(error.code().map(|code| code.code()), Some("42501"), "{table}")
            }
        }
        let deleted = client.execute(&format!("DELETE FROM {table}"), &[]).expect(&table);
        assert_eq!(deleted, 0, "{table}");
    }
    for sql in [
        format!("INSERT INTO hiems_private.access VALUES ('role', '{role}', 'admin')"),
        "INSERT INTO hiems_private.exchange_rates VALUES ('USD', '2020-01-01', 1, 'me')".to_owned(),
        "TRUNCATE hiems_private.calls".to_owned(),
        "SELECT count(*) FROM hiems.ai_usage_logs".to_owned(),
        "INSERT INTO hiems.ai_usage_logs SELECT * FROM hiems.ai_usage_logs".to_owned(),
        "DELETE FROM hiems.ai_usage_logs".to_owned(),
    ] {
        assert_eq!(client.batch_execute(&sql).sqlstate(), "42501", "{sql}");
    }
    call(&mut admin, "").expect("the key is still there");
    assert_eq!(database.count("hiems.ai_usage_logs"), 3);
}
