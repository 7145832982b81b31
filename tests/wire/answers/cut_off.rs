//! Answers that are not whole: whoever gets only the text is warned, and a batch has a column for it.

use std::sync::mpsc::{Receiver, channel};

use hiems_tests::{Database, ResultExt, SOON, cluster};
use postgres::{Client, NoTls};

/// A session, and the message, DETAIL and HINT of what it is warned of.
fn warned(database: &mut Database) -> (Client, Receiver<[String; 3]>) {
    let role = database.role_with("caller");
    let (sender, warnings) = channel();
    let mut config = cluster().config(&database.name, &role);
    config.notice_callback(move |notice| {
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let told = [notice.message().to_owned(), text(notice.detail()), text(notice.hint())];
        // The receiver is there as long as the test.
        let _ = sender.send(told);
    });
    (config.connect(NoTls).expect("a connection"), warnings)
}

const CASES: [(&str, &str, &str); 2] = [
    ("length", "the answer was cut off (finish_reason length)", "max_completion_tokens"),
    ("content_filter", "the answer was filtered (finish_reason content_filter)", "another model"),
];

#[test]
fn complete_and_extract_warn() {
    let mut database = Database::new();
    let (mut client, warnings) = warned(&mut database);
    for (reason, message, hint) in CASES {
        for text in ["", "half a", "[1"] {
            database.fake.wish(&[("fake_finish_reason", reason), ("fake_answer", text)]);
            let answer: Option<String> = client
                .query_one("SELECT hiems.complete('hello', 'openai/gpt-4o-mini')", &[])
                .expect("an answer")
                .get(0);
            assert_eq!(answer.as_deref(), Some(text));
            let told = warnings.recv_timeout(SOON).expect("a warning");
            assert_eq!(told[0], message);
            assert!(told[1].starts_with("call ") && told[2].contains(hint), "{told:?}");
            let refusal = client
                .query_one("SELECT hiems.extract('hello', '{}', 'openai/gpt-4o-mini')", &[])
                .refusal();
            assert_eq!(refusal.sqlstate, "PT422");
            let told = warnings.recv_timeout(SOON).expect("a warning");
            assert_eq!(told[0], message);
        }
    }
    // Whole answers, and calls whose caller has all of the body.
    database.fake.wish(&[]);
    client
        .batch_execute("SELECT hiems.complete('hello', 'openai/gpt-4o-mini')")
        .expect("an answer");
    database.fake.wish(&[("fake_finish_reason", "length")]);
    hiems_tests::call(&mut client, "{}").expect("an answer");
    assert!(warnings.try_recv().is_err());
    database.booked();
}

#[test]
fn a_batch_says_why_each_answer_ended() {
    let database = Database::new();
    let request = |reason: &str, key: &str| {
        serde_json::json!({
            "model": "openai/gpt-4o-mini",
            "messages": [{"role": "user", "content": "x"}],
            "idempotency_key": key,
            "options": {"metadata": {"fake_finish_reason": reason}},
        })
    };
    let refused = serde_json::json!({"model": "openai/gpt-4o-mini", "messages": []});
    let requests = serde_json::json!([
        request("length", "a"),
        request("content_filter", "b"),
        request("stop", "c"),
        refused
    ]);
    let mut client = database.admin();
    // The second time from what is kept.
    for _ in 0..2 {
        let reasons = client
            .query(
                "SELECT finish_reason FROM hiems.submit_prompts($1::text::jsonb) ORDER BY ordinality",
                &[&requests.to_string()],
            )
            .expect("rows");
        let reasons: Vec<Option<String>> = reasons.iter().map(|row| row.get(0)).collect();
        let expected = [Some("length"), Some("content_filter"), Some("stop"), None];
        assert_eq!(reasons, expected.map(|reason| reason.map(str::to_owned)));
    }
    assert_eq!(database.fake.requests().len(), 3);
}
