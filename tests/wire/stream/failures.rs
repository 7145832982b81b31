//! Streams that fail: before the first token, and in the middle.

use hiems_tests::{Canned, Database, ResultExt};
use serde_json::{Value, json};

use super::{billed, booked, expression, fetch, open, stream, text};

#[test]
fn an_error_before_the_first_token_is_an_ordinary_one() {
    let cases =
        [("400", "22023"), ("402", "PT402"), ("429", "PT429"), ("500", "PT502"), ("503", "PT503")];
    let database = Database::with("hiems.max_attempts", "1");
    let mut client = database.admin();
    for (status, sqlstate) in cases {
        let refusal = stream(&mut client, &[("fake_status", status)]).refusal();
        assert_eq!(refusal.sqlstate, sqlstate, "{refusal:?}");
        assert!(refusal.detail.starts_with("call "), "{refusal:?}");
    }
    client.batch_execute("SELECT 1").expect("the session works");
    database.wait_until_booked();
    let rows = database.ledger();
    assert_eq!(rows.len(), cases.len());
    for row in rows {
        let said = [&row["outcome"], &row["cost_source"], &row["cost_usd"]];
        assert_eq!(said, [&json!("failed"), &json!("not_billed"), &json!(0)]);
        assert_eq!((&row["streamed"], &row["first_token_ms"]), (&json!(true), &Value::Null));
    }
}

#[test]
fn a_refusal_before_the_first_token_is_tried_again() {
    for storm in ["fake_429_times", "fake_503_times"] {
        let database = Database::new();
        let wishes = [(storm, "2"), ("fake_retry_after", "0"), ("fake_answer", "at last")];
        let rows = stream(&mut database.admin(), &wishes).expect("rows");
        assert_eq!(text(&rows), "at last");
        assert_eq!(booked(&database, "committed", "billed")["attempts"], 3);
        assert_eq!(database.fake.requests().len(), 3);
    }
}

// The rows before it have been given.
#[test]
fn an_error_in_the_middle_is_raised_and_its_cost_found_out() {
    let cases = [
        ("choice", "PT502", "settled", "provider_unavailable"),
        ("bare", "PT502", "settled", "provider_unavailable"),
        ("text", "PT502", "settled", "provider_unavailable"),
        ("usage", "22023", "billed", "token_limit_exceeded"),
    ];
    for (form, sqlstate, cost_source, error_code) in cases {
        let database = Database::new();
        let mut client = database.admin();
        open(&mut client, &[("fake_stream_error", form), ("fake_answer", "one two three four")]);
        let rows = fetch(&mut client, "3").expect("rows");
        assert_eq!(text(&rows), "one two ", "{form}");
        let refusal = fetch(&mut client, "ALL").refusal();
        assert_eq!(refusal.sqlstate, sqlstate, "{form} {refusal:?}");
        assert!(refusal.detail.starts_with("call "), "{form} {refusal:?}");
        client.batch_execute("ROLLBACK").expect("a rollback");
        let row = booked(&database, "failed", cost_source);
        assert_eq!(row["error_code"], error_code, "{form}");
    }
}

#[test]
fn a_stream_that_breaks_off_is_settled_by_its_id() {
    let faults = [
        ("reset_before_headers", None),
        ("reset_after_headers", Some("connection_lost")),
        ("cut_chunked", Some("connection_lost")),
    ];
    for (fault, error_code) in faults {
        let database = Database::new();
        let wishes = [("fake_fault", fault), ("fake_answer", "one two three four five six")];
        let refusal = stream(&mut database.admin(), &wishes).refusal();
        assert_eq!(refusal.sqlstate, "PT502", "{fault} {refusal:?}");
        match error_code {
            Some(code) => {
                assert_eq!(booked(&database, "failed", "settled")["error_code"], code, "{fault}");
            }
            // Nobody could know its id.
            None => {
                database.wait_until_booked();
                assert_eq!(database.ledger()[0]["cost_usd"], Value::Null);
                assert!(billed(&database).billed);
            }
        }
    }
}

#[test]
fn a_stream_has_its_time_and_its_size() {
    let limits = [
        ("hiems.request_timeout", "1s", "fake_chunk_delay_ms", "400", "PT504", "timeout"),
        (
            "hiems.max_response_bytes",
            "64kB",
            "fake_answer_bytes",
            "90000",
            "PT502",
            "response_too_large",
        ),
    ];
    for (setting, value, wish, wished, sqlstate, error_code) in limits {
        let database = Database::with(setting, value);
        let mut client = database.admin();
        open(&mut client, &[("fake_answer", "one two three four five "), (wish, wished)]);
        fetch(&mut client, "1").expect("a row");
        assert_eq!(fetch(&mut client, "ALL").sqlstate(), sqlstate, "{setting}");
        client.batch_execute("ROLLBACK").expect("a rollback");
        let row = booked(&database, "failed", "settled");
        assert_eq!(row["error_code"], error_code);
    }
}

