//! Keys, and locks on the tables that they depend on: nothing is sent twice, nobody is held up by them.

use hiems_tests::{Database, ResultExt, Running, call, directives, wait_until};
use postgres::Client;

use super::{SOON, assert_one_call, keyed, read, said, unmarked};

/// A session that holds a table until it commits or ends.
fn lock(database: &Database, table: &str, mode: &str) -> Client {
    let mut client = database.admin();
    client
        .batch_execute(&format!("BEGIN; LOCK TABLE hiems_private.{table} IN {mode} MODE"))
        .expect("a lock");
    client
}

#[test]
fn a_key_counts_behind_a_locked_journal() {
    let database = Database::new();
    let mut holder = lock(&database, "calls", "ACCESS EXCLUSIVE");
    let first = keyed(&mut database.admin(), "k", &[]).expect("an answer");
    let second = Running::with(database.admin(), |client| keyed(client, "k", &[]));
    let refusal = said(&mut database.admin(), "k", "something else", &[]).refusal();
    assert_eq!(refusal.sqlstate, "22023", "{refusal:?}");
    holder.batch_execute("ROLLBACK").expect("the end of the lock");
    let second = second.end().1.expect("the same answer");
    assert_eq!(unmarked(&second), (read(&first), true));
    assert_one_call(&database);
}

// An old key is looked at with the answers, and those may be locked.
#[test]
fn a_lock_on_the_answers_holds_up_no_other_call() {
    let database = Database::new();
    let mut admin = database.admin();
    keyed(&mut admin, "k", &[]).expect("an answer");
    database.wait_until_booked();
    admin
        .batch_execute(
            "UPDATE hiems_private.idempotency_keys SET created_at = created_at - interval '2 hours'",
        )
        .expect("an old key");
    let mut holder = lock(&database, "answers", "ACCESS EXCLUSIVE");
    // Its answer is behind the lock.
    let second = Running::with(database.admin(), |client| keyed(client, "k", &[]));
    let mut client = database.admin();
    client.batch_execute("SET statement_timeout = '20s'").expect("a setting");
    for _ in 0..5 {
        call(&mut client, "{}").expect("an answer");
    }
    holder.batch_execute("ROLLBACK").expect("the end of the lock");
    assert!(unmarked(&second.end().1.expect("an answer")).1);
    assert_eq!(database.fake.requests().len(), 6);
}

// The first one is not sent, and says so; the second must not take that for a call that was booked.
#[test]
fn what_was_not_sent_has_no_key() {
    let database = Database::with("hiems.base_url", "http://127.0.0.1:9/api/v1");
    let mut client = database.admin();
    assert_eq!(keyed(&mut client, "k", &[]).sqlstate(), "PT503");
    let mut holder = lock(&database, "calls", "SHARE");
    assert_eq!(keyed(&mut client, "k2", &[]).sqlstate(), "PT503");
    let second = Running::with(database.admin(), |client| keyed(client, "k2", &[]));
    let mut admin = database.admin();
    wait_until("it waits", SOON, || {
        let waits = "SELECT wait_event = 'Extension' FROM pg_stat_activity WHERE pid = $1";
        let row = admin.query_one(waits, &[&second.pid]).expect("a row");
        row.get::<_, Option<bool>>(0) == Some(true)
    });
    holder.batch_execute("ROLLBACK").expect("the end of the lock");
    assert_eq!(second.end().1.sqlstate(), "PT503");
    database.wait_until_booked();
    assert_eq!(database.count("hiems.ai_usage_logs"), 0);
    assert_eq!(database.count("hiems_private.idempotency_keys"), 0);
}

// What an earlier gateway left in the spill, the next one cannot write: nobody knows which keys are taken.
#[test]
fn a_gateway_that_has_not_recovered_takes_no_keys() {
    let database = Database::new();
    let mut holder = lock(&database, "calls", "SHARE");
    keyed(&mut database.admin(), "k", &[]).expect("an answer");
    let gateway = database.gateways()[0];
    let mut admin = database.admin();
    admin.execute("SELECT pg_terminate_backend($1)", &[&gateway]).expect("a signal");
    wait_until("the gateway has left", SOON, || !database.gateways().contains(&gateway));
    let refusal = keyed(&mut admin, "k", &[]).refusal();
    assert_eq!(refusal.sqlstate, "PT503", "{refusal:?}");
    // Others are served.
    call(&mut admin, &directives(&[])).expect("an answer");
    holder.batch_execute("ROLLBACK").expect("the end of the lock");
    database.wait_until_booked();
    let answer = keyed(&mut admin, "k", &[]).expect("the first one's answer");
    assert!(unmarked(&answer).1);
    assert_eq!(database.fake.requests().len(), 2);
}
