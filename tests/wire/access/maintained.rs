//! Functions of hiems in what others maintain, write to or run in parallel.

use hiems_tests::{Database, ResultExt};
use postgres::Client;

use super::calls_of_functions;

/// A caller with a schema of its own, and in it `ask`, which claims to be fit for an index.
fn with_ask() -> (Database<'static>, String, Client) {
    let mut database = Database::new();
    let role = database.role_with("caller");
    database
        .admin()
        .batch_execute(&format!("GRANT CREATE ON DATABASE {} TO {role}", database.name))
        .expect("a grant");
    let mut client = database.connect(&role);
    client
        .batch_execute(
            "CREATE SCHEMA mine;
             GRANT USAGE ON SCHEMA mine TO PUBLIC;
             CREATE FUNCTION mine.ask(text) RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS
                 $$ BEGIN RETURN $1; END $$;
             CREATE TABLE mine.notes (note text);
             INSERT INTO mine.notes VALUES ('hello')",
        )
        .expect("a schema");
    (database, role, client)
}

/// From now on it pays.
const PAID: &str = "
    CREATE OR REPLACE FUNCTION mine.ask(text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS
    $$ BEGIN RETURN hiems.complete($1, 'openai/gpt-4o-mini'); END $$";

/// PostgreSQL runs the owner's functions then, whoever asks for it, and autovacuum asks by itself.
#[test]
fn maintenance_of_a_table_spends_nothing() {
    let (database, _, mut client) = with_ask();
    client
        .batch_execute(&format!(
            "CREATE INDEX asked ON mine.notes (mine.ask(note));
             {PAID};
             CREATE MATERIALIZED VIEW mine.answers AS SELECT mine.ask(note) FROM mine.notes
                 WITH NO DATA"
        ))
        .expect("an index");
    let mut admin = database.admin();
    for sql in [
        "REINDEX TABLE mine.notes",
        "REINDEX INDEX CONCURRENTLY mine.asked",
        "ANALYZE mine.notes",
        "VACUUM ANALYZE mine.notes",
        "VACUUM FULL mine.notes",
        "CREATE INDEX ON mine.notes ((mine.ask(note) || 'x'))",
        "REFRESH MATERIALIZED VIEW mine.answers",
    ] {
        for client in [&mut admin, &mut client] {
            let refusal = client.batch_execute(sql).refusal();
            assert_eq!(refusal.sqlstate, "42501", "{sql}: {refusal:?}");
            assert!(refusal.message.contains("security-restricted"), "{sql}: {refusal:?}");
            assert_ne!(refusal.hint, "");
        }
    }
    // Nor does any function change anything in the name of an owner who may.
    let role = format!("{}_caller", database.name);
    admin.execute("SELECT hiems.grant_access($1, 'admin')", &[&role]).expect("a level");
    let reading = "(SELECT proname FROM pg_proc WHERE pronamespace = 'hiems'::regnamespace
                        -- No function CALLs what would end its transaction.
                        AND (provolatile <> 'v' OR prokind = 'p'))";
    for statement in calls_of_functions(&mut admin, &["hiems"], reading) {
        let statement = statement.replacen("SELECT", "PERFORM", 1);
        client
            .batch_execute(&format!(
                "CREATE OR REPLACE FUNCTION mine.ask(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
                     $$ BEGIN {statement}; RETURN 'x'; END $$"
            ))
            .expect("a function");
        let refusal = admin.batch_execute("REFRESH MATERIALIZED VIEW mine.answers").refusal();
        assert!(refusal.message.contains("security-restricted"), "{statement}: {refusal:?}");
    }
    // What only reads may be maintained: a table of one's own figures.
    client
        .batch_execute(
            "CREATE MATERIALIZED VIEW mine.figures AS SELECT * FROM hiems.usage_totals;
             REFRESH MATERIALIZED VIEW mine.figures",
        )
        .expect("own figures");
    assert_eq!(database.fake.requests().len(), 0);
    assert_eq!(database.count("hiems_private.access"), 2);
}

/// As everywhere in PostgreSQL: who writes to a table runs its owner's code, and pays for it.
#[test]
fn a_default_or_a_trigger_of_somebody_else_s_runs_for_who_writes() {
    let (mut database, _, mut client) = with_ask();
    client
        .batch_execute(&format!(
            "{PAID};
             CREATE TABLE mine.inbox (x int, answer text DEFAULT mine.ask('by default'));
             GRANT INSERT ON mine.inbox TO PUBLIC"
        ))
        .expect("a table");
    let stranger = database.role("stranger");
    let admin = database.role_with("admin");
    let insert = "INSERT INTO mine.inbox (x) VALUES (1)";
    assert_eq!(database.connect(&stranger).batch_execute(insert).sqlstate(), "42501");
    database.connect(&admin).batch_execute(insert).expect("an answer");
    let booked = database.text("SELECT string_agg(principal, ' ') FROM hiems.ai_usage_logs", &[]);
    assert_eq!(booked, Some(format!("role:{admin}")));
}

/// What cannot be booked in the caller's transaction is not sent.
#[test]
fn a_parallel_query_calls_nothing() {
    let (database, _, mut client) = with_ask();
    client.batch_execute(PAID).expect("a function");
    super::sight::force_parallel(&mut client);
    let refusal = client.query("SELECT mine.ask(note) FROM mine.notes", &[]).refusal();
    assert_eq!(refusal.sqlstate, "0A000", "{refusal:?}");
    assert!(refusal.hint.contains("PARALLEL UNSAFE"), "{refusal:?}");
    assert_eq!(database.fake.requests().len(), 0);
}
