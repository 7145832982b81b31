//! Every wait for a chunk can be cancelled, and what there was is paid for.

use hiems_tests::{Cluster, Config, Database, ResultExt, Running, wait_until};
use postgres::Client;
use serde_json::{Value, json};

use super::{SOON, billed, booked, declare, expression, fetch, open};

/// A stream that says a word, and then nothing for a long time.
const SILENT: [(&str, &str); 4] = [
    ("fake_answer", "one two three"),
    ("fake_chunk_delay_ms", "8000"),
    ("fake_cached_tokens", "0"),
    ("fake_runs_on", "false"),
];

/// As long, with words to count.
const SLOW: [(&str, &str); 5] = [
    ("fake_answer", "word "),
    ("fake_answer_bytes", "1000"),
    ("fake_chunk_delay_ms", "50"),
    ("fake_cached_tokens", "0"),
    ("fake_runs_on", "false"),
];

fn assert_stopped(database: &Database) {
    wait_until("the fake has seen its client leave", SOON, || database.fake.in_flight() == 0);
    assert!(billed(database).cancelled);
    let row = booked(database, "cancelled", "settled");
    assert_eq!(row["error_code"], Value::Null, "{row:?}");
}

/// A session that waits for the next row, some having come.
fn waiting(database: &Database) -> Running {
    let mut client = database.admin();
    open(&mut client, &SLOW);
    fetch(&mut client, "2").expect("rows");
    let running = Running::with(client, |client| fetch(client, "ALL").map(|_| String::new()));
    // A cancel that comes before its statement has begun does nothing.
    let waits =
        format!("pg_stat_activity WHERE pid = {} AND wait_event = 'Extension'", running.pid);
    wait_until("it waits for the next row", SOON, || database.count(&waits) == 1);
    running
}

fn signal(database: &Database, function: &str, pid: i32) {
    let sent = format!("SELECT {function}($1)");
    database.admin().execute(&sent, &[&pid]).expect("a signal");
}

#[test]
fn a_cancel_acts_at_once_and_names_the_call() {
    let database = Database::new();
    let running = waiting(&database);
    signal(&database, "pg_cancel_backend", running.pid);
    let (mut client, result) = running.end();
    let refusal = result.refusal();
    assert_eq!(refusal.sqlstate, "57014");
    let id = database.text("SELECT id::text FROM hiems.calls", &[]).expect("it is on its way");
    assert!(refusal.detail.starts_with(&format!("call {id}: ")), "{refusal:?}");
    client.batch_execute("ROLLBACK").expect("a rollback");
    assert_stopped(&database);
    // What went over the wire is not mixed up.
    assert_eq!(super::stream(&mut client, &[("fake_answer", "x")]).expect("rows").len(), 4);
}

#[test]
fn a_cancel_acts_before_the_first_row() {
    let database = Database::new();
    let statement = format!("SELECT {}::text", expression(&SILENT));
    let running = Running::with(database.admin(), move |client: &mut Client| {
        client.query(&statement, &[]).map(|_| String::new())
    });
    running.wait_until_in_flight(&database, 1);
    signal(&database, "pg_cancel_backend", running.pid);
    let refusal = running.end().1.refusal();
    assert_eq!(refusal.sqlstate, "57014");
    assert!(refusal.detail.starts_with("call "), "{refusal:?}");
    assert_stopped(&database);
}

#[test]
fn between_rows_an_error_names_no_call() {
    let database = Database::new();
    let mut client = database.admin();
    open(&mut client, &SLOW);
    fetch(&mut client, "1").expect("a row");
    let refusal = client.batch_execute("SELECT 1 / 0").refusal();
    assert_eq!(refusal.detail, "");
    assert_stopped(&database);
}

