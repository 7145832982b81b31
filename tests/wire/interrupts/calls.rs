//! While a call is in flight.

use std::sync::Arc;

use hiems_tests::{
    Config, Database, Fake, ResultExt, Running, SOON, call, cluster, directives, wait_until,
};
use postgres::Client;
use serde_json::{Value, json};

/// Long enough that no answer comes before the test is over: the fake is then stopped.
const NEVER: &str = "600000";

fn delayed(milliseconds: &str) -> String {
    directives(&[("fake_delay_ms", milliseconds)])
}

fn signal(database: &Database, function: &str, pid: i32) {
    let done: bool = database
        .admin()
        .query_one(&format!("SELECT {function}($1)"), &[&pid])
        .expect(function)
        .get(0);
    assert!(done, "{function}({pid})");
}

/// Ends the calls that the fake never answers, so that the gateway can leave.
fn stop_fake(database: &mut Database) {
    database.fake = Arc::new(Fake::start(Config::default()).expect("another fake"));
}

/// Panics unless the session has ended as pg_terminate_backend() ends one.
fn assert_terminated(running: Running) {
    let pid = running.pid;
    let (mut client, result) = running.end();
    let error = result.expect_err("no answer");
    // The client drops the server's last words where the connection's end comes with them.
    if let Some(error) = error.as_db_error() {
        assert_eq!(error.code().code(), "57P01");
    }
    client.batch_execute("SELECT 1").expect_err("the session is over");
    let words = format!("[{pid}] FATAL:  terminating connection due to administrator command");
    assert!(cluster().log().contains(&words), "the log says so");
}

fn content(answer: &str) -> Value {
    let answer: Value = serde_json::from_str(answer).expect("JSON");
    answer["choices"][0]["message"]["content"].clone()
}

// The fake still has the call when the error has arrived: nobody waited for its answer.
#[test]
fn a_cancel_acts_while_the_call_is_in_flight() {
    let mut database = Database::new();
    let running = Running::in_flight(&database, database.admin(), &delayed(NEVER), 1);
    signal(&database, "pg_cancel_backend", running.pid);
    let (mut client, result) = running.end();
    assert_eq!(result.sqlstate(), "57014");
    assert_eq!(database.fake.in_flight(), 1);
    // The session works, and the next call gets its own answer.
    let answer = call(&mut client, &directives(&[("fake_answer", "second")])).expect("an answer");
    assert_eq!(content(&answer), "second");
    assert!(!database.fake.bill()[0].finished);
    stop_fake(&mut database);
}

#[test]
fn a_statement_timeout_acts_while_the_call_is_in_flight() {
    let mut database = Database::new();
    let mut client = database.admin();
    // The gateway is warm, so that the call is under way when the time is over.
    call(&mut client, "{}").expect("an answer");
    client.batch_execute("SET statement_timeout = '2s'").expect("a setting");
    let refused = call(&mut client, &delayed(NEVER));
    assert_eq!(refused.sqlstate(), "57014");
    assert_eq!(database.fake.in_flight(), 1);
    let answer = call(&mut client, &directives(&[("fake_answer", "second")])).expect("an answer");
    assert_eq!(content(&answer), "second");
    stop_fake(&mut database);
}

#[test]
fn a_termination_acts_while_the_call_is_in_flight() {
    let mut database = Database::new();
    let running = Running::in_flight(&database, database.admin(), &delayed(NEVER), 1);
    signal(&database, "pg_terminate_backend", running.pid);
    assert_terminated(running);
    assert_eq!(database.fake.in_flight(), 1);
    stop_fake(&mut database);
}

#[test]
fn others_are_left_alone_by_a_cancel() {
    let database = Database::new();
    let answer = |text| directives(&[("fake_delay_ms", "3000"), ("fake_answer", text)]);
    let first = Running::in_flight(&database, database.admin(), &answer("first"), 1);
    let second = Running::in_flight(&database, database.admin(), &answer("second"), 2);
    signal(&database, "pg_cancel_backend", first.pid);
    assert_eq!(first.end().1.sqlstate(), "57014");
    assert_eq!(content(&second.end().1.expect("an answer")), "second");
    database.wait_until_booked();
    let rows = database.ledger();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0]["outcome"], "cancelled");
    assert_eq!(rows[1]["outcome"], "committed");
}

#[test]
fn an_exception_block_does_not_swallow_a_cancel() {
    let mut database = Database::new();
    let options = delayed(NEVER);
    let block = move |client: &mut Client| {
        client.batch_execute(&format!(
            "DO $$
             BEGIN
                 PERFORM hiems.submit_prompt('openai/gpt-4o-mini',
                     '[{{\"role\": \"user\", \"content\": \"hello\"}}]', options => '{options}');
             EXCEPTION WHEN OTHERS THEN
                 RAISE NOTICE 'swallowed';
             END
             $$"
        ))?;
        Ok("swallowed".to_owned())
    };
    let running = Running::with(database.admin(), block);
    running.wait_until_in_flight(&database, 1);
    signal(&database, "pg_cancel_backend", running.pid);
    let (mut client, result) = running.end();
    assert_eq!(result.sqlstate(), "57014");
    assert_eq!(database.fake.in_flight(), 1);
    client.batch_execute("SELECT 1").expect("the session works");
    stop_fake(&mut database);
}

