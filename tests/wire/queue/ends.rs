//! How calls out of the queue end, and who is told.

use hiems_tests::{Database, ResultExt, SOON};
use postgres::fallible_iterator::FallibleIterator;
use serde_json::json;

use super::{answer_of, assert_bill, enqueue, enqueue_many, item, state_of};

#[test]
fn a_failed_call_is_booked_and_fails_for_who_waits() {
    let database = Database::new();
    let mut client = database.admin();
    let cases = [
        (&[("fake_status", "402")][..], "PT402", "failed", "not_billed"),
        (&[("fake_status", "404")][..], "PT404", "failed", "not_billed"),
        (&[("fake_status", "400")][..], "22023", "failed", "not_billed"),
        (&[("fake_status", "500")][..], "PT502", "failed", "not_billed"),
        (&[("fake_fault", "junk")][..], "PT502", "failed", "settled"),
        (&[("fake_fault", "cut_length")][..], "PT502", "failed", "settled"),
    ];
    for (wishes, sqlstate, outcome, cost_source) in cases {
        let id = enqueue(&mut client, wishes).expect("an id");
        let refusal = answer_of(&mut client, &id).refusal();
        assert_eq!(refusal.sqlstate, sqlstate, "{wishes:?} {refusal:?}");
        assert!(refusal.detail.starts_with(&format!("call {id}")), "{refusal:?}");
        database.wait_until_booked();
        let rows = database.ledger();
        let row = rows.iter().find(|row| row["id"] == json!(id)).expect("its row");
        assert_eq!((&row["outcome"], &row["attempts"]), (&json!(outcome), &json!(1)), "{wishes:?}");
        assert_eq!(row["cost_source"], cost_source, "{wishes:?}");
    }
    assert_eq!(database.fake.requests().len(), cases.len(), "none is sent twice");
}

#[test]
fn listeners_are_told_of_each_end_by_its_id_alone() {
    let database = Database::new();
    let mut listener = database.admin();
    listener.batch_execute("LISTEN hiems_calls").expect("listens");
    let mut client = database.admin();
    let requests =
        json!([item(&[]), item(&[("fake_status", "402")]), item(&[("fake_fault", "junk")])]);
    let mut ids = enqueue_many(&mut client, &requests).expect("ids");
    let mut told = Vec::new();
    let mut notifications = listener.notifications();
    let mut next = notifications.timeout_iter(SOON);
    while told.len() < ids.len() {
        let message = next.next().expect("a connection").expect("a message");
        assert_eq!(message.channel(), "hiems_calls");
        told.push(message.payload().to_owned());
    }
    ids.sort_unstable();
    told.sort_unstable();
    assert_eq!(told, ids);
    database.wait_until_booked();
}

#[test]
fn off_is_silent() {
    let database = Database::with("hiems.notify", "off");
    let mut listener = database.admin();
    listener.batch_execute("LISTEN hiems_calls").expect("listens");
    let mut client = database.admin();
    let id = enqueue(&mut client, &[]).expect("an id");
    answer_of(&mut client, &id).expect("an answer");
    client.batch_execute("NOTIFY hiems_calls, 'end'").expect("a message");
    let mut notifications = listener.notifications();
    let mut next = notifications.timeout_iter(SOON);
    let first = next.next().expect("a connection").expect("a message");
    assert_eq!(first.payload(), "end");
}

#[test]
fn a_call_that_waits_for_its_key_is_made_once_it_is_there() {
    let database = Database::without_key();
    let mut client = database.admin();
    let id = enqueue(&mut client, &[]).expect("an id");
    let last_error = "SELECT last_error FROM hiems.calls WHERE id = $1::text::uuid";
    hiems_tests::wait_until("the gateway has looked at it", hiems_tests::SOON, || {
        database.text(last_error, &[&id]).is_some_and(|error| error.contains("no OpenRouter key"))
    });
    assert_eq!(state_of(&mut client, &id).as_deref(), Some("queued"));
    database.store_key();
    // Sooner than it would be looked at again.
    client
        .batch_execute("UPDATE hiems_private.queue SET run_at = NULL")
        .expect("a superuser's impatience");
    answer_of(&mut client, &id).expect("an answer");
    assert_bill(&database);
}
