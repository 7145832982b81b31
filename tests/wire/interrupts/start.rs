//! While the gateway starts.

use std::fs::File;

use hiems_tests::{Database, ResultExt, Running, SOON, call, cluster, wait_until};

/// Ends the database's gateway, and keeps the next one from coming up: it waits for the lock of a
/// predecessor that does not leave.
fn hold_up_the_gateway(database: &Database) -> File {
    database.end_gateway();
    let name = format!("pg_stat_tmp/hiems.{}.lock", database.oid());
    let lock = File::open(cluster().data().join(name)).expect("the lock file");
    lock.lock().expect("the lock");
    lock
}

#[test]
fn the_wait_for_the_gateways_start_can_be_cancelled() {
    let database = Database::new();
    let lock = hold_up_the_gateway(&database);
    let first = Running::start(database.admin(), "{}");
    wait_until("a gateway is on its way", SOON, || database.gateways().len() == 1);
    // The next one waits for the first to have started it.
    let second = Running::start(database.admin(), "{}");
    let mut admin = database.admin();
    wait_until("the second waits for the lock", SOON, || {
        admin
            .query_one(
                "SELECT count(*) = 1 FROM pg_locks WHERE pid = $1 AND NOT granted",
                &[&second.pid],
            )
            .is_ok_and(|row| row.get(0))
    });
    for pid in [second.pid, first.pid] {
        admin.execute("SELECT pg_cancel_backend($1)", &[&pid]).expect("a signal");
    }
    let (_, refused) = second.end();
    assert_eq!(refused.sqlstate(), "57014");
    let (mut client, refused) = first.end();
    assert_eq!(refused.sqlstate(), "57014");
    assert_eq!(database.fake.requests().len(), 0);
    assert_eq!(database.count("hiems_private.calls"), 0);
    // The predecessor leaves, and all is well.
    drop(lock);
    call(&mut client, "{}").expect("an answer");
    assert_eq!(database.count("hiems.ai_usage_logs"), 1);
}

#[test]
fn a_gateway_that_is_ended_while_it_starts_is_started_again() {
    let database = Database::new();
    let lock = hold_up_the_gateway(&database);
    let running = Running::start(database.admin(), "{}");
    wait_until("a gateway is on its way", SOON, || database.gateways().len() == 1);
    let first = database.gateways()[0];
    database.admin().execute("SELECT pg_terminate_backend($1)", &[&first]).expect("a signal");
    wait_until(
        "the next gateway is on its way",
        SOON,
        || matches!(database.gateways()[..], [pid] if pid != first),
    );
    drop(lock);
    let (_, answer) = running.end();
    answer.expect("an answer");
    assert_eq!(database.fake.bill().len(), 1);
}
