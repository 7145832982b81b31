//! A call that was refused before it was billed is sent again, within the caller's time.

use std::time::Duration;

use hiems_tests::{Canned, Database, KEY, ResultExt, Running, call, wait_until};
use serde_json::{Value, json};

const ANSWER: &str = r#"{"id": "gen-2", "model": "a/b", "choices": [{"message": {"content": "ok"}}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7, "cost": 0.00012}}"#;
const REFUSED: &str = r#"{"error": {"code": 429, "message": "slow down"}}"#;

/// A database whose OpenRouter answers what it is told; with these settings.
fn canned(settings: &[(&str, &str)]) -> (Database<'static>, Canned) {
    let canned = Canned::start();
    let database = Database::without_key();
    database.set("hiems.base_url", &canned.base_url());
    for (setting, value) in settings {
        database.set(setting, value);
    }
    database.admin().execute("SELECT hiems.set_api_key($1)", &[&KEY]).expect("a key");
    (database, canned)
}

fn wait_for_requests(canned: &Canned, count: usize) {
    wait_until("the request has come", Duration::from_secs(30), || canned.requests() == count);
}

fn only_row(database: &Database) -> Value {
    database.wait_until_booked();
    let mut rows = database.ledger();
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows.remove(0)
}

#[test]
fn what_was_not_billed_is_sent_again() {
    for (status, headers) in [
        (429, "x-generation-id: gen-1\r\n"),
        (503, ""),
        (429, "retry-after: 1\r\n"),
        (503, "retry-after: 1\r\n"),
    ] {
        let (database, canned) = canned(&[]);
        canned.answer(status, headers, REFUSED.as_bytes());
        let running = Running::start(database.admin(), "{}");
        wait_for_requests(&canned, 1);
        canned.answer(200, "", ANSWER.as_bytes());
        let (_, answer) = running.end();
        answer.expect("an answer");
        assert_eq!(canned.requests(), 2, "{status} {headers}");
        let row = only_row(&database);
        assert_eq!(row["attempts"], json!(2), "{status} {headers}");
        assert_eq!(row["outcome"], "committed");
        assert_eq!(row["generation_id"], "gen-2");
        assert_eq!(row["cost_usd"].to_string(), "0.00012");
    }
}

#[test]
fn attempts_come_to_an_end() {
    let (database, canned) = canned(&[("hiems.max_attempts", "4")]);
    canned.answer(429, "retry-after: 0\r\n", REFUSED.as_bytes());
    let refusal = call(&mut database.admin(), "{}").refusal();
    assert_eq!(refusal.sqlstate, "PT429");
    assert_eq!(canned.requests(), 4);
    let row = only_row(&database);
    assert_eq!(row["attempts"], json!(4));
    assert_eq!(row["outcome"], "failed");
    assert_eq!(row["cost_source"], "not_billed");
    assert_eq!(row["cost_usd"], json!(0));
}

// Retry-After is honoured: what does not fit into the caller's time is not tried, and not waited for.
#[test]
fn a_wait_beyond_the_callers_time_is_no_wait() {
    let (database, canned) = canned(&[("hiems.request_timeout", "20s")]);
    canned.answer(429, "retry-after: 21\r\n", REFUSED.as_bytes());
    let mut client = database.admin();
    client.batch_execute("SET statement_timeout = '15s'").expect("a setting");
    let refusal = call(&mut client, "{}").refusal();
    assert_eq!(refusal.sqlstate, "PT429");
    assert!(refusal.detail.contains("retry after 21 s"), "{refusal:?}");
    assert_eq!(canned.requests(), 1);
    assert_eq!(only_row(&database)["attempts"], json!(1));
}

