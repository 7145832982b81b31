//! What comes in another spelling than OpenRouter's own: content, frames, packed bodies, errors.

use hiems_tests::{Database, ResultExt, call};
use serde_json::{Value, json};

use super::{call_of, counted, failure, forms, raw};

// In each form, whole and streamed: a byte order mark, the end of a stream, gzip, and all of them.
#[test]
fn what_stands_around_an_answer_and_how_it_is_packed_changes_nothing() {
    let database = Database::new();
    let mut client = database.admin();
    let frames: [&[(&str, &str)]; 5] = [
        &[("fake_before", "\u{feff}")],
        &[("fake_after", "\n\ndata: [DONE]\n\n")],
        &[("fake_after", "data:[DONE]")],
        &[("fake_packed", "true")],
        &[
            ("fake_packed", "true"),
            ("fake_before", "\u{feff}"),
            ("fake_after", "\n\ndata: [DONE]\n\n"),
        ],
    ];
    for frame in frames {
        database.fake.wish(&[frame, &[("fake_answer", "[1, 2]")]].concat());
        for (form, statement) in forms() {
            if form == "queue" {
                let id: String = client.query_one(&statement, &[]).expect("an id").get(0);
                let waiting = "SELECT hiems.await_prompt($1::text::uuid, '1 minute')
                                   #>> '{choices,0,message,content}'";
                let answer: String = client.query_one(waiting, &[&id]).expect("an answer").get(0);
                assert_eq!(answer, "[1, 2]", "{frame:?}");
                continue;
            }
            if let Err(error) = client.batch_execute(&statement) {
                panic!("{form} {frame:?}: {error:?}");
            }
        }
        let text: String = client
            .query_one("SELECT hiems.complete('hello', 'openai/gpt-4o-mini')", &[])
            .expect("an answer")
            .get(0);
        assert_eq!(text, "[1, 2]", "{frame:?}");
    }
    for row in database.booked() {
        assert_eq!((&row["outcome"], &row["cost_source"]), (&json!("committed"), &json!("billed")));
    }
    // Whatever is asked of OpenRouter, it is asked not to pack it, and told whether to stream.
    for request in database.fake.requests() {
        let encoding = request.headers.iter().find(|(name, _)| name == "accept-encoding");
        assert_eq!(encoding.map(|(_, value)| value.as_str()), Some("identity"));
        assert!(request.body["stream"].is_boolean(), "{}", request.body);
    }
}

// Bounded as it is unpacked, not as it comes.
#[test]
fn a_packed_answer_is_as_large_as_it_is_unpacked() {
    let database = Database::with("hiems.max_response_bytes", "64kB");
    let mut client = database.admin();
    database.fake.wish(&[("fake_packed", "true"), ("fake_answer_bytes", "3000000")]);
    for (form, statement) in [&forms()[0], &forms()[4]] {
        let refusal = failure(&mut client, form, statement);
        assert_eq!(refusal.sqlstate, "PT502", "{form}");
        assert!(refusal.hint.contains("hiems.max_response_bytes"), "{refusal:?}");
    }
    for row in database.booked() {
        assert_eq!(
            (&row["error_code"], &row["cost_source"]),
            (&json!("response_too_large"), &json!("settled"))
        );
    }
}

