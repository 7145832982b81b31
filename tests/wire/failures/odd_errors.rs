//! Errors in every dress that OpenRouter, its edge and its providers send them in.

use hiems_tests::{Database, ResultExt, call, cluster, directives};
use serde_json::{Value, json};

use super::call_id;

/// Status, body; SQLSTATE, a piece of DETAIL, the ledger's `error_code`.
const CASES: [(u16, &str, &str, &str, &str); 19] = [
    // At status 200 the code inside counts; heartbeats come first.
    (
        200,
        "\n\n  {\"error\": {\"code\": 429, \"message\": \"slow down\"}, \"user_id\": \"u\"}",
        "PT429",
        "slow down",
        "429",
    ),
    (200, r#"{"error": {"code": 402, "message": "no credits"}}"#, "PT402", "no credits", "402"),
    (
        200,
        r#"{"error": {"code": "server_error", "message": "oops"}}"#,
        "PT502",
        "oops",
        "server_error",
    ),
    (200, r#"{"error": {"message": "no code"}}"#, "PT502", "no code", "502"),
    (200, r#"{"error": {"code": 200, "message": "odd"}}"#, "PT502", "odd", "200"),
    // No answer at all.
    (200, "", "PT502", "not JSON", "unreadable_answer"),
    (200, "\n\n   \n", "PT502", "not JSON", "unreadable_answer"),
    (200, "  <html>busy</html>", "PT502", "not JSON", "unreadable_answer"),
    (200, r#"{"id": "gen-1", "choices": [{"message""#, "PT502", "not JSON", "unreadable_answer"),
    (200, "{}", "PT502", "no choices", "unreadable_answer"),
    (200, "[]", "PT502", "not an object", "unreadable_answer"),
    (200, "null", "PT502", "not an object", "unreadable_answer"),
    (200, r#"{"choices": null}"#, "PT502", "no choices", "unreadable_answer"),
    // Pages of the edge, and other people's envelopes.
    (502, "<html>Bad gateway</html>", "PT502", "HTTP 502", "502"),
    (403, "blocked", "PT403", "HTTP 403", "403"),
    (500, r#"{"error": "boom"}"#, "PT502", "HTTP 500", "500"),
    (500, "{}", "PT502", "HTTP 500", "500"),
    // No code, but a type, and seconds to wait inside.
    (
        404,
        r#"{"error": {"message": "gone", "error_type": "no_endpoints", "http_status": 404,
              "availability": {"code": "no_endpoints", "retry_after": 12}}}"#,
        "PT404",
        "retry after 12 s",
        "no_endpoints",
    ),
    // What neither jsonb nor an error's text can hold.
    (
        400,
        r#"{"error": {"code": 400, "message": "a\u0000b \ud83d c"}}"#,
        "22023",
        "a\u{fffd}b",
        "400",
    ),
];

#[test]
fn every_dress_is_recognised_and_booked_once() {
    let database = Database::with("hiems.settlement_timeout", "0");
    let mut client = database.admin();
    for (status, body, sqlstate, detail, error_code) in CASES {
        let code = status.to_string();
        let mut wishes = vec![("fake_body", body), ("fake_error_id", "true")];
        // What comes at status 200 comes after a generation.
        wishes.extend((status != 200).then_some(("fake_status", code.as_str())));
        let refusal = call(&mut client, &directives(&wishes)).refusal();
        assert_eq!(refusal.sqlstate, sqlstate, "{status} {body}: {refusal:?}");
        assert!(refusal.detail.contains(detail), "{status} {body}: {refusal:?}");
        database.wait_until_booked();
        let row = database.ledger().pop().expect("a row");
        assert_eq!(row["id"], json!(call_id(&refusal)));
        assert_eq!(row["outcome"], "failed", "{status} {body}");
        assert_eq!(row["http_status"], json!(status));
        assert_eq!(row["error_code"], error_code, "{status} {body}");
        assert!(row["generation_id"].is_string(), "{status} {body}: {row}");
        // OpenRouter's own word before the first token says that nothing was billed, and so does a status that refuses
        // the request.
        let unbilled = status >= 400 && (status < 500 || body.contains(r#""error": {"#));
        let cost = if unbilled { json!(0) } else { Value::Null };
        let source = if unbilled { "not_billed" } else { "unknown" };
        assert_eq!(row["cost_usd"], cost, "{status} {body}");
        assert_eq!(row["cost_source"], source, "{status} {body}");
    }
    assert_eq!(database.fake.requests().len(), CASES.len());
    assert_eq!(database.count("hiems.ai_usage_logs"), CASES.len() as i64);
}

#[test]
fn a_long_story_is_cut() {
    let database = Database::new();
    let body = json!({"error": {"code": 400, "message": "å".repeat(100_000)}}).to_string();
    let options = directives(&[("fake_status", "400"), ("fake_body", &body)]);
    let refusal = call(&mut database.admin(), &options).refusal();
    assert_eq!(refusal.sqlstate, "22023");
    assert!(refusal.detail.contains("ååå"));
    assert!(refusal.detail.chars().count() < 3_000);
}

// Some providers repeat the key that they refuse.
#[test]
fn a_key_that_is_repeated_goes_no_further() {
    const REPEATED: &str = "sk-or-v1-repeated-by-the-provider";
    let database = Database::new();
    let mut client = database.admin();
    client.execute("SELECT hiems.set_api_key($1)", &[&REPEATED]).expect("a key");
    let words = format!("Incorrect API key provided: {REPEATED}.");
    let body = json!({"error": {"code": 401, "message": words}}).to_string();
    database.fake.wish(&[("fake_status", "401"), ("fake_body", &body)]);
    let refusal = call(&mut client, "{}").refusal();
    assert_eq!(refusal.sqlstate, "PT503");
    assert!(refusal.detail.contains("Incorrect API key"), "{refusal:?}");
    assert!(!format!("{refusal:?}").contains(REPEATED), "the key stands in the error");
    assert!(!cluster().log().contains(REPEATED), "the key stands in the log");
}
