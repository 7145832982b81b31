//! How long OpenRouter asks to be left alone, in whatever spelling.

use hiems_tests::{Database, ResultExt, SOON, call, directives, wait_until};
use serde_json::json;

// A day's limit is told, and not tried three times in two seconds.
#[test]
fn a_limit_that_is_reset_in_hours_is_told_and_not_tried_again() {
    let database = Database::new();
    let mut client = database.admin();
    for shape in ["platform", "platform_body"] {
        let options = directives(&[("fake_status", "429"), ("fake_error_shape", shape)]);
        let refusal = call(&mut client, &options).refusal();
        assert_eq!(refusal.sqlstate, "PT429");
        let told = refusal.detail.contains("; retry after 21600 s")
            || refusal.detail.contains("; retry after 21599 s");
        assert!(told && refusal.detail.contains("free-models-per-day"), "{refusal:?}");
    }
    assert_eq!(database.fake.requests().len(), 2);
    for row in database.booked() {
        assert_eq!((&row["attempts"], &row["cost_source"]), (&json!(1), &json!("not_billed")));
    }
    // One that waits in the queue is not sent again either: it says for how long.
    let options = directives(&[("fake_status", "429"), ("fake_error_shape", "platform")]);
    let enqueue = "SELECT hiems.enqueue_prompt('openai/gpt-4o-mini', '[{\"role\": \"user\", \"content\": \"x\"}]',
                       options => $1::text::jsonb)";
    client.query_one(enqueue, &[&options]).expect("an id");
    let later = "hiems.calls WHERE state = 'queued' AND run_at > now() + interval '59 minutes'";
    wait_until("it is put off", SOON, || database.count(later) == 1);
    assert_eq!(database.fake.requests().len(), 3);
}

// What can be waited for is: then the call goes through.
#[test]
fn a_limit_that_is_reset_soon_is_waited_for() {
    let database = Database::new();
    let mut client = database.admin();
    let waits: [&[(&str, &str)]; 4] = [
        &[("fake_error_shape", "platform"), ("fake_reset_ms", "300")],
        &[("fake_error_shape", "platform_body"), ("fake_reset_ms", "300")],
        &[("fake_retry_after", "0.2")],
        &[("fake_retry_after", "Tue, 01 Dec 2020 01:00:00 GMT")],
    ];
    for wait in waits {
        let options = directives(&[&[("fake_429_times", "1")], wait].concat());
        call(&mut client, &options).expect("an answer");
    }
    for row in database.booked() {
        assert_eq!((&row["attempts"], &row["outcome"]), (&json!(2), &json!("committed")));
    }
}

// An error that is only a text is one of OpenRouter's all the same, before anything was generated.
#[test]
fn a_429_in_other_words_is_tried_again_and_one_without_an_error_is_not() {
    let database = Database::new();
    let mut client = database.admin();
    for (shape, attempts) in
        [("text", 2), ("code_text", 2), ("message", 1), ("plain", 1), ("page", 1)]
    {
        let before = database.fake.requests().len();
        let wishes =
            [("fake_429_times", "1"), ("fake_retry_after", "0"), ("fake_error_shape", shape)];
        let answer = call(&mut client, &directives(&wishes));
        assert_eq!(answer.is_ok(), attempts == 2, "{shape}");
        assert_eq!(database.fake.requests().len() - before, attempts, "{shape}");
    }
    database.booked();
}
