//! Streams that are not fetched to their end.

use hiems_tests::{Database, wait_until};
use postgres::Client;
use serde_json::{Value, json};

use super::{SOON, billed, booked, chunks, declare, expression, fetch, open, state};

/// A stream of forty words, two seconds long, at a provider that stops when its client leaves.
const LONG: [(&str, &str); 5] = [
    ("fake_answer", "word "),
    ("fake_answer_bytes", "200"),
    ("fake_chunk_delay_ms", "50"),
    ("fake_cached_tokens", "0"),
    ("fake_runs_on", "false"),
];

/// Asserts that the provider was stopped, and that what there was is booked.
fn assert_stopped(database: &Database) {
    wait_until("the fake has seen its client leave", SOON, || database.fake.in_flight() == 0);
    let billed = billed(database);
    assert!(billed.cancelled && !billed.delivered, "{billed:?}");
    assert!(billed.completion_tokens < 40, "{billed:?}");
    let row = booked(database, "cancelled", "settled");
    assert_eq!(row["error_code"], Value::Null, "{row:?}");
    assert_eq!(row["model"], json!(billed.model));
}

#[test]
fn closing_it_stops_the_provider_and_pays_for_what_there_was() {
    for end in ["CLOSE c; COMMIT", "COMMIT", "CLOSE c; ROLLBACK", "ROLLBACK", "CLOSE ALL; COMMIT"] {
        let database = Database::new();
        let mut client = database.admin();
        open(&mut client, &LONG);
        fetch(&mut client, "3").expect("rows");
        client.batch_execute(end).expect(end);
        assert_stopped(&database);
        // The session works, and so does the next call.
        assert_eq!(
            chunks(&mut client, &format!("SELECT {}::text", expression(&[("fake_answer", "x")])))
                .expect("rows")
                .len(),
            4
        );
    }
}

#[test]
fn a_limit_stops_the_provider() {
    let database = Database::new();
    let mut client = database.admin();
    let limited = format!("SELECT {}::text LIMIT 1", expression(&LONG));
    assert_eq!(chunks(&mut client, &limited).expect("a row").len(), 1);
    assert_stopped(&database);
    let database = Database::new();
    let block = format!(
        "DO $$ DECLARE chunk jsonb; BEGIN FOR chunk IN SELECT {} LOOP EXIT; END LOOP; END $$",
        expression(&LONG)
    );
    database.admin().batch_execute(&block).expect("the block");
    assert_stopped(&database);
}

#[test]
fn an_error_behind_it_stops_the_provider() {
    let database = Database::new();
    let mut client = database.admin();
    open(&mut client, &LONG);
    fetch(&mut client, "2").expect("rows");
    client.batch_execute("SELECT 1 / 0").expect_err("an error");
    assert_stopped(&database);
    let database = Database::new();
    let mut client = database.admin();
    declare(&mut client, &LONG, "BEGIN; SAVEPOINT s");
    fetch(&mut client, "2").expect("rows");
    client.batch_execute("ROLLBACK TO s; COMMIT").expect("the end");
    assert_stopped(&database);
}

// It runs on, and is billed in full.
#[test]
fn a_provider_that_runs_on_is_paid_in_full() {
    let database = Database::new();
    let mut client = database.admin();
    let wishes = [
        ("fake_answer", "one two three four five"),
        ("fake_chunk_delay_ms", "200"),
        ("fake_runs_on", "true"),
        ("fake_cost", "0.2500000000000000003"),
    ];
    open(&mut client, &wishes);
    fetch(&mut client, "1").expect("a row");
    client.batch_execute("CLOSE c; COMMIT").expect("the end");
    let row = booked(&database, "cancelled", "settled");
    assert_eq!(row["cost_usd"].to_string(), "0.2500000000000000003");
    assert_eq!(row["finish_reason"], "stop");
}