#[test]
fn a_content_of_parts_is_a_text() {
    let database = Database::new();
    let mut client = database.admin();
    database
        .fake
        .wish(&[("fake_content_parts", "true"), ("fake_answer", r#"{"snow": "Schnee å"}"#)]);
    let texts = client
        .query_one(
            "SELECT hiems.complete('hello', 'openai/gpt-4o-mini'),
                    hiems.extract('hello', '{\"required\": [\"snow\"]}', 'openai/gpt-4o-mini') ->> 'snow',
                    (SELECT content FROM hiems.submit_prompts('[{\"model\": \"openai/gpt-4o-mini\",
                         \"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}]'))",
            &[],
        )
        .expect("texts");
    let texts = [0, 1, 2].map(|column| texts.get::<_, String>(column));
    assert_eq!(texts, [r#"{"snow": "Schnee å"}"#, "Schnee å", r#"{"snow": "Schnee å"}"#]);
    database.booked();
}

/// Shape, and what of the fake's words stands in DETAIL.
const SHAPES: [(&str, &str); 8] = [
    ("code_text", "Provider returned error"),
    ("text", "Provider returned error"),
    ("number", "HTTP 400: 400"),
    ("list", "Provider returned error"),
    ("message", "Provider returned error"),
    ("detail", "body.messages: Provider returned error"),
    ("plain", "Provider returned error"),
    ("page", "HTTP 400"),
];

#[test]
fn a_refusal_says_why_in_whatever_shape_and_is_not_of_unknown_cost() {
    let database = Database::new();
    let mut client = database.admin();
    let mut calls = 0;
    for (shape, words) in SHAPES {
        database.fake.wish(&[("fake_status", "400"), ("fake_error_shape", shape)]);
        for (form, statement) in forms() {
            let refusal = failure(&mut client, form, &statement);
            assert_eq!(refusal.sqlstate, "22023", "{shape} {form}: {refusal:?}");
            assert!(refusal.detail.contains(words), "{shape} {form}: {refusal:?}");
            calls += 1;
        }
    }
    assert_eq!(database.fake.requests().len(), calls);
    for row in database.booked() {
        assert_eq!(
            (&row["outcome"], &row["cost_source"]),
            (&json!("failed"), &json!("not_billed"))
        );
    }
    assert_eq!(counted(&database), Some(format!("{calls} {calls} 0")));
    // Where the model may be running, the same words are no proof of anything.
    let database = Database::with("hiems.settlement_timeout", "0");
    let mut client = database.admin();
    for shape in ["text", "message", "plain"] {
        database.fake.wish(&[("fake_status", "503"), ("fake_error_shape", shape)]);
        let refusal = call(&mut client, "{}").refusal();
        assert!(refusal.detail.contains("no available model provider"), "{refusal:?}");
    }
    assert_eq!(database.fake.requests().len(), 3);
    database.wait_until_booked();
    assert_eq!(counted(&database).as_deref(), Some("3 3 3"));
}

// At status 200, without choices.
#[test]
fn an_answer_without_choices_says_what_it_says() {
    let database = Database::with("hiems.settlement_timeout", "0");
    let mut client = database.admin();
    database.fake.wish(&[("fake_body", r#"{"message": "no Route matched with those values"}"#)]);
    let refusal = call(&mut client, "{}").refusal();
    assert_eq!(refusal.sqlstate, "PT502");
    assert!(refusal.detail.contains("no choices: no Route matched"), "{refusal:?}");
}

#[test]
fn a_stream_that_nobody_asked_for_is_booked_with_its_cost() {
    let database = Database::with("hiems.settlement_timeout", "0");
    let mut client = database.admin();
    let pieces = "data: {\"id\":\"gen-1\",\"choices\":[{\"delta\":{\"content\":\"half\"}}]}\n\n\
                  data: {\"choices\":[],\"usage\":{\"cost\":0.125}}\n\ndata: [DONE]\n\n";
    database.fake.wish(&[("fake_body", pieces)]);
    let refusal = call(&mut client, "{}").refusal();
    assert_eq!(refusal.sqlstate, "PT502");
    assert!(refusal.detail.contains("a stream, which was not asked for"), "{refusal:?}");
    assert!(raw(&mut client, &call_of(&refusal)).contains("half"));
    let whole = r#"{"id":"gen-2","choices":[{"message":{"content":"hi"}}],"usage":{"cost":0.25}}"#;
    database.fake.wish(&[("fake_body", &format!("data: {whole}\n\ndata: [DONE]\n\n"))]);
    let answer = call(&mut client, "{}").expect("an answer");
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    assert_eq!(answer["choices"][0]["message"]["content"], "hi");
    database.wait_until_booked();
    let costs: Vec<String> =
        database.ledger().iter().map(|row| row["cost_usd"].to_string()).collect();
    assert_eq!(costs, ["0.125", "0.25"]);
}
