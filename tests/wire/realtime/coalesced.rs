//! `hiems.notify = 'coalesced'`: the gateway tells, after the commit, of many calls in one message.

use std::thread;

use hiems_tests::{
    Cluster, Config, Database, ResultExt, call as call_with, directives, wait_until,
};

use super::{Listener, SOON, call, ids, insert, read};

fn coalesced() -> Database<'static> {
    Database::with("hiems.notify", "coalesced")
}

/// All ids that were told, sorted; each message is well formed, and small.
fn told(heard: &[String]) -> Vec<String> {
    let mut told = Vec::new();
    for payload in heard {
        assert!(payload.len() < 8_000, "{} octets", payload.len());
        let (count, ids) = read(payload);
        assert_eq!(count, ids.len() as i64, "{payload}");
        assert!((1..=100).contains(&ids.len()), "{payload}");
        told.extend(ids);
    }
    told.sort_unstable();
    told
}

#[test]
fn every_call_is_told_once() {
    let database = coalesced();
    let mut listener = Listener::of(&database);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = database.admin();
                for _ in 0..40 {
                    call(&mut client, "hello", "u");
                }
            });
        }
    });
    database.wait_until_booked();
    let heard = listener.heard(&database);
    assert_eq!(told(&heard), ids(&database));
    assert!(heard.len() < 320, "{} messages", heard.len());
}

#[test]
fn a_call_is_told_after_its_commit_and_can_be_read_then() {
    let database = coalesced();
    let mut listener = Listener::of(&database);
    let mut client = database.admin();
    for committed in 1..=5 {
        let mut transaction = client.transaction().expect("a transaction");
        call(&mut transaction, "hello", "u");
        call(&mut transaction, "hello", "u");
        assert!(listener.heard(&database).is_empty(), "told before the commit");
        transaction.commit().expect("a commit");
        let mut told = read(&listener.next()).1;
        while told.len() < 2 {
            told.extend(read(&listener.next()).1);
        }
        let found = "SELECT FROM hiems.ai_usage_logs WHERE id::text = ANY ($1)";
        let found = listener.0.query(found, &[&told]).expect("the ledger").len();
        assert_eq!((found, told.len()), (2, 2), "{committed}");
    }
}

#[test]
fn what_the_gateway_books_is_told_once() {
    let database = coalesced();
    let mut listener = Listener::of(&database);
    let mut client = database.admin();
    let mut transaction = client.transaction().expect("a transaction");
    call(&mut transaction, "hello", "u");
    transaction.rollback().expect("a rollback");
    let mut transaction = client.transaction().expect("a transaction");
    let mut savepoint = transaction.transaction().expect("a savepoint");
    call(&mut savepoint, "hello", "u");
    savepoint.rollback().expect("a rollback");
    call(&mut transaction, "hello", "u");
    transaction.commit().expect("a commit");
    call_with(&mut client, &directives(&[("fake_status", "400")])).expect_err("it fails");
    client.batch_execute("SET statement_timeout = '100ms'").expect("a setting");
    call_with(&mut client, &directives(&[("fake_delay_ms", "400")])).expect_err("it takes long");
    database.wait_until_booked();
    assert_eq!(database.count("hiems.ai_usage_logs"), 5);
    assert_eq!(told(&listener.heard(&database)), ids(&database));
}

#[test]
fn a_correcting_row_is_told_as_well() {
    let database = coalesced();
    let mut listener = Listener::of(&database);
    let options = directives(&[("fake_no_usage", "true"), ("fake_cost", "0.5")]);
    call_with(&mut database.admin(), &options).expect("an answer");
    database.wait_until_booked();
    assert_eq!(database.count("hiems.ai_usage_logs"), 2);
    assert_eq!(told(&listener.heard(&database)), ids(&database));
}

/// More than go into one message, and more than are booked in one transaction.
#[test]
fn many_calls_of_one_transaction_are_all_told() {
    let database = coalesced();
    let mut listener = Listener::of(&database);
    let mut client = database.admin();
    let mut transaction = client.transaction().expect("a transaction");
    for _ in 0..310 {
        call(&mut transaction, "hello", "u");
    }
    transaction.commit().expect("a commit");
    database.wait_until_booked();
    let heard = listener.heard(&database);
    assert_eq!(told(&heard), ids(&database));
    assert!(heard.len() < 12, "{} messages", heard.len());
}

