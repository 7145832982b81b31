//! What breaks on the way from OpenRouter, told by the fake that breaks it: what the caller sees, what
//! the ledger holds beside the fake's bill, and that nothing is sent twice.

mod bodies;
mod charges;
mod connections;
mod envelopes;
mod redirects;
mod tls;

use hiems_tests::{Database, Generation, Refusal, ResultExt, call};
use serde_json::{Value, json};

/// Makes a call that fails after it was sent, waits until it is booked, and gives what its caller was
/// told, its row and its place in the bill.
fn failed_call(database: &Database, options: &str) -> (Refusal, Value, Generation) {
    let (requests, calls) = (database.fake.requests().len(), database.ledger().len());
    let refusal = call(&mut database.admin(), options).refusal();
    database.wait_until_booked();
    let mut rows = database.ledger();
    assert_eq!(rows.len(), calls + 1, "{options}");
    assert_eq!(database.fake.requests().len(), requests + 1, "{options}: sent once");
    let row = rows.pop().expect("a row");
    let id = row["id"].as_str().expect("an id");
    assert!(refusal.detail.starts_with(&format!("call {id}")), "{options}: {refusal:?}");
    assert_ne!(refusal.message, "", "{refusal:?}");
    let billed = database.fake.bill().pop().expect("a generation");
    assert!(billed.billed, "{options}: {billed:?}");
    (refusal, row, billed)
}

/// As [`failed_call`], for a call that is answered all the same.
fn answered_call(database: &Database, options: &str) -> (Value, Value, Generation) {
    let requests = database.fake.requests().len();
    let answer = call(&mut database.admin(), options).expect("an answer");
    assert_eq!(database.fake.requests().len(), requests + 1, "{options}: sent once");
    let answer = serde_json::from_str(&answer).expect("JSON");
    let row = database.ledger().pop().expect("a row");
    assert_eq!(row["outcome"], "committed", "{options}");
    (answer, row, database.fake.bill().pop().expect("a generation"))
}

/// The row has the generation's id and all its figures.
fn assert_is_the_bills(row: &Value, billed: &Generation) {
    assert_eq!(row["generation_id"], json!(billed.id));
    assert_eq!(row["cost_usd"].to_string(), billed.cost, "{row}");
    assert_eq!(row["cost_source"], "billed");
    assert_eq!(row["prompt_tokens"], json!(billed.prompt_tokens));
    assert_eq!(row["completion_tokens"], json!(billed.completion_tokens));
}

/// The row has the generation's id, and all its figures from OpenRouter's record of it: its caller got an
/// error, and the answer did not say what it cost.
fn assert_is_settled(row: &Value, billed: &Generation) {
    assert_eq!(row["generation_id"], json!(billed.id));
    assert_eq!(row["outcome"], "failed", "{row}");
    assert_eq!(row["cost_usd"].to_string(), billed.cost, "{row}");
    assert_eq!(row["cost_source"], "settled");
    assert_eq!(row["prompt_tokens"], json!(billed.prompt_tokens));
    assert_eq!(row["completion_tokens"], json!(billed.completion_tokens));
    assert_eq!(row["total_tokens"], json!(billed.prompt_tokens + billed.completion_tokens));
    assert_eq!(row["cached_tokens"], json!(billed.cached_tokens));
    assert_eq!(row["reasoning_tokens"], json!(billed.reasoning_tokens));
    assert_eq!(row["model"], json!(billed.model));
    assert_eq!(row["provider"], json!(billed.provider));
    assert_eq!(row["finish_reason"], json!(billed.finish_reason));
    assert_eq!(row["is_byok"], json!(billed.is_byok));
    assert_eq!(row["calls"], json!(1));
}

/// The row says that the cost is not known: it is neither 0 nor a guess.
fn assert_cost_is_unknown(row: &Value) {
    for unknown in ["cost_usd", "cost_sek", "upstream_cost_usd", "prompt_tokens", "total_tokens"] {
        assert_eq!(row[unknown], Value::Null, "{unknown}: {row}");
    }
    assert_eq!(row["cost_source"], "unknown", "{row}");
}
