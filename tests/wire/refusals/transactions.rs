//! Transactions in which nothing is sent.

use hiems_tests::{Database, KEY, ResultExt, call};

use super::assert_untouched;

#[test]
fn a_read_only_transaction_may_not_call() {
    let database = Database::new();
    let mut client = database.admin();
    let ways = [
        "BEGIN READ ONLY",
        "BEGIN; SET TRANSACTION READ ONLY",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "SET default_transaction_read_only = on",
    ];
    for way in ways {
        for complete in [false, true] {
            client.batch_execute(way).expect(way);
            let refusal = if complete {
                client.query_one("SELECT hiems.complete('x', 'openai/gpt-4o-mini')", &[]).refusal()
            } else {
                call(&mut client, "{}").refusal()
            };
            assert_eq!(refusal.sqlstate, "25006", "{way}");
            assert!(refusal.hint.contains("READ WRITE"), "{refusal:?}");
            client
                .batch_execute("ROLLBACK; RESET default_transaction_read_only")
                .expect("a rollback");
        }
    }
    assert_untouched(&database);
}

#[test]
fn a_database_that_is_read_only_by_default_refuses_calls_and_the_gateway_works_all_the_same() {
    let database = Database::without_key();
    database.set("default_transaction_read_only", "on");
    let mut client = database.admin();
    assert_eq!(call(&mut client, "{}").sqlstate(), "25006");
    assert_untouched(&database);
    client.batch_execute("SET default_transaction_read_only = off").expect("a setting");
    client.execute("SELECT hiems.set_api_key($1)", &[&KEY]).expect("a key");
    call(&mut client, "{}").expect("an answer");
    client
        .batch_execute("SET default_transaction_read_only = on; BEGIN READ WRITE")
        .expect("a begin");
    call(&mut client, "{}").expect("an answer");
    client.batch_execute("COMMIT").expect("a commit");
    database.wait_until_booked();
    assert_eq!(database.count("hiems.ai_usage_logs"), 2);
}

#[test]
fn a_tokens_session_may_call_in_read_committed_only() {
    let mut database = Database::new();
    let role = database.role_with("caller");
    database.set("hiems.jwt_session_roles", &format!("authenticator, {role}"));
    let mut client = database.connect(&role);
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        let begin = format!("BEGIN ISOLATION LEVEL {level}");
        let default = format!("SET default_transaction_isolation = '{}'", level.to_lowercase());
        for way in [begin, default] {
            client.batch_execute(&way).expect("a transaction");
            let refusal = call(&mut client, "{}").refusal();
            assert_eq!(refusal.sqlstate, "0A000", "{way}");
            assert_ne!(refusal.detail, "", "{refusal:?}");
            assert!(refusal.hint.contains("read committed"), "{refusal:?}");
            client
                .batch_execute("ROLLBACK; RESET default_transaction_isolation")
                .expect("a rollback");
        }
    }
    assert_untouched(&database);
    call(&mut client, "{}").expect("an answer");
    assert_eq!(database.count("hiems.ai_usage_logs"), 1);
}

#[test]
fn a_plain_session_may_call_in_every_isolation_level() {
    let database = Database::new();
    let mut client = database.admin();
    for level in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        client.batch_execute(&format!("BEGIN ISOLATION LEVEL {level}")).expect("a begin");
        call(&mut client, "{}").expect("an answer");
        client.batch_execute("COMMIT").expect("a commit");
    }
    database.wait_until_booked();
    let outcomes: Vec<_> = database.ledger().iter().map(|row| row["outcome"].clone()).collect();
    assert_eq!(outcomes, ["committed", "committed", "committed"]);
}
