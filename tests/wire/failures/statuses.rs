//! OpenRouter answers with an error status.

use hiems_tests::{Config, Database, KEY, ResultExt, call, cluster, directives};
use serde_json::{Value, json};

use super::{assert_keyless, call_id};

/// Status, SQLSTATE, a piece of OpenRouter's words, the ledger's `error_code`, and whether nothing can
/// have been billed.
const CASES: [(&str, &str, &str, &str, bool); 17] = [
    ("400", "22023", "Provider returned error", "invalid_request", true),
    ("401", "PT503", "User not found.", "authentication", true),
    ("402", "PT402", "can only afford 1210", "payment_required", true),
    ("403", "PT403", "Your input was flagged", "content_policy_violation", true),
    ("404", "PT404", "No endpoints found", "not_found", true),
    ("408", "PT504", "Operation timed out", "timeout", false),
    ("412", "22023", "Precondition Failed", "unmapped", true),
    ("413", "PT413", "Request payload too large", "payload_too_large", true),
    ("418", "22023", "I'm a teapot", "unmapped", true),
    ("422", "PT422", "Invalid argument", "unprocessable", true),
    ("429", "PT429", "Provider returned error", "rate_limit_exceeded", true),
    ("500", "PT502", "Internal Server Error", "server", true),
    ("502", "PT502", "Provider returned error", "provider_unavailable", true),
    ("503", "PT503", "no available model provider", "provider_unavailable", true),
    ("504", "PT504", "Gateway Timeout", "unmapped", false),
    ("524", "PT504", "HTTP 524", "524", false),
    ("529", "PT503", "Provider returned error", "provider_overloaded", true),
];

#[test]
fn every_status_has_its_sqlstate_and_its_row() {
    let database = Database::without_key();
    database.set("hiems.max_attempts", "1");
    let mut client = database.admin();
    client.execute("SELECT hiems.set_api_key($1)", &[&KEY]).expect("a key");
    let mut calls = Vec::new();
    for (status, sqlstate, words, ..) in CASES {
        let refusal = call(&mut client, &directives(&[("fake_status", status)])).refusal();
        assert_eq!(refusal.sqlstate, sqlstate, "{status}: {refusal:?}");
        assert!(refusal.detail.contains(words), "{status}: {refusal:?}");
        assert!(refusal.detail.contains(&format!("HTTP {status}")), "{refusal:?}");
        assert_keyless(&refusal);
        calls.push(call_id(&refusal));
    }
    // The session is as good as new.
    call(&mut client, "{}").expect("an answer");
    database.wait_until_booked();
    let mut rows = database.ledger();
    assert_eq!(rows.pop().expect("the answer's row")["outcome"], "committed");
    assert_eq!(rows.len(), CASES.len());
    for ((row, id), (status, _, _, code, unbilled)) in rows.iter().zip(&calls).zip(CASES) {
        let (cost, source) =
            if unbilled { (json!(0), "not_billed") } else { (Value::Null, "unknown") };
        assert_eq!(row["id"], json!(id), "{status}");
        assert_eq!(row["outcome"], "failed", "{status}");
        assert_eq!(row["http_status"].to_string(), status);
        assert_eq!(row["error_code"], code, "{status}");
        assert_eq!(row["cost_usd"], cost, "{status}");
        assert_eq!(row["cost_source"], source, "{status}");
        assert_eq!(row["model_requested"], "openai/gpt-4o-mini");
        for unknown in ["model", "provider", "generation_id", "prompt_tokens", "finish_reason"] {
            assert_eq!(row[unknown], Value::Null, "{status}: {unknown}");
        }
        assert_eq!(row["attempts"], json!(1), "{status}");
        assert_eq!(row["calls"], json!(1), "{status}");
    }
    assert_eq!(database.fake.requests().len(), CASES.len() + 1);
    let totals = database.text(
        "SELECT concat_ws(' ', calls, failed_calls, calls_without_cost) FROM hiems.usage_totals",
        &[],
    );
    assert_eq!(totals.as_deref(), Some("18 17 3"));
}

// OpenRouter's own message is often no more than "Provider returned error": the cause stands beside it,
// in the error's metadata.
#[test]
fn the_providers_own_words_are_in_the_detail() {
    let database = Database::new();
    let mut client = database.admin();
    let cases = [
        ("400", "invalid value for a parameter"),
        ("429", "temporarily rate-limited upstream"),
        ("502", "upstream connect error"),
        ("529", "Overloaded"),
    ];
    for (status, words) in cases {
        let refusal = call(&mut client, &directives(&[("fake_status", status)])).refusal();
        assert!(refusal.detail.contains(words), "{status}: {refusal:?}");
        assert_ne!(refusal.message, "", "{refusal:?}");
        assert!(!refusal.message.contains(words), "{refusal:?}");
    }
}

#[test]
fn the_seconds_to_wait_are_in_the_detail() {
    let database = Database::without_key();
    database.set("hiems.max_attempts", "1");
    let mut client = database.admin();
    client.execute("SELECT hiems.set_api_key($1)", &[&KEY]).expect("a key");
    for (status, sqlstate) in [("429", "PT429"), ("503", "PT503")] {
        let options = directives(&[("fake_status", status), ("fake_retry_after", "7")]);
        let refusal = call(&mut client, &options).refusal();
        assert_eq!(refusal.sqlstate, sqlstate);
        assert!(refusal.detail.contains("retry after 7 s"), "{refusal:?}");
        assert_ne!(refusal.hint, "", "{refusal:?}");
    }
}

#[test]
fn a_key_that_openrouter_does_not_know_is_no_fault_of_the_users() {
    let config = Config { accepted_keys: vec!["sk-or-v1-another".to_owned()], ..Config::default() };
    let database = Database::on(cluster(), config);
    let mut client = database.admin();
    client.execute("SELECT hiems.set_api_key($1)", &[&KEY]).expect("a key");
    let refusal = call(&mut client, "{}").refusal();
    assert_eq!(refusal.sqlstate, "PT503");
    assert!(refusal.hint.contains("hiems.set_api_key"), "{refusal:?}");
    assert_keyless(&refusal);
    database.wait_until_booked();
    let rows = database.ledger();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["id"], json!(call_id(&refusal)));
    assert_eq!(rows[0]["http_status"], json!(401));
    assert_eq!(rows[0]["error_code"], "401");
    assert_eq!(rows[0]["cost_source"], "not_billed");
    // The right key, and the next call goes through in the same session.
    client.execute("SELECT hiems.set_api_key('sk-or-v1-another')", &[]).expect("a key");
    call(&mut client, "{}").expect("an answer");
}

#[test]
fn an_unknown_model_is_a_bad_argument() {
    let database = Database::new();
    let refusal =
        database.admin().query_one("SELECT hiems.complete('hello', 'nope/nothing')", &[]).refusal();
    assert_eq!(refusal.sqlstate, "22023");
    assert!(refusal.detail.contains("nope/nothing is not a valid model ID"), "{refusal:?}");
    database.wait_until_booked();
    let rows = database.ledger();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["id"], json!(call_id(&refusal)));
    assert_eq!(rows[0]["model_requested"], "nope/nothing");
    assert_eq!(rows[0]["cost_usd"], json!(0));
}
