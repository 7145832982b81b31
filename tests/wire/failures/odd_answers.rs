//! Paid answers that are not as they should be: the caller gets them, and the ledger its row.

use hiems_tests::{ResultExt, call};
use serde_json::{Value, json};

use super::{call_id, canned};

const USAGE: &str = r#""usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7,
                                 "cost": 0.00012}"#;

#[test]
fn what_jsonb_cannot_hold_is_replaced() {
    let (database, canned) = canned();
    let body = format!(
        r#"{{"id": "gen-1", "model": "a/b", "choices": [{{"message": {{
               "content": "nul \u0000 high \ud83d low \ude00 pair \ud83d\ude00 text \\u0000"}}}}],
             {USAGE}}}"#
    );
    canned.answer(200, "", body.as_bytes());
    let answer = call(&mut database.admin(), "{}").expect("an answer");
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    assert_eq!(
        answer["choices"][0]["message"]["content"],
        "nul \u{fffd} high \u{fffd} low \u{fffd} pair \u{1f600} text \\u0000"
    );
    let row = database.ledger().remove(0);
    assert_eq!(row["outcome"], "committed");
    assert_eq!(row["cost_usd"].to_string(), "0.00012");
}

#[test]
fn bytes_that_are_no_text_are_replaced() {
    let (database, canned) = canned();
    let mut body = br#"{"id": "gen-1", "choices": [{"message": {"content": ""#.to_vec();
    body.extend(b"a\xffb\xc3");
    body.extend(format!("\"}}}}], {USAGE}}}").into_bytes());
    canned.answer(200, "", &body);
    let answer = call(&mut database.admin(), "{}").expect("an answer");
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    assert_eq!(answer["choices"][0]["message"]["content"], "a\u{fffd}b\u{fffd}");
    assert_eq!(database.ledger()[0]["cost_usd"].to_string(), "0.00012");
}

#[test]
fn a_usage_of_odd_types_is_not_known_and_harms_nothing() {
    let (database, canned) = canned();
    let mut client = database.admin();
    let usages = [
        "null",
        "[]",
        "\"free\"",
        "{}",
        r#"{"cost": null, "prompt_tokens": null, "is_byok": null, "cost_details": null}"#,
        r#"{"cost": "0.01", "prompt_tokens": "5", "total_tokens": 1.5, "is_byok": "false"}"#,
        r#"{"cost": true, "prompt_tokens": 99999999999999999999, "total_tokens": {}}"#,
        r#"{"cost": [0.01], "prompt_tokens_details": 7, "cost_details": [1]}"#,
    ];
    for usage in usages {
        let body = format!(r#"{{"id": "gen-1", "choices": [{{}}], "usage": {usage}}}"#);
        canned.answer(200, "", body.as_bytes());
        call(&mut client, "{}").expect(usage);
        let row = database.ledger().pop().expect("a row");
        assert_eq!(row["outcome"], "committed", "{usage}");
        assert_eq!(row["cost_source"], "unknown", "{usage}");
        for unknown in ["cost_usd", "prompt_tokens", "total_tokens", "is_byok"] {
            assert_eq!(row[unknown], Value::Null, "{usage}: {unknown}");
        }
    }
    assert_eq!(database.count("hiems.ai_usage_logs"), usages.len() as i64);
}

#[test]
fn an_answer_without_much_is_an_answer() {
    let (database, canned) = canned();
    let mut client = database.admin();
    let bodies = [
        r#"{"choices": []}"#,
        r#"{"choices": [null]}"#,
        r#"{"choices": [{"message": null, "finish_reason": null}], "id": "", "model": null}"#,
        r#"{"choices": [{"message": {"content": null}}], "id": 7, "model": ["a"], "provider": {}}"#,
        r#"{"choices": [{"message": {"content": [{"type": "text", "text": "x"}]}}]}"#,
    ];
    for body in bodies {
        canned.answer(200, "x-generation-id: gen-of-header\r\n", body.as_bytes());
        let text: Option<String> =
            client.query_one("SELECT hiems.complete('hello', 'a/b')", &[]).expect(body).get(0);
        assert_eq!(text, None, "{body}");
        let row = database.ledger().pop().expect("a row");
        // The headers named it, if the body does not.
        assert_eq!(row["generation_id"], "gen-of-header", "{body}");
        assert_eq!(row["model"], Value::Null, "{body}");
        assert_eq!(row["model_requested"], "a/b", "{body}");
    }
}

// It may be given, or refused with the call's id: lost it may not be.
#[test]
fn an_answer_that_is_nested_beyond_all_measure_is_booked() {
    let (database, canned) = canned();
    for depth in [200, 50_000] {
        let nested = "[".repeat(depth) + &"]".repeat(depth);
        let body = format!(
            r#"{{"id": "gen-1", "choices": [{{"message": {{"annotations": {nested}}}}}], {USAGE}}}"#
        );
        canned.answer(200, "", body.as_bytes());
        let answered = call(&mut database.admin(), "{}");
        database.wait_until_booked();
        let row = database.ledger().pop().expect("a row");
        if answered.is_err() {
            assert_eq!(row["id"], json!(call_id(&answered.refusal())), "{depth}");
        }
    }
    assert_eq!(database.count("hiems.ai_usage_logs"), 2);
}
