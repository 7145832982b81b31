//! Answers that are no failure, and do not say all.

use hiems_tests::{Database, ResultExt, call, directives};
use serde_json::{Value, json};

#[test]
fn an_answer_without_usage_is_an_answer_of_unknown_cost() {
    let database = Database::with("hiems.settlement_timeout", "0");
    let options = directives(&[("fake_no_usage", "true"), ("fake_answer", "here it is")]);
    let answer = call(&mut database.admin(), &options).expect("an answer");
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    assert_eq!(answer["choices"][0]["message"]["content"], "here it is");
    database.wait_until_booked();
    let rows = database.ledger();
    assert_eq!(rows.len(), 1);
    let bill = &database.fake.bill()[0];
    assert_ne!(bill.cost, "0", "it was billed all the same");
    assert_eq!(rows[0]["generation_id"], json!(bill.id));
    assert_eq!(rows[0]["model"], json!(bill.model));
    assert_eq!(rows[0]["outcome"], "committed");
    assert_eq!(rows[0]["cost_source"], "unknown");
    for unknown in [
        "cost_usd",
        "cost_sek",
        "upstream_cost_usd",
        "is_byok",
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "cached_tokens",
        "cache_write_tokens",
        "reasoning_tokens",
        "error_code",
    ] {
        assert_eq!(rows[0][unknown], Value::Null, "{unknown}");
    }
    let totals = database.text(
        "SELECT concat_ws(' ', calls, calls_without_cost, failed_calls) FROM hiems.usage_totals",
        &[],
    );
    assert_eq!(totals.as_deref(), Some("1 1 0"));
}

#[test]
fn an_answer_that_was_cut_is_an_answer() {
    let database = Database::new();
    let answer = call(&mut database.admin(), r#"{"max_completion_tokens": 1}"#);
    answer.expect("an answer");
    let rows = database.ledger();
    let bill = &database.fake.bill()[0];
    assert_eq!(rows[0]["finish_reason"], "length");
    assert_eq!(rows[0]["completion_tokens"], json!(1));
    assert_eq!(rows[0]["native_finish_reason"], json!(bill.native_finish_reason));
}

#[test]
fn a_failed_call_with_tools_may_have_cost_something() {
    let database = Database::new();
    let mut client = database.admin();
    database.fake.wish(&[("fake_status", "502")]);
    for (options, source) in [("{}", "not_billed"), (r#"{"tools": []}"#, "unknown")] {
        assert_eq!(call(&mut client, options).sqlstate(), "PT502");
        database.wait_until_booked();
        let row = database.ledger().pop().expect("a row");
        assert_eq!(row["cost_source"], source, "{options}");
    }
}
