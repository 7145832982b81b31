//! The connection breaks after the request was sent. The generation is billed all the same: what it cost
//! is looked up where its id is known, and never taken for 0 where it is not.

use hiems_tests::{Database, ResultExt, SOON, call, directives, wait_until};
use serde_json::Value;

use super::{
    answered_call, assert_cost_is_unknown, assert_is_settled, assert_is_the_bills, failed_call,
};

#[test]
fn a_connection_that_breaks_before_its_headers_leaves_no_id() {
    let database = Database::new();
    for fault in ["reset_before_headers", "cut_headers"] {
        let (refusal, row, billed) = failed_call(&database, &directives(&[("fake_fault", fault)]));
        assert_eq!(refusal.sqlstate, "PT502", "{fault}: {refusal:?}");
        assert_eq!(refusal.message, "the connection to OpenRouter broke", "{fault}");
        assert_eq!(row["outcome"], "unknown", "{fault}");
        assert_eq!(row["error_code"], "connection_lost", "{fault}");
        assert_eq!(row["generation_id"], Value::Null, "{fault}");
        assert_eq!(row["http_status"], Value::Null, "{fault}");
        assert_cost_is_unknown(&row);
        assert_ne!(billed.cost, "0", "it was billed");
    }
}

#[test]
fn a_connection_that_breaks_after_its_headers_leaves_the_generations_id() {
    let database = Database::new();
    for fault in ["reset_after_headers", "cut_length", "cut_chunked"] {
        // A reset overtakes what was sent a moment before it.
        let options = directives(&[("fake_fault", fault), ("fake_delay_ms", "500")]);
        let (refusal, row, billed) = failed_call(&database, &options);
        assert_eq!(refusal.sqlstate, "PT502", "{fault}: {refusal:?}");
        assert_eq!(row["error_code"], "connection_lost", "{fault}");
        assert_is_settled(&row, &billed);
        assert_ne!(billed.cost, "0", "it was billed");
    }
    let unknown = database.text("SELECT calls_without_cost::text FROM hiems.usage_totals", &[]);
    assert_eq!(unknown.as_deref(), Some("0"));
}

// A connection that was used before is taken from the pool: that it breaks is no reason to try a new one.
#[test]
fn a_kept_connection_that_breaks_is_not_replaced_for_the_call() {
    let database = Database::new();
    call(&mut database.admin(), "{}").expect("an answer");
    let before = database.fake.connections();
    for fault in ["reset_before_headers", "cut_headers"] {
        call(&mut database.admin(), "{}").expect("an answer");
        failed_call(&database, &directives(&[("fake_fault", fault)]));
    }
    call(&mut database.admin(), "{}").expect("an answer");
    // One for each that broke.
    assert_eq!(database.fake.connections(), before + 2);
    assert_eq!(database.fake.requests().len(), 6);
}

// The deadline is the whole answer's: bytes that keep dripping do not put it off.
#[test]
fn an_answer_that_drips_is_given_up_in_time() {
    let database = Database::with("hiems.request_timeout", "1s");
    let options = directives(&[("fake_bytes_per_second", "20")]);
    let (refusal, row, billed) = failed_call(&database, &options);
    assert_eq!(refusal.sqlstate, "PT504", "{refusal:?}");
    assert!(refusal.hint.contains("hiems.request_timeout"), "{refusal:?}");
    assert_eq!(row["error_code"], "timeout");
    assert!(row["latency_ms"].as_u64() >= Some(1_000), "{row}");
    assert_is_settled(&row, &billed);
    // What is slow and comes in time is an answer.
    let options = directives(&[("fake_bytes_per_second", "5000")]);
    let (_, row, billed) = answered_call(&database, &options);
    assert_is_the_bills(&row, &billed);
}

#[test]
fn a_caller_that_is_cancelled_while_an_answer_drips_is_booked_with_its_cost() {
    let database = Database::new();
    let mut client = database.admin();
    client.batch_execute("SET statement_timeout = '300ms'").expect("a timeout");
    let options = directives(&[("fake_bytes_per_second", "1000")]);
    assert_eq!(call(&mut client, &options).sqlstate(), "57014");
    wait_until("the answer is delivered", SOON, || {
        database.fake.bill().iter().all(|generation| generation.delivered)
    });
    database.wait_until_booked();
    let row = database.ledger().pop().expect("a row");
    assert_eq!(row["outcome"], "cancelled");
    assert_is_the_bills(&row, &database.fake.bill()[0]);
    assert_eq!(database.fake.requests().len(), 1);
}