/// Compares the ledger with the bill, both in the order of the calls.
fn assert_booked(database: &Database, outcomes: &[&str]) {
    database.wait_until_booked();
    let rows = database.ledger();
    let bill = database.fake.bill();
    assert_eq!(rows.len(), outcomes.len());
    assert_eq!(bill.len(), outcomes.len());
    for (row, outcome) in rows.iter().zip(outcomes) {
        let generation = bill
            .iter()
            .find(|generation| row["generation_id"] == json!(generation.id))
            .expect("its generation");
        assert_eq!(row["outcome"], *outcome);
        assert_eq!(row["cost_usd"].to_string(), generation.cost);
        assert_eq!(row["cost_source"], "billed");
        assert_eq!(row["http_status"], json!(200));
        assert_eq!(row["model"], json!(generation.model));
        assert_eq!(row["prompt_tokens"], json!(generation.prompt_tokens));
        assert_eq!(row["completion_tokens"], json!(generation.completion_tokens));
        assert_eq!(row["error_code"], Value::Null);
    }
}

#[test]
fn what_was_broken_off_is_booked_as_cancelled_with_its_cost() {
    let database = Database::new();
    let options = |cost| directives(&[("fake_delay_ms", "4000"), ("fake_cost", cost)]);
    let mut third = database.admin();
    third.batch_execute("SET statement_timeout = '2s'").expect("a setting");
    let first = Running::in_flight(&database, database.admin(), &options("0.00123"), 1);
    let second = Running::in_flight(&database, database.admin(), &options("0.0456"), 2);
    let third = Running::in_flight(&database, third, &options("0.000000789"), 3);
    signal(&database, "pg_cancel_backend", first.pid);
    signal(&database, "pg_terminate_backend", second.pid);
    assert_eq!(first.end().1.sqlstate(), "57014");
    assert_terminated(second);
    assert_eq!(third.end().1.sqlstate(), "57014");
    assert_booked(&database, &["cancelled"; 3]);
    let totals = database
        .text("SELECT concat_ws(' ', calls, cost_usd, failed_calls) FROM hiems.usage_totals", &[]);
    assert_eq!(totals.as_deref(), Some("3 0.046830789 0"));
}

// The transaction commits without the row; that it was cancelled is known all the same.
#[test]
fn a_cancel_that_is_caught_by_name_is_booked_as_cancelled() {
    let database = Database::new();
    let options = directives(&[("fake_delay_ms", "3000"), ("fake_cost", "0.0000042")]);
    let block = move |client: &mut Client| {
        client.batch_execute(&format!(
            "CREATE TABLE notes (note text);
             DO $$
             BEGIN
                 PERFORM hiems.submit_prompt('openai/gpt-4o-mini',
                     '[{{\"role\": \"user\", \"content\": \"hello\"}}]', options => '{options}');
             EXCEPTION WHEN query_canceled THEN
                 INSERT INTO notes VALUES ('cancelled');
             END
             $$"
        ))?;
        Ok("caught".to_owned())
    };
    let running = Running::with(database.admin(), block);
    running.wait_until_in_flight(&database, 1);
    signal(&database, "pg_cancel_backend", running.pid);
    running.end().1.expect("the block goes on");
    assert_eq!(database.fake.in_flight(), 1);
    assert_eq!(database.count("notes"), 1);
    assert_booked(&database, &["cancelled"]);
}

#[test]
fn a_cancel_between_two_calls_of_a_statement_keeps_both_costs() {
    let database = Database::new();
    let options = [
        directives(&[("fake_cost", "0.5")]),
        directives(&[("fake_delay_ms", "3000"), ("fake_cost", "0.25")]),
    ];
    let statement = move |client: &mut Client| {
        client
            .query(
                "SELECT hiems.submit_prompt('openai/gpt-4o-mini',
                            '[{\"role\": \"user\", \"content\": \"x\"}]', options => o::jsonb)
                 FROM unnest($1::text[]) AS o",
                &[&options.to_vec()],
            )
            .map(|_| String::new())
    };
    let running = Running::with(database.admin(), statement);
    wait_until("the second call is in flight", SOON, || database.fake.bill().len() == 2);
    signal(&database, "pg_cancel_backend", running.pid);
    assert_eq!(running.end().1.sqlstate(), "57014");
    assert_eq!(database.fake.in_flight(), 1);
    assert_booked(&database, &["rolled_back", "cancelled"]);
}
