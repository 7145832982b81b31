//! A call that was refused before it was billed is sent again, within the caller's time.

use hiems_tests::{
    Cluster, Config, Database, ResultExt, Running, SOON, call, directives, user_message, wait_until,
};
use serde_json::{Value, json};

const AT_ONCE: (&str, &str) = ("fake_retry_after", "0");

fn wait_for_requests(database: &Database, count: usize) {
    wait_until("the request has come", SOON, || database.fake.requests().len() == count);
}

fn only_row(database: &Database) -> Value {
    database.wait_until_booked();
    let mut rows = database.ledger();
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows.remove(0)
}

#[test]
fn what_was_not_billed_is_sent_again() {
    for wishes in [
        // An attempt that was refused names a generation of its own.
        [("fake_429_times", "1"), ("fake_error_id", "true")],
        [("fake_503_times", "1"), ("fake_cost", "0.00012")],
        [("fake_429_times", "1"), ("fake_retry_after", "1")],
        [("fake_503_times", "1"), ("fake_retry_after", "1")],
        // A date instead of seconds is no reason to stumble.
        [("fake_429_times", "1"), ("fake_retry_after", "Wed, 21 Oct 2026 07:28:00 GMT")],
    ] {
        let database = Database::new();
        call(&mut database.admin(), &directives(&wishes)).expect("an answer");
        let statuses: Vec<u16> = database.fake.requests().iter().map(|it| it.status).collect();
        assert_eq!(statuses.len(), 2, "{wishes:?}");
        assert_eq!(statuses[1], 200, "{wishes:?}");
        let row = only_row(&database);
        let bill = database.fake.bill();
        assert_eq!(bill.len(), 1, "{wishes:?}");
        assert_eq!(row["attempts"], json!(2), "{wishes:?}");
        assert_eq!(row["outcome"], "committed");
        assert_eq!(row["http_status"], json!(200));
        assert_eq!(row["error_code"], Value::Null);
        assert_eq!(row["generation_id"], json!(bill[0].id));
        assert_eq!(row["cost_usd"].to_string(), bill[0].cost);
    }
}

#[test]
fn attempts_come_to_an_end() {
    let database = Database::with("hiems.max_attempts", "4");
    let options = directives(&[("fake_429_times", "4"), AT_ONCE]);
    let refusal = call(&mut database.admin(), &options).refusal();
    assert_eq!(refusal.sqlstate, "PT429");
    assert_eq!(database.fake.requests().len(), 4);
    let row = only_row(&database);
    assert_eq!(row["attempts"], json!(4));
    assert_eq!(row["outcome"], "failed");
    assert_eq!(row["cost_source"], "not_billed");
    assert_eq!(row["cost_usd"], json!(0));
    // The storm is over, and the caller's next call goes through.
    call(&mut database.admin(), &options).expect("an answer");
    assert_eq!(database.fake.bill().len(), 1);
}

// What follows a refusal is judged by itself.
#[test]
fn a_storm_that_ends_in_a_failure_is_that_failure() {
    let database = Database::new();
    let reset = [("fake_429_times", "1"), AT_ONCE, ("fake_fault", "reset_before_headers")];
    assert_eq!(call(&mut database.admin(), &directives(&reset)).sqlstate(), "PT502");
    assert_eq!(database.fake.requests().len(), 2, "it is not sent a third time");
    let row = only_row(&database);
    assert_eq!(row["attempts"], json!(2));
    assert_eq!(row["outcome"], "unknown");
    assert_eq!(row["error_code"], "connection_lost");
    assert_eq!(row["cost_usd"], Value::Null);
    assert_eq!(row["cost_source"], "unknown");
    assert_ne!(database.fake.bill()[0].cost, "0");
}

#[test]
fn many_callers_in_a_storm_are_each_billed_once() {
    const CALLERS: usize = 12;
    let database = Database::with("hiems.max_attempts", "4");
    let options = directives(&[("fake_429_times", "1"), ("fake_503_times", "2"), AT_ONCE]);
    std::thread::scope(|scope| {
        for caller in 0..CALLERS {
            let (mut client, options) = (database.admin(), &options);
            scope.spawn(move || {
                client
                    .query_one(
                        "SELECT hiems.submit_prompt('openai/gpt-4o-mini', $1::text::jsonb,
                                    \"user\" => $2, options => $3::text::jsonb)",
                        &[&user_message("hello"), &format!("u{caller}"), options],
                    )
                    .expect("an answer")
            });
        }
    });
    assert_eq!(database.fake.requests().len(), 4 * CALLERS);
    let (rows, bill) = (database.ledger(), database.fake.bill());
    assert_eq!((rows.len(), bill.len()), (CALLERS, CALLERS));
    for generation in bill {
        let row = rows.iter().find(|row| row["generation_id"] == json!(generation.id));
        let row = row.expect("the generation is booked");
        assert_eq!(row["attempts"], json!(4));
        assert_eq!(row["user_id"], json!(generation.user));
        assert_eq!(row["cost_usd"].to_string(), generation.cost);
    }
}

// Retry-After is honoured: what does not fit into the caller's time is not tried, and not waited for.
#[test]
fn a_wait_beyond_the_callers_time_is_no_wait() {
    let database = Database::with("hiems.request_timeout", "20s");
    let options = directives(&[("fake_429_times", "1"), ("fake_retry_after", "21")]);
    let mut client = database.admin();
    client.batch_execute("SET statement_timeout = '15s'").expect("a setting");
    let refusal = call(&mut client, &options).refusal();
    assert_eq!(refusal.sqlstate, "PT429");
    assert!(refusal.detail.contains("retry after 21 s"), "{refusal:?}");
    assert_eq!(database.fake.requests().len(), 1);
    assert_eq!(only_row(&database)["attempts"], json!(1));
}

