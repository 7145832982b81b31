//! Paid answers whose body is not as it should be.

use hiems_tests::{Database, call, directives, user_message};
use serde_json::{Value, json};

use super::{
    answered_call, assert_cost_is_unknown, assert_is_settled, assert_is_the_bills, failed_call,
};

// `jsonb` holds neither: what it cannot hold is replaced, the rest reaches the caller.
#[test]
fn what_jsonb_cannot_hold_is_replaced() {
    let database = Database::new();
    let cases = [
        ("nul", "\u{fffd}"),
        ("surrogates", "\u{fffd} \u{fffd}"),
        ("not_utf8", "\u{fffd}\u{fffd}"),
    ];
    for (fault, replaced) in cases {
        let options = directives(&[("fake_fault", fault), ("fake_answer", "å \u{1f600} \\u0000 ")]);
        let (answer, row, billed) = answered_call(&database, &options);
        let content = &answer["choices"][0]["message"]["content"];
        assert_eq!(*content, json!(format!("å \u{1f600} \\u0000 {replaced}end")), "{fault}");
        assert_is_the_bills(&row, &billed);
    }
}

#[test]
fn a_number_that_numeric_cannot_hold_is_null() {
    let database = Database::new();
    let (answer, row, billed) =
        answered_call(&database, &directives(&[("fake_fault", "huge_number")]));
    assert_eq!(answer["system_fingerprint"], Value::Null);
    assert_ne!(answer["choices"][0]["message"]["content"], Value::Null);
    assert_is_the_bills(&row, &billed);
}

// `jsonb` reads by recursion: the caller is refused, and learns under which id it has paid.
#[test]
fn an_answer_that_is_nested_too_deep_is_booked_with_its_cost() {
    let database = Database::new();
    let (refusal, row, billed) = failed_call(&database, &directives(&[("fake_fault", "deep")]));
    assert_eq!(refusal.sqlstate, "PT502", "{refusal:?}");
    assert!(refusal.detail.contains("nested 100004 deep"), "{refusal:?}");
    assert_eq!(row["outcome"], "failed");
    assert_eq!(row["error_code"], "unreadable_answer");
    assert_is_the_bills(&row, &billed);
    // Deep, and not too deep.
    let body = format!("{{\"choices\": [{}{}]}}", "[".repeat(200), "]".repeat(200));
    call(&mut database.admin(), &directives(&[("fake_body", &body)])).expect("an answer");
}

#[test]
fn the_cost_of_a_body_that_is_no_json_is_looked_up() {
    let database = Database::new();
    for fault in ["junk", "half"] {
        let (refusal, row, billed) = failed_call(&database, &directives(&[("fake_fault", fault)]));
        assert_eq!(refusal.sqlstate, "PT502", "{fault}: {refusal:?}");
        assert!(refusal.detail.contains("not JSON"), "{fault}: {refusal:?}");
        assert_eq!(row["outcome"], "failed", "{fault}");
        assert_eq!(row["error_code"], "unreadable_answer", "{fault}");
        assert_eq!(row["http_status"], json!(200), "{fault}");
        // The headers named it.
        assert_is_settled(&row, &billed);
        assert_ne!(billed.cost, "0");
    }
}

// What counts is the body.
#[test]
fn a_wrong_content_type_does_no_harm() {
    let database = Database::new();
    for kind in ["text/html", "text/event-stream", "application/octet-stream", "nonsense"] {
        let options = directives(&[("fake_content_type", kind)]);
        let (_, row, billed) = answered_call(&database, &options);
        assert_is_the_bills(&row, &billed);
    }
}

#[test]
fn a_body_of_a_hundred_megabytes_is_cut_off_and_its_generation_known() {
    let database = Database::new();
    let options = directives(&[("fake_answer_bytes", "104857600")]);
    let (refusal, row, billed) = failed_call(&database, &options);
    assert_eq!(refusal.sqlstate, "PT502", "{refusal:?}");
    assert!(refusal.hint.contains("hiems.max_response_bytes"), "{refusal:?}");
    assert_eq!(row["error_code"], "response_too_large");
    assert_is_settled(&row, &billed);
    // The gateway is as good as new.
    let (_, row, billed) = answered_call(&database, "{}");
    assert_is_the_bills(&row, &billed);
}

#[test]
fn a_large_answer_arrives_where_it_is_allowed() {
    let database = Database::with("hiems.max_response_bytes", "200MB");
    let options = directives(&[("fake_answer_bytes", "104857600"), ("fake_answer", "xyz")]);
    let length: i32 = database
        .admin()
        .query_one(
            "SELECT length(hiems.submit_prompt('openai/gpt-4o-mini', $1::text::jsonb,
                        options => $2::text::jsonb) #>> '{choices,0,message,content}')",
            &[&user_message("hello"), &options],
        )
        .expect("an answer")
        .get(0);
    assert_eq!(length, 104_857_600);
    assert_is_the_bills(&database.ledger()[0], &database.fake.bill()[0]);
}

#[test]
fn an_answer_without_much_is_an_answer() {
    let database = Database::with("hiems.settlement_timeout", "0");
    let mut client = database.admin();
    let bodies = [
        r#"{"choices": []}"#,
        r#"{"choices": [null]}"#,
        r#"{"choices": [{"message": null, "finish_reason": null}], "id": "", "model": null}"#,
        r#"{"choices": [{"message": {"content": null}}], "id": 7, "model": ["a"], "provider": {}}"#,
        r#"{"choices": [{"message": {"content": [{"type": "image", "text": "x"}]}}]}"#,
    ];
    for body in bodies {
        database.fake.wish(&[("fake_body", body)]);
        let text: Option<String> =
            client.query_one("SELECT hiems.complete('hello', 'a/b')", &[]).expect(body).get(0);
        assert_eq!(text, None, "{body}");
        let row = database.ledger().pop().expect("a row");
        // The headers named it, if the body does not.
        let billed = database.fake.bill().pop().expect("a generation");
        assert_eq!(row["generation_id"], json!(billed.id), "{body}");
        assert_eq!(row["model"], Value::Null, "{body}");
        assert_eq!(row["model_requested"], "a/b", "{body}");
        assert_cost_is_unknown(&row);
    }
}