#[test]
fn until_its_cost_is_known_it_is_on_its_way() {
    let database = Database::new();
    let mut client = database.admin();
    let wishes = [&LONG[..], &[("fake_lookup_lag_ms", "2500")]].concat();
    open(&mut client, &wishes);
    fetch(&mut client, "2").expect("rows");
    client.batch_execute("CLOSE c; COMMIT").expect("the end");
    wait_until("it is settled", SOON, || state(&mut client).as_deref() == Some("unknown"));
    assert_eq!(database.count("hiems.ai_usage_logs"), 0);
    assert_stopped(&database);
    assert!(database.fake.lookups().len() > 1);
}

#[test]
fn where_there_is_no_record_it_is_one_row_of_unknown_cost() {
    let database = Database::with("hiems.settlement_timeout", "1s");
    let mut client = database.admin();
    let wishes = [&LONG[..], &[("fake_lookup_lag_ms", "600000")]].concat();
    open(&mut client, &wishes);
    fetch(&mut client, "2").expect("rows");
    client.batch_execute("CLOSE c; COMMIT").expect("the end");
    database.wait_until_booked();
    let rows = database.ledger();
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!((&rows[0]["outcome"], &rows[0]["cost_usd"]), (&json!("cancelled"), &Value::Null));
    assert_eq!(rows[0]["generation_id"], json!(billed(&database).id));
}

/// A cursor with one row fetched of a stream that has ended.
fn ended(database: &Database, before: &str) -> Client {
    let mut client = database.admin();
    declare(&mut client, &[("fake_answer", "one two three")], before);
    fetch(&mut client, "1").expect("a row");
    let mut admin = database.admin();
    wait_until("it is settled", SOON, || state(&mut admin).as_deref() == Some("answered"));
    client
}

#[test]
fn one_that_had_ended_is_booked_as_its_transaction_ends() {
    let cases = [
        ("BEGIN", "CLOSE c; COMMIT", "committed"),
        ("BEGIN", "COMMIT", "committed"),
        ("BEGIN", "CLOSE c; ROLLBACK", "rolled_back"),
        ("BEGIN", "ROLLBACK", "cancelled"),
        ("BEGIN; SAVEPOINT s", "CLOSE c; ROLLBACK TO s; COMMIT", "rolled_back"),
        ("BEGIN; SAVEPOINT s", "CLOSE c; RELEASE s; COMMIT", "committed"),
        ("BEGIN; SAVEPOINT s", "ROLLBACK TO s; COMMIT", "cancelled"),
    ];
    for (before, after, outcome) in cases {
        let database = Database::new();
        ended(&database, before).batch_execute(after).expect(after);
        let row = booked(&database, outcome, "billed");
        assert_eq!(row["finish_reason"], "stop", "{after}");
    }
}

// Nobody asked for the end: it is not this transaction that books it.
#[test]
fn all_rows_without_the_end_are_booked_by_the_gateway() {
    let database = Database::new();
    let mut client = database.admin();
    let limited =
        format!("SELECT {}::text LIMIT 6", expression(&[("fake_answer", "one two three")]));
    assert_eq!(chunks(&mut client, &limited).expect("rows").len(), 6);
    let row = booked(&database, "committed", "billed");
    assert_eq!(row["finish_reason"], "stop");
}

#[test]
fn it_waits_for_the_end_of_its_transaction() {
    let database = Database::new();
    let mut client = ended(&database, "BEGIN");
    client.batch_execute("CLOSE c").expect("closed");
    let mut admin = database.admin();
    hiems_tests::call(&mut admin, "{}").expect("another call");
    wait_until("the gateway has noted it", SOON, || {
        let noted = "SELECT bool_or(deferred_xid IS NOT NULL) FROM hiems_private.calls";
        admin.query_one(noted, &[]).is_ok_and(|row| row.get::<_, Option<bool>>(0) == Some(true))
    });
    assert_eq!(database.count("hiems.ai_usage_logs"), 1);
    client.batch_execute("COMMIT").expect("a commit");
    database.wait_until_booked();
    assert_eq!(database.count("hiems.ai_usage_logs WHERE outcome = 'committed'"), 2);
}