// An attempt that is cut off is billed, and its answer lost.
#[test]
fn an_attempt_without_time_is_not_made() {
    let database = Database::with("hiems.request_timeout", "5100ms");
    let wishes =
        [("fake_429_times", "1"), ("fake_retry_after", "4"), ("fake_header_delay_ms", "1200")];
    let refusal = call(&mut database.admin(), &directives(&wishes)).refusal();
    assert_eq!(refusal.sqlstate, "PT429");
    assert_eq!(database.fake.requests().len(), 1);
    assert_eq!(database.fake.bill().len(), 0);
    let row = only_row(&database);
    assert_eq!((&row["cost_source"], &row["attempts"]), (&json!("not_billed"), &json!(1)));
}

#[test]
fn what_may_have_been_billed_is_never_sent_again() {
    let database = Database::new();
    let mut client = database.admin();
    let final_word = r#"{"error": {"code": 503, "message": "x",
                        "availability": {"code": "model_deprecated", "retryable": false}}}"#;
    let billed = ("fake_billed_error", "true");
    let cases: [&[(&str, &str)]; 11] = [
        &[("fake_late_error", "429")],
        &[("fake_status", "408")],
        &[("fake_status", "500")],
        &[("fake_status", "502")],
        &[("fake_status", "504")],
        &[("fake_status", "524")],
        &[("fake_status", "429"), ("fake_body", "slow down")],
        &[("fake_status", "503"), ("fake_error_shape", "page")],
        &[("fake_status", "429"), billed],
        &[("fake_status", "503"), billed, ("fake_usage", r#"{"completion_tokens": 3}"#)],
        &[("fake_status", "503"), ("fake_body", final_word)],
    ];
    for (i, wishes) in cases.iter().enumerate() {
        let options = directives(&[*wishes, &[AT_ONCE]].concat());
        call(&mut client, &options).expect_err("a failure");
        assert_eq!(database.fake.requests().len(), i + 1, "{wishes:?}");
    }
    // Tools may have been charged for already.
    database.fake.wish(&[("fake_status", "503"), AT_ONCE]);
    call(&mut client, r#"{"plugins": [{"id": "web"}]}"#).expect_err("a failure");
    assert_eq!(database.fake.requests().len(), cases.len() + 1);
    // Also before a provider that says it is asked too often.
    let provider = r#"{"error": {"code": 429, "message": "Provider returned error",
                      "metadata": {"raw": "slow down", "provider_name": "Groq"}}}"#;
    database.fake.wish(&[("fake_status", "429"), ("fake_body", provider), AT_ONCE]);
    call(&mut client, r#"{"plugins": [{"id": "web"}]}"#).expect_err("a failure");
    assert_eq!(database.fake.requests().len(), cases.len() + 2);
    database.wait_until_booked();
    let rows = database.ledger();
    assert_eq!(rows[cases.len() + 1]["cost_source"], "unknown");
}

#[test]
fn a_caller_that_goes_while_it_waits_is_not_sent_again() {
    let database = Database::new();
    let options = directives(&[("fake_429_times", "1"), ("fake_retry_after", "60")]);
    let running = Running::start(database.admin(), &options);
    wait_for_requests(&database, 1);
    let mut admin = database.admin();
    admin.execute("SELECT pg_cancel_backend($1)", &[&running.pid]).expect("a signal");
    let (_, answer) = running.end();
    assert_eq!(answer.sqlstate(), "57014");
    let row = only_row(&database);
    assert_eq!(row["outcome"], "failed");
    assert_eq!(row["attempts"], json!(1));
    assert_eq!(row["cost_usd"], json!(0));
    assert_eq!(database.fake.requests().len(), 1);
}

// A gateway that is told to end does not sit out a wait.
#[test]
fn a_gateway_that_leaves_waits_for_no_retry() {
    let database = Database::new();
    let options = directives(&[("fake_503_times", "1"), ("fake_retry_after", "60")]);
    let running = Running::start(database.admin(), &options);
    wait_for_requests(&database, 1);
    let gateway = database.gateways()[0];
    let mut admin = database.admin();
    admin.execute("SELECT pg_terminate_backend($1)", &[&gateway]).expect("a signal");
    let (_, answer) = running.end();
    assert_eq!(answer.sqlstate(), "PT503");
    // Where the gateway is gone before its caller's transaction is over, the next one books the row.
    call(&mut admin, "{}").expect("an answer");
    database.wait_until_booked();
    let row = database.ledger().remove(0);
    assert_eq!(row["cost_source"], "not_billed");
    assert_eq!(row["attempts"], json!(1));
    assert_eq!(database.fake.requests().len(), 2, "it was not sent again");
}

// The attempt that is under way is the one that the journal speaks of.
#[test]
fn a_gateway_that_dies_in_a_later_attempt_leaves_its_number() {
    let mut cluster = Cluster::start(&[]);
    let database = Database::on(&cluster, Config::default());
    database.store_key();
    let options = directives(&[
        ("fake_429_times", "1"),
        ("fake_error_id", "true"),
        ("fake_header_delay_ms", "600000"),
    ]);
    let running = Running::start(database.admin(), &options);
    wait_for_requests(&database, 2);
    let (name, _fake) = database.into_parts();
    cluster.stop("immediate");
    running.end().1.expect_err("the crash");
    cluster.restart();
    let mut client = cluster.connect(&name, "postgres");
    call(&mut client, "{}").expect("an answer");
    wait_until("the call is booked", SOON, || {
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
