//! OpenRouter cannot be reached, or there is no whole answer.

use std::net::TcpListener;
use std::sync::Arc;

use hiems_tests::{
    Config, Database, Fake, Refusal, ResultExt, Running, SOON, call, directives, wait_until,
};
use serde_json::{Value, json};

use super::{assert_keyless, call_id};

/// The one row of a call whose outcome is not known, and not looked up.
fn assert_booked_as_unknown(database: &Database, refusal: &Refusal, error_code: &str) -> Value {
    database.wait_until_booked();
    let mut rows = database.ledger();
    assert_eq!(rows.len(), 1);
    let row = rows.remove(0);
    assert_eq!(row["id"], json!(call_id(refusal)));
    assert_eq!(row["outcome"], "unknown");
    assert_eq!(row["error_code"], error_code);
    assert_eq!(row["cost_usd"], Value::Null);
    assert_eq!(row["cost_sek"], Value::Null);
    assert_eq!(row["cost_source"], "unknown");
    assert_eq!(database.fake.requests().len(), 1, "it is never sent again");
    let counted = database.text(
        "SELECT concat_ws(' ', calls, calls_without_cost, coalesce(cost_usd::text, 'NULL'))
         FROM hiems.usage_totals",
        &[],
    );
    assert_eq!(counted.as_deref(), Some("1 1 NULL"));
    row
}

#[test]
fn an_openrouter_that_cannot_be_reached_leaves_nothing() {
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port")
        .port();
    let database = Database::with("hiems.base_url", &format!("http://127.0.0.1:{port}/api/v1"));
    let mut client = database.admin();
    let refusal = call(&mut client, "{}").refusal();
    assert_eq!(refusal.sqlstate, "PT503");
    assert!(refusal.hint.contains("hiems.base_url"), "{refusal:?}");
    assert_ne!(refusal.detail, "", "{refusal:?}");
    assert_keyless(&refusal);
    database.wait_until_booked();
    assert_eq!(database.count("hiems.ai_usage_logs"), 0);
    client.batch_execute("SELECT 1").expect("the session works");
}

#[test]
fn an_answer_that_takes_too_long_is_given_up_and_its_generation_known() {
    let database =
        Database::with_all(&[("hiems.request_timeout", "1s"), ("hiems.settlement_timeout", "0")]);
    let options = directives(&[("fake_delay_ms", "4000")]);
    let refusal = call(&mut database.admin(), &options).refusal();
    assert_eq!(database.fake.in_flight(), 1);
    assert_eq!(refusal.sqlstate, "PT504");
    assert!(refusal.hint.contains("hiems.request_timeout"), "{refusal:?}");
    assert_keyless(&refusal);
    let row = assert_booked_as_unknown(&database, &refusal, "timeout");
    assert_eq!(row["generation_id"], json!(database.fake.bill()[0].id));
}

#[test]
fn headers_that_do_not_come_leave_no_generation() {
    let database = Database::with("hiems.request_timeout", "1s");
    let options = directives(&[("fake_header_delay_ms", "4000")]);
    let refusal = call(&mut database.admin(), &options).refusal();
    assert_eq!(refusal.sqlstate, "PT504");
    let row = assert_booked_as_unknown(&database, &refusal, "timeout");
    assert_eq!(row["generation_id"], Value::Null);
}

#[test]
fn a_connection_that_breaks_leaves_the_outcome_open() {
    let mut database = Database::with("hiems.settlement_timeout", "1s");
    let options = directives(&[("fake_delay_ms", "60000")]);
    let running = Running::in_flight(&database, database.admin(), &options, 1);
    let mut admin = database.admin();
    // While the model works the journal knows the generation, whatever happens next.
    wait_until("the generation's id", SOON, || {
        admin
            .query_one("SELECT generation_id IS NOT NULL FROM hiems_private.calls", &[])
            .is_ok_and(|row| row.get(0))
    });
    let generation = database.fake.bill()[0].id.clone();
    let journalled = database.text("SELECT generation_id FROM hiems_private.calls", &[]);
    assert_eq!(journalled.as_ref(), Some(&generation));
    // The server goes, and with it the connection.
    database.fake = Arc::new(Fake::start(Config::default()).expect("another fake"));
    let refusal = running.end().1.refusal();
    assert_eq!(refusal.sqlstate, "PT502");
    assert_keyless(&refusal);
    database.wait_until_booked();
    let rows = database.ledger();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["id"], json!(call_id(&refusal)));
    assert_eq!(rows[0]["generation_id"], json!(generation));
    assert_eq!(rows[0]["outcome"], "unknown");
    assert_eq!(rows[0]["error_code"], "connection_lost");
    assert_eq!(rows[0]["cost_usd"], Value::Null);
    assert_eq!(rows[0]["cost_source"], "unknown");
}

#[test]
fn an_answer_that_is_too_large_is_cut_off_and_booked() {
    let database = Database::with_all(&[
        ("hiems.max_response_bytes", "2kB"),
        ("hiems.settlement_timeout", "0"),
    ]);
    let mut client = database.admin();
    let options = directives(&[("fake_answer", &"x".repeat(4096))]);
    let refusal = call(&mut client, &options).refusal();
    assert_eq!(refusal.sqlstate, "PT502");
    assert!(refusal.hint.contains("hiems.max_response_bytes"), "{refusal:?}");
    let row = assert_booked_as_unknown(&database, &refusal, "response_too_large");
    assert_eq!(row["generation_id"], json!(database.fake.bill()[0].id));
    call(&mut client, &directives(&[("fake_answer", "short")])).expect("an answer");
}
