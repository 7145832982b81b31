//! A failure never passes for a success, wherever the error stands and of whatever type it is.

use hiems_tests::{Database, ResultExt};
use serde_json::{Value, json};

use super::{call_of, counted, failure, forms, raw};

const ERRORS: [(&str, &str, &str); 6] = [
    (r#"{"code": 502, "message": "it broke"}"#, "PT502", "it broke"),
    (r#"{"code": "429", "message": "too fast"}"#, "PT429", "too fast"),
    (r#""it broke""#, "PT502", "it broke"),
    ("503", "PT503", "503"),
    ("true", "PT502", "true"),
    (r#"[{"message": "it broke"}]"#, "PT502", "it broke"),
];

const TEXT: (&str, &str) = ("fake_answer", "[1, 2, 3, 4]");

// Status 200, a text, its cost, and an error beside it: in each form.
#[test]
fn an_error_of_any_type_at_any_place_fails_each_form_and_is_booked_with_its_cost() {
    let database = Database::new();
    let mut client = database.admin();
    let mut calls = 0;
    for (i, (error, sqlstate, words)) in ERRORS.into_iter().enumerate() {
        let place = ["top", "choice", "message"][i % 3];
        let wishes =
            [TEXT, ("fake_error", error), ("fake_error_at", place), ("fake_cost", "0.0120")];
        database.fake.wish(&wishes);
        for (form, statement) in forms() {
            let refusal = failure(&mut client, form, &statement);
            let what = format!("{form} {place} {error}: {refusal:?}");
            assert_eq!(refusal.sqlstate, sqlstate, "{what}");
            assert!(refusal.detail.contains(words), "{what}");
            assert!(refusal.hint.contains("hiems.raw_answer()"), "{what}");
            calls += 1;
            assert_eq!(database.fake.requests().len(), calls, "{what}: sent once");
            // The text is with whoever asks for it, and so is the error.
            let call = call_of(&refusal);
            let kept = raw(&mut client, &call);
            assert!(kept.contains("[1, ") && kept.contains("4]"), "{what}: {kept}");
            let again = client.query_one("SELECT hiems.await_prompt($1::text::uuid)", &[&call]);
            assert_eq!(again.sqlstate(), sqlstate, "{what}");
        }
    }
    for row in database.booked() {
        assert_eq!((&row["outcome"], &row["cost_source"]), (&json!("failed"), &json!("billed")));
        assert_eq!(row["cost_usd"].to_string(), "0.0120");
        assert_eq!(row["attempts"], 1);
        assert_ne!(row["error_code"], Value::Null);
    }
    assert_eq!(counted(&database), Some(format!("{calls} {calls} 0")));
}

// The same, where nothing is told but that it ended so.
#[test]
fn an_answer_that_ends_in_an_error_fails_in_each_form() {
    let database = Database::new();
    let mut client = database.admin();
    for told in ["null", r#"{"code": 504, "message": "too slow"}"#] {
        database.fake.wish(&[
            ("fake_finish_reason", "error"),
            ("fake_error", told),
            ("fake_error_at", "choice"),
            ("fake_tool_cost", "0.0050"),
        ]);
        for (form, statement) in forms() {
            let refusal = failure(&mut client, form, &statement);
            let expected = if told == "null" { "PT502" } else { "PT504" };
            assert_eq!(refusal.sqlstate, expected, "{form}: {refusal:?}");
            call_of(&refusal);
        }
    }
    let rows = database.booked();
    assert_eq!(rows.len(), 2 * forms().len());
    for row in rows {
        assert_eq!((&row["outcome"], &row["finish_reason"]), (&json!("failed"), &json!("error")));
        assert_eq!(row["cost_usd"].to_string(), "0.0050");
    }
}

// Nobody gets an answer, and none is NULL by mistake.
#[test]
fn a_batch_says_which_of_its_calls_failed_so_and_what_they_cost() {
    let database = Database::new();
    let options = |wishes: &[(&str, &str)]| -> Value {
        serde_json::from_str(&hiems_tests::directives(wishes)).expect("JSON")
    };
    let request = |wishes: &[(&str, &str)]| {
        json!({"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "x"}],
               "options": options(wishes)})
    };
    let requests = json!([
        request(&[TEXT, ("fake_error", "true"), ("fake_cost", "0.5")]),
        request(&[TEXT, ("fake_cost", "0.25")]),
        request(&[("fake_finish_reason", "error"), ("fake_error", "null")]),
    ]);
    let rows = database
        .admin()
        .query(
            "SELECT concat_ws('|', content IS NULL, response IS NULL, error_code, cost_usd, finish_reason)
             FROM hiems.submit_prompts($1::text::jsonb) ORDER BY ordinality",
            &[&requests.to_string()],
        )
        .expect("rows");
    let rows: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(rows, ["t|t|PT502|0.5|stop", "f|f|0.25|stop", "t|t|PT502|0|error"]);
    database.booked();
    assert_eq!(counted(&database).as_deref(), Some("3 2 0"));
}

// What has been billed is not made a second time, and says the same again.
#[test]
fn an_idempotency_key_keeps_a_failure_that_was_billed() {
    let database = Database::new();
    let mut client = database.admin();
    database.fake.wish(&[TEXT, ("fake_error", r#""it broke""#)]);
    let keyed = "SELECT hiems.submit_prompt('openai/gpt-4o-mini',
                     '[{\"role\": \"user\", \"content\": \"x\"}]', idempotency_key => 'k')";
    for _ in 0..2 {
        let refusal = client.query_one(keyed, &[]).refusal();
        assert_eq!(refusal.sqlstate, "PT502");
        assert!(refusal.detail.contains("it broke"), "{refusal:?}");
    }
    assert_eq!(database.fake.requests().len(), 1);
    assert_eq!(database.booked().len(), 1);
}

// The text that a refusal came with was paid for, whatever its status says.
#[test]
fn a_refusal_that_has_a_text_is_neither_free_nor_sent_again() {
    let database = Database::with("hiems.settlement_timeout", "0");
    let mut client = database.admin();
    let body = r#"{"error": {"code": 429, "message": "slow down"},
                   "choices": [{"message": {"content": "half"}}]}"#;
    database.fake.wish(&[("fake_status", "429"), ("fake_retry_after", "0"), ("fake_body", body)]);
    let refusal = hiems_tests::call(&mut client, "{}").refusal();
    assert_eq!(refusal.sqlstate, "PT429");
    assert_eq!(database.fake.requests().len(), 1);
    assert!(raw(&mut client, &call_of(&refusal)).contains("half"));
    database.wait_until_booked();
    let row = database.ledger().remove(0);
    assert_eq!((&row["outcome"], &row["cost_source"]), (&json!("failed"), &json!("unknown")));
    assert_eq!(row["cost_usd"], Value::Null);
}