#[test]
fn what_may_have_been_billed_is_never_sent_again() {
    let (database, canned) = canned(&[]);
    let mut client = database.admin();
    let error = r#"{"error": {"code": 503, "message": "x"}}"#;
    let billed = r#"{"error": {"code": 429, "message": "x"},
                     "usage": {"prompt_tokens": 5, "completion_tokens": 0, "cost": 0.001}}"#;
    let generated =
        r#"{"error": {"code": 503, "message": "x"}, "usage": {"completion_tokens": 3}}"#;
    let final_word = r#"{"error": {"code": 503, "message": "x",
                        "availability": {"code": "model_deprecated", "retryable": false}}}"#;
    let cases = [
        (200, REFUSED, "{}"),
        (408, error, "{}"),
        (500, error, "{}"),
        (502, error, "{}"),
        (504, error, "{}"),
        (524, error, "{}"),
        (429, "slow down", "{}"),
        (503, "<html>", "{}"),
        (429, billed, "{}"),
        (503, generated, "{}"),
        (503, final_word, "{}"),
        // Tools may have been charged for already.
        (503, error, r#"{"plugins": [{"id": "web"}]}"#),
    ];
    for (i, (status, body, options)) in cases.iter().enumerate() {
        canned.answer(*status, "retry-after: 0\r\n", body.as_bytes());
        call(&mut client, options).expect_err("a failure");
        assert_eq!(canned.requests(), i + 1, "{status} {body} {options}");
    }
}

#[test]
fn a_caller_that_goes_while_it_waits_is_not_sent_again() {
    let (database, canned) = canned(&[]);
    canned.answer(429, "retry-after: 60\r\n", REFUSED.as_bytes());
    let running = Running::start(database.admin(), "{}");
    wait_for_requests(&canned, 1);
    let mut admin = database.admin();
    admin.execute("SELECT pg_cancel_backend($1)", &[&running.pid]).expect("a signal");
    let (_, answer) = running.end();
    assert_eq!(answer.sqlstate(), "57014");
    let row = only_row(&database);
    assert_eq!(row["outcome"], "failed");
    assert_eq!(row["attempts"], json!(1));
    assert_eq!(row["cost_usd"], json!(0));
    assert_eq!(canned.requests(), 1);
}

// A gateway that is told to end does not sit out a wait.
#[test]
fn a_gateway_that_leaves_waits_for_no_retry() {
    let (database, canned) = canned(&[]);
    canned.answer(503, "retry-after: 60\r\n", REFUSED.as_bytes());
    let running = Running::start(database.admin(), "{}");
    wait_for_requests(&canned, 1);
    let gateway = database.gateways()[0];
    let mut admin = database.admin();
    admin.execute("SELECT pg_terminate_backend($1)", &[&gateway]).expect("a signal");
    let (_, answer) = running.end();
    assert_eq!(answer.sqlstate(), "PT503");
    assert_eq!(only_row(&database)["cost_source"], "not_billed");
}

// The attempt that is under way is the one that the journal speaks of.
#[test]
fn a_gateway_that_dies_in_a_later_attempt_leaves_its_number() {
    let cluster = hiems_tests::Cluster::start(&[]);
    let canned = Canned::start();
    let database = Database::on(&cluster, hiems_tests::Config::default());
    database.set("hiems.base_url", &canned.base_url());
    database.admin().execute("SELECT hiems.set_api_key($1)", &[&KEY]).expect("a key");
    canned.answer(429, "x-generation-id: gen-1\r\n", REFUSED.as_bytes());
    let running = Running::start(database.admin(), "{}");
    wait_for_requests(&canned, 1);
    canned.hold();
    wait_for_requests(&canned, 2);
    let (name, fake) = database.into_parts();
    let mut cluster = cluster;
    cluster.stop("immediate");
    running.end().1.expect_err("the crash");
    cluster.restart();
    let mut admin = cluster.connect(&name, "postgres");
    admin
        .batch_execute(&format!(
            "LOAD 'hiems'; ALTER DATABASE {name} SET hiems.base_url = '{}'",
            fake.base_url()
        ))
        .expect("a setting");
    let mut client = cluster.connect(&name, "postgres");
    call(&mut client, "{}").expect("an answer");
    wait_until("the call is booked", Duration::from_secs(30), || {
        client
            .query_one("SELECT count(*) = 2 FROM hiems.ai_usage_logs", &[])
            .is_ok_and(|row| row.get(0))
    });
    let row = client
        .query_one(
            "SELECT attempts, generation_id, cost_usd::text FROM hiems.ai_usage_logs
             WHERE outcome = 'unknown'",
            &[],
        )
        .expect("the row");
    assert_eq!(row.get::<_, i32>(0), 2);
    assert_eq!(row.get::<_, Option<String>>(1), None);
    assert_eq!(row.get::<_, Option<String>>(2), None);
}