/// What a canned server's answer gives: the rows, or the error's SQLSTATE; and the ledger row.
fn canned(status: u16, headers: &str, body: &str) -> (Result<Vec<Value>, String>, Value) {
    let canned = Canned::start();
    let database = Database::with_all(&[
        ("hiems.base_url", &canned.base_url()),
        ("hiems.settlement_timeout", "0"),
    ]);
    canned.answer(status, headers, body.as_bytes());
    let rows = stream(&mut database.admin(), &[]);
    let rows = match rows {
        Ok(rows) => Ok(rows),
        error => Err(error.sqlstate()),
    };
    database.wait_until_booked();
    (rows, database.ledger().remove(0))
}

#[test]
fn what_is_no_stream_is_taken_for_what_it_is() {
    let json = "content-type: application/json\r\nx-generation-id: gen-1\r\n";
    // A provider that does not stream.
    let whole = r#"{"id":"gen-1","choices":[{"message":{"content":"hi"},"finish_reason":"stop"}],
                    "usage":{"cost":0.5}}"#;
    let (rows, row) = canned(200, json, whole);
    assert_eq!(rows.map(|rows| rows.len()), Ok(1));
    assert_eq!(row["cost_usd"].to_string(), "0.5");
    let (rows, row) = canned(200, json, r#"{"error":{"code":403,"message":"no"}}"#);
    assert_eq!((rows, &row["outcome"]), (Err("PT403".into()), &json!("failed")));
    for nothing in ["", ": OPENROUTER PROCESSING\n\n", "<html>"] {
        let (rows, row) = canned(200, json, nothing);
        assert_eq!((rows, &row["cost_usd"]), (Err("PT502".into()), &Value::Null), "{nothing}");
    }
}

#[test]
fn a_stream_that_stops_in_the_middle_is_no_answer() {
    let headers = "content-type: text/event-stream\r\n";
    let word = r#"data: {"id":"gen-9","choices":[{"delta":{"content":"hi"}}]}"#;
    for end in ["", "\n", "\n\n", "\n\ndata: {\"id\":\"gen-9\",\"cho"] {
        let (rows, row) = canned(200, headers, &format!("{word}{end}"));
        assert_eq!(rows, Err("PT502".into()), "{end:?}");
        assert_eq!(row["error_code"], "stream_cut", "{end:?}");
        // The id comes with the first chunk, where no header has it.
        assert_eq!(row["generation_id"], "gen-9", "{end:?}");
    }
    // A usage that nothing follows, not even a blank line, is one.
    let usage = r#"data: {"id":"gen-9","choices":[],"usage":{"cost":0.25}}"#;
    let (rows, row) = canned(200, headers, &format!("{word}\n\n{usage}"));
    assert_eq!(rows.map(|rows| rows.len()), Ok(2));
    assert_eq!(
        (row["cost_usd"].to_string(), &row["outcome"]),
        ("0.25".into(), &json!("committed"))
    );
}

#[test]
fn one_that_fails_leaves_the_session_and_the_others_alone() {
    let database = Database::new();
    let mut client = database.admin();
    let (bad, good) = (
        expression(&[("fake_stream_error", "choice")]),
        expression(&[("fake_answer", "one two three")]),
    );
    let both = format!("SELECT {good}::text, {bad}::text");
    assert_eq!(client.query(&both, &[]).sqlstate(), "PT502");
    let caught =
        format!("DO $$ BEGIN PERFORM {bad}; EXCEPTION WHEN OTHERS THEN PERFORM {good}; END $$");
    client.batch_execute(&caught).expect("the block");
    database.wait_until_booked();
    let rows = database.ledger();
    assert_eq!(rows.len(), 4, "{rows:?}");
    let committed: Vec<&Value> = rows.iter().filter(|row| row["outcome"] == "committed").collect();
    assert_eq!(committed.len(), 1, "{rows:?}");
    let bill = database.fake.bill();
    for row in &rows {
        let billed = bill.iter().find(|it| row["generation_id"] == json!(it.id)).expect("billed");
        assert_eq!(row["cost_usd"].to_string(), billed.cost);
    }
}