#[test]
fn a_timeout_of_the_statement_acts() {
    let database = Database::new();
    let mut client = database.admin();
    hiems_tests::call(&mut client, "{}").expect("a warm gateway");
    client.batch_execute("SET statement_timeout = '1s'").expect("a setting");
    assert_eq!(super::stream(&mut client, &SLOW).sqlstate(), "57014");
    database.wait_until_booked();
    let rows = database.ledger();
    assert_eq!(rows.len(), 2);
    let billed = &database.fake.bill()[1];
    assert!(billed.cancelled);
    assert_eq!(rows[1]["outcome"], "cancelled");
    assert_eq!(rows[1]["cost_usd"].to_string(), billed.cost);
}

#[test]
fn a_terminated_session_stops_the_provider() {
    let database = Database::new();
    let running = waiting(&database);
    signal(&database, "pg_terminate_backend", running.pid);
    running.end().1.expect_err("the session is over");
    assert_stopped(&database);
}

// Idle, with a cursor open.
#[test]
fn a_session_that_ends_between_rows_stops_the_provider() {
    for terminate in [false, true] {
        let database = Database::new();
        let mut client = database.admin();
        open(&mut client, &SLOW);
        fetch(&mut client, "1").expect("a row");
        let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).expect("a pid").get(0);
        if terminate {
            signal(&database, "pg_terminate_backend", pid);
        } else {
            client.close().expect("an end");
        }
        assert_stopped(&database);
    }
}

#[test]
fn a_call_that_is_cancelled_when_it_had_ended_is_booked_so() {
    let database = Database::new();
    let mut client = database.admin();
    declare(&mut client, &[("fake_answer", "one two")], "BEGIN");
    fetch(&mut client, "1").expect("a row");
    wait_until("it has ended", SOON, || database.fake.in_flight() == 0);
    let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).expect("a pid").get(0);
    signal(&database, "pg_terminate_backend", pid);
    booked(&database, "cancelled", "billed");
}

// The whole server starts again, and the next gateway finds out what it did cost.
#[test]
fn a_killed_backend_loses_nothing() {
    let cluster = Cluster::start(&[]);
    let database = Database::on(&cluster, Config::default());
    database.store_key();
    let running = waiting(&database);
    let mut admin = database.admin();
    wait_until("the generation's id is in the journal", SOON, || {
        admin
            .query_one("SELECT generation_id IS NOT NULL FROM hiems_private.calls", &[])
            .is_ok_and(|row| row.get(0))
    });
    database.crash_by_killing(running.pid);
    running.end().1.expect_err("the session is over");
    hiems_tests::call(&mut database.admin(), "{}").expect("an answer");
    database.wait_until_booked();
    let rows = database.ledger();
    assert_eq!(rows.len(), 2, "{rows:?}");
    let bill = database.fake.bill();
    for row in &rows {
        let billed = bill.iter().find(|it| row["generation_id"] == json!(it.id)).expect("billed");
        assert_eq!(row["cost_usd"].to_string(), billed.cost);
    }
    assert_eq!(rows[0]["cost_source"], "settled");
    assert!(bill[0].cancelled, "its client has left");
}

// It finishes what is in flight for ten seconds; what takes longer is settled by the next one.
#[test]
fn a_gateway_that_leaves_lets_a_stream_end() {
    let database = Database::new();
    let mut client = database.admin();
    open(&mut client, &[("fake_answer", "one two three four"), ("fake_chunk_delay_ms", "300")]);
    fetch(&mut client, "1").expect("a row");
    let gateway = database.gateways()[0];
    signal(&database, "pg_terminate_backend", gateway);
    let rest = fetch(&mut client, "ALL").expect("rows");
    assert_eq!(super::text(&rest), "one two three four");
    client.batch_execute("COMMIT").expect("a commit");
    wait_until("it has left", SOON, || !database.gateways().contains(&gateway));
    hiems_tests::call(&mut client, "{}").expect("the next gateway");
    database.wait_until_booked();
    let rows = database.ledger();
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row["outcome"] == "committed"), "{rows:?}");
}
