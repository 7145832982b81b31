//! Texts go out and come back as they are.

use hiems_tests::{Database, directives};
use serde_json::json;

/// Sends a text and has the fake answer it; gives the answer as SQL sees it.
fn echo(database: &Database, text: &str) -> Option<String> {
    let messages = json!([{"role": "user", "content": text}]).to_string();
    let answer = database.text(
        "SELECT hiems.submit_prompt('openai/gpt-4o-mini', $1::text::jsonb,
                    options => $2::text::jsonb) #>> '{choices,0,message,content}'",
        &[&messages, &directives(&[("fake_answer", text)])],
    );
    let sent = database.fake.requests().pop().expect("a request");
    let content = &sent.body["messages"][0]["content"];
    assert!(content.as_str() == Some(text), "the prompt was changed");
    answer
}

#[test]
fn odd_texts_are_kept() {
    let database = Database::new();
    let texts = [
        "",
        " leading and trailing ",
        "quotes ' \" ` and \\ / %s $1 {}",
        "lines\n\r\n\ttabs \u{8}\u{c}\u{1}\u{7f}",
        "åäö Ω 漢字 👩‍👩‍👧‍👦 🇸🇪 \u{1d11e} \u{2028}\u{2029}\u{feff}\u{fffd}\u{10ffff}",
        // Escapes that are text: nothing may read them as what they spell.
        r"\u0000 \ud83d \ude00 \\u0000",
        r#"'); DROP TABLE hiems.ai_usage_logs; -- {"error": {"code": 402}}"#,
        "data: [DONE]\n\n: OPENROUTER PROCESSING\n\n",
    ];
    for text in texts {
        assert_eq!(echo(&database, text).as_deref(), Some(text));
    }
    assert_eq!(database.count("hiems.ai_usage_logs"), texts.len() as i64);
}

#[test]
fn a_megabyte_goes_both_ways() {
    let database = Database::new();
    let text = "En rad med åäö, \"citat\" och 🦀.\n".repeat(30_000);
    assert!(text.len() > 1_000_000);
    assert!(echo(&database, &text).as_deref() == Some(&text));
    let row = database.ledger().remove(0);
    let bill = &database.fake.bill()[0];
    assert_eq!(row["prompt_tokens"], json!(bill.prompt_tokens));
    assert_eq!(row["completion_tokens"], json!(bill.completion_tokens));
}

#[test]
fn labels_are_kept_as_they_are() {
    let database = Database::new();
    let odd = "å \"quoted\" 'x' \\ 👩‍👧 \n end";
    database
        .admin()
        .query_one(
            "SELECT hiems.submit_prompt('openai/gpt-4o-mini',
                        '[{\"role\": \"user\", \"content\": \"x\"}]', \"user\" => $1,
                        use_case => $1, session_id => $1, metadata => jsonb_build_object($1::text, $1::text))",
            &[&odd],
        )
        .expect("an answer");
    let row = database.ledger().remove(0);
    let request = database.fake.requests().remove(0);
    for column in ["user_id", "use_case", "session_id"] {
        assert_eq!(row[column], odd, "{column}");
    }
    assert_eq!(row["metadata"], json!({odd: odd}));
    assert_eq!(request.body["user"], odd);
    assert_eq!(request.body["session_id"], odd);
}

// Neither prompts nor answers are kept in the ledger.
#[test]
fn content_is_not_kept() {
    let database = Database::new();
    echo(&database, "a very private text");
    database.wait_until_booked();
    let row = database.ledger().remove(0).to_string();
    assert!(!row.contains("private"), "{row}");
}
