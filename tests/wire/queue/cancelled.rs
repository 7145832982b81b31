//! `hiems.cancel_prompt()`, and who may do what with whose call.

use hiems_tests::{Database, ResultExt, Running, SOON, wait_until};
use postgres::Client;

use super::{answer_of, assert_bill, enqueue, enqueue_with, state_of};

fn cancel(client: &mut Client, id: &str) -> Result<bool, postgres::Error> {
    Ok(client.query_one("SELECT hiems.cancel_prompt($1::text::uuid)", &[&id])?.get(0))
}

const LATER: &str = ", run_at => now() + interval '1 day'";

#[test]
fn another_s_call_is_as_if_it_did_not_exist() {
    let mut database = Database::new();
    let (one, other) = (database.role_with("caller"), database.role_with("service"));
    let mut client = database.connect(&one);
    let mut stranger = database.connect(&other);
    let id = enqueue_with(&mut client, &[], LATER).expect("an id");
    let unknown = "00000000-0000-7000-8000-000000000000";
    for id in [id.as_str(), unknown] {
        let refusal = cancel(&mut stranger, id).refusal();
        assert_eq!((refusal.sqlstate.as_str(), refusal.detail), ("PT404", format!("call {id}")));
        assert_eq!(answer_of(&mut stranger, id).sqlstate(), "PT404");
        assert_eq!(state_of(&mut stranger, id), None);
    }
    assert_eq!(state_of(&mut client, &id).as_deref(), Some("queued"));
    // An admin may cancel anybody's.
    let admin = database.role_with("admin");
    let mut admin = database.connect(&admin);
    assert_eq!(state_of(&mut admin, &id).as_deref(), Some("queued"));
    assert!(cancel(&mut admin, &id).expect("a call"));
    assert_eq!(cancel(&mut client, &id).sqlstate(), "PT404");
    let null: Option<bool> =
        client.query_one("SELECT hiems.cancel_prompt(NULL)", &[]).expect("NULL").get(0);
    assert_eq!(null, None);
    assert_eq!(database.fake.requests().len(), 0);
}

#[test]
fn a_cancel_that_is_rolled_back_leaves_the_call() {
    let database = Database::new();
    let mut client = database.admin();
    let id =
        enqueue_with(&mut client, &[], ", run_at => now() + interval '300 ms'").expect("an id");
    let mut transaction = client.transaction().expect("a transaction");
    let cancelled: bool = transaction
        .query_one("SELECT hiems.cancel_prompt($1::text::uuid)", &[&id])
        .expect("a call")
        .get(0);
    assert!(cancelled);
    transaction.rollback().expect("a rollback");
    answer_of(&mut client, &id).expect("an answer");
    // One that has ended, or is on its way, is not cancelled; it is billed.
    assert!(!cancel(&mut client, &id).expect("a call"));
    database.wait_until_booked();
    assert!(!cancel(&mut client, &id).expect("a call"));
    let id = enqueue(&mut client, &[("fake_delay_ms", "1000")]).expect("an id");
    wait_until("it is in flight", SOON, || database.fake.in_flight() == 1);
    assert!(!cancel(&mut client, &id).expect("a call"));
    assert_eq!(state_of(&mut client, &id).as_deref(), Some("sent"));
    answer_of(&mut client, &id).expect("an answer");
    assert_bill(&database);
}

#[test]
fn who_waits_for_a_cancelled_call_is_told() {
    let database = Database::new();
    let mut client = database.admin();
    let id = enqueue_with(&mut client, &[], LATER).expect("an id");
    let waiting = {
        let id = id.clone();
        Running::with(database.admin(), move |client| answer_of(client, &id))
    };
    let pid = waiting.pid;
    wait_until("it waits", SOON, || {
        database
            .count(&format!("pg_stat_activity WHERE pid = {pid} AND wait_event_type = 'Extension'"))
            == 1
    });
    assert!(cancel(&mut client, &id).expect("a call"));
    assert_eq!(waiting.end().1.sqlstate(), "PT404");
}

#[test]
fn a_call_cannot_be_waited_for_before_its_commit() {
    let database = Database::new();
    let mut client = database.admin();
    let mut transaction = client.transaction().expect("a transaction");
    let id = enqueue(&mut transaction, &[]).expect("an id");
    let refusal =
        transaction.query_one("SELECT hiems.await_prompt($1::text::uuid)", &[&id]).refusal();
    assert_eq!(refusal.sqlstate, "55000");
    assert_eq!(refusal.message, "the call is made once this transaction is committed");
    assert_eq!(refusal.hint, "Commit first, and wait for it then.");
    transaction.rollback().expect("a rollback");
    let one = "SELECT hiems.await_prompt(hiems.enqueue_prompt('a/b', '[{\"role\": \"user\"}]'))";
    assert_eq!(client.simple_query(one).sqlstate(), "55000");
    // Nor in a savepoint of it.
    let mut transaction = client.transaction().expect("a transaction");
    let mut savepoint = transaction.transaction().expect("a savepoint");
    let id = enqueue(&mut savepoint, &[]).expect("an id");
    savepoint.commit().expect("a release");
    let refusal =
        transaction.query_one("SELECT hiems.await_prompt($1::text::uuid)", &[&id]).refusal();
    assert_eq!(refusal.sqlstate, "55000");
    transaction.rollback().expect("a rollback");
    assert_eq!(database.fake.requests().len(), 0);
}