/// It books with the row there already: nothing of a call that nobody told of is lost with the gateway.
#[test]
fn what_a_gateway_has_not_told_the_next_one_tells() {
    let database = coalesced();
    let mut listener = Listener::of(&database);
    let mut client = database.admin();
    let mut transaction = client.transaction().expect("a transaction");
    call(&mut transaction, "hello", "u");
    database.end_gateway();
    assert!(listener.heard(&database).is_empty(), "told before the commit");
    transaction.commit().expect("a commit");
    // The next one may be there by now, since there was work for it.
    let mut heard = listener.heard(&database);
    call(&mut client, "hello", "u");
    database.wait_until_booked();
    heard.extend(listener.heard(&database));
    assert_eq!(told(&heard), ids(&database));
}

/// A crash ends the listeners, too: one that comes back hears of what was not told before. Until it has, a lock
/// that outlives the crash keeps the next gateway, which comes at once, from booking.
#[test]
fn what_a_gateway_that_crashed_has_not_told_the_next_one_tells() {
    let cluster = Cluster::start(&["hiems.notify = 'coalesced'", "max_prepared_transactions = 1"]);
    let database = Database::on(&cluster, Config::default());
    database.store_key();
    let mut client = database.admin();
    let mut transaction = client.transaction().expect("a transaction");
    call(&mut transaction, "hello", "u");
    let lock = "BEGIN; LOCK TABLE hiems_private.calls; PREPARE TRANSACTION 'lock'";
    database.admin().batch_execute(lock).expect("a lock on the journal");
    database.crash_by_killing(database.gateways()[0]);
    transaction.commit().expect_err("its session has ended");
    let mut listener = Listener::of(&database);
    database.admin().batch_execute("ROLLBACK PREPARED 'lock'").expect("the lock goes");
    call(&mut database.admin(), "hello", "u");
    database.wait_until_booked();
    let known = ids(&database);
    assert_eq!(known.len(), 2);
    assert_eq!(told(&listener.heard(&database)), known);
}

/// What a superuser inserts by hand is in no journal: nobody tells of it.
#[test]
fn a_reload_switches_it() {
    let cluster = Cluster::start(&["hiems.notify = 'off'"]);
    let database = Database::on(&cluster, Config::default());
    database.store_key();
    let mut listener = Listener::of(&database);
    // What has come of calls made until the mode counts, and then of three more.
    let mut messages_with = |mode: &str, is_told: bool| {
        let mut admin = database.admin();
        admin
            .batch_execute(&format!("ALTER SYSTEM SET hiems.notify = '{mode}'"))
            .expect("a setting");
        admin.batch_execute("SELECT pg_reload_conf()").expect("a reload");
        let mut client = database.admin();
        wait_until("the mode counts", SOON, || {
            call(&mut client, "hello", "u");
            database.wait_until_booked();
            listener.heard(&database).is_empty() != is_told
        });
        let before = ids(&database);
        for _ in 0..3 {
            call(&mut client, "hello", "u");
        }
        database.wait_until_booked();
        let new = ids(&database).into_iter().filter(|id| !before.contains(id)).collect::<Vec<_>>();
        let heard = listener.heard(&database);
        assert_eq!(told(&heard), if is_told { new } else { Vec::new() }, "{mode}");
    };
    for (mode, is_told) in
        [("coalesced", true), ("off", false), ("commit", true), ("coalesced", true)]
    {
        messages_with(mode, is_told);
    }
    database.admin().batch_execute(&format!("LOAD 'hiems'; {}", insert(2))).expect("rows");
    assert!(listener.heard(&database).is_empty());
}

/// Nobody's commit notifies: it can be prepared.
#[test]
fn a_call_can_be_in_a_prepared_transaction() {
    let cluster = Cluster::start(&["hiems.notify = 'coalesced'", "max_prepared_transactions = 5"]);
    let database = Database::on(&cluster, Config::default());
    database.store_key();
    let mut listener = Listener::of(&database);
    let mut client = database.admin();
    client.batch_execute("BEGIN").expect("a transaction");
    call(&mut client, "hello", "u");
    client.batch_execute("PREPARE TRANSACTION 'one'").expect("it is prepared");
    assert!(listener.heard(&database).is_empty(), "told before the commit");
    client.batch_execute("COMMIT PREPARED 'one'").expect("a commit");
    database.wait_until_booked();
    assert_eq!(told(&listener.heard(&database)), ids(&database));
    // As it is with 'commit'.
    client.batch_execute("SET hiems.notify = 'commit'; BEGIN").expect("a transaction");
    call(&mut client, "hello", "u");
    assert_eq!(client.batch_execute("PREPARE TRANSACTION 'two'").sqlstate(), "0A000");
}
