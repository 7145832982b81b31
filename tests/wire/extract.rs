//! `hiems.extract()`: the answer as JSON that matches a schema.

mod work;

use std::time::{Duration, Instant};

use hiems_tests::{Database, Refusal, ResultExt, directives};
use postgres::{Client, Error};
use serde_json::{Value, json};

/// An answer with this text, and other wishes.
fn wishes(answer: &str, more: &[(&str, &str)]) -> String {
    let mut all = vec![("fake_answer", answer)];
    all.extend(more);
    directives(&all)
}

fn extract(client: &mut Client, schema: &str, options: &str) -> Result<String, Error> {
    let row = client.query_one(
        "SELECT hiems.extract('How much?', $1::text::jsonb, 'openai/gpt-4o-mini',
                              options => $2::text::jsonb)::text",
        &[&schema, &options],
    )?;
    Ok(row.get(0))
}

fn invoice() -> Value {
    json!({
        "type": "object",
        "properties": {
            "total": {"type": "number", "minimum": 0},
            "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}},
        },
        "required": ["total"],
        "additionalProperties": false,
        "$defs": {"line": {"type": "object", "properties": {"sku": {"type": "string", "pattern": "^[A-Z]+$"}}}},
    })
}

#[test]
fn an_answer_that_matches_is_returned_with_every_digit() {
    let database = Database::new();
    let mut client = database.admin();
    let answer = r#"{"total": 1249.500000000000000000010, "lines": [{"sku": "AB"}]}"#;
    let fenced = format!("```json\n{answer}\n```");
    for text in [answer, &fenced] {
        let options = wishes(text, &[]);
        let got = extract(&mut client, &invoice().to_string(), &options).expect("an answer");
        assert!(got.contains("1249.500000000000000000010"), "{got}");
    }
    let body = &database.fake.requests()[0].body;
    let format = &body["response_format"];
    assert_eq!(format["type"], "json_schema");
    assert_eq!(format["json_schema"]["name"], "answer");
    assert_eq!(format["json_schema"]["strict"], true);
    assert_eq!(format["json_schema"]["schema"], invoice());
    assert_eq!(body["provider"], json!({"require_parameters": true}));
    assert_eq!(body["messages"], json!([{"role": "user", "content": "How much?"}]));
    let rows = database.ledger();
    assert!(rows.iter().all(|row| row["outcome"] == "committed"));
    for (row, generation) in rows.iter().zip(database.fake.bill()) {
        assert_eq!(row["cost_usd"].to_string(), generation.cost);
    }
}

#[test]
fn options_go_along() {
    let database = Database::new();
    let mut client = database.admin();
    let mut options: Value = serde_json::from_str(&wishes("1", &[])).expect("JSON");
    options["temperature"] = json!(0.25);
    options["provider"] = json!({"require_parameters": false, "order": ["x"]});
    assert_eq!(extract(&mut client, "{}", &options.to_string()).expect("an answer"), "1");
    let body = database.fake.requests()[0].body.clone();
    assert_eq!(body["temperature"].to_string(), "0.25");
    assert_eq!(body["provider"], options["provider"]);
    for options in [r#"{"response_format": {"type": "text"}}"#, r#"{"Response_Format": null}"#] {
        let refusal = extract(&mut client, "{}", options).refusal();
        assert_eq!(refusal.sqlstate, "22023");
        assert!(refusal.detail.contains("response_format"), "{refusal:?}");
        assert_ne!(refusal.hint, "");
    }
    for options in ["[]", r#"{"stream": true}"#] {
        assert_eq!(extract(&mut client, "{}", options).sqlstate(), "22023");
    }
    assert_eq!(database.fake.requests().len(), 1);
}

/// The whole answer of the call that the error names.
fn whole(client: &mut Client, refusal: &Refusal) -> String {
    let rest = refusal.detail.strip_prefix("call ").expect("the call's id");
    let id = rest.split(':').next().expect("the call's id");
    assert!(refusal.hint.contains(&format!("hiems.await_prompt('{id}')")), "{refusal:?}");
    let wait = "SELECT hiems.await_prompt($1::text::uuid)::text";
    client.query_one(wait, &[&id]).expect("the answer").get(0)
}

#[test]
fn an_answer_that_does_not_match_is_paid_for_and_kept() {
    let database = Database::new();
    let mut client = database.admin();
    let schema = invoice().to_string();
    let cases = [
        (r#"{"total": "much"}"#, "stop", "at /total: "),
        (r#"{"total": -1}"#, "stop", "at /total: "),
        (r#"{"lines": []}"#, "stop", "at the top: "),
        (r#"{"total": 1, "lines": [{"sku": "A"}, {"sku": "a"}]}"#, "stop", "at /lines/1/sku: "),
        (r#"{"total": 1, "more": 2}"#, "stop", "at the top: "),
        (r#"{"total": 1e9999999}"#, "stop", "the answer holds what jsonb refuses"),
        (r#"{"total": 1, "lines": [{"sku": "\u0000"}]}"#, "stop", "the answer holds"),
        ("It is 1249.50 SEK.", "stop", "the answer is not JSON"),
        (r#"Here: {"total": 1}"#, "stop", "the answer is not JSON"),
        ("", "stop", "the answer is not JSON"),
        (r#"{"total": 1"#, "length", "the answer was cut off"),
        (r#"{"total": 1}"#, "length", "the answer was cut off"),
        (r#"{"total": 1}"#, "content_filter", "the answer was filtered"),
    ];
    for (text, finish_reason, what) in cases {
        let options = wishes(text, &[("fake_finish_reason", finish_reason)]);
        let refusal = extract(&mut client, &schema, &options).refusal();
        assert_eq!(refusal.sqlstate, "PT422", "{text}");
        assert!(refusal.detail.contains(&format!(": {what}")), "{text}: {refusal:?}");
        let answer: Value = serde_json::from_str(&whole(&mut client, &refusal)).expect("JSON");
        assert_eq!(answer["choices"][0]["message"]["content"], text);
    }
    database.wait_until_booked();
    let rows = database.ledger();
    assert_eq!(rows.len(), cases.len());
    for (row, generation) in rows.iter().zip(database.fake.bill()) {
        assert_eq!(row["outcome"], "rolled_back");
        assert_eq!(row["cost_usd"].to_string(), generation.cost);
    }
}

#[test]
fn a_refusal_is_no_answer() {
    let database = Database::new();
    let mut client = database.admin();
    let bodies = [
        (
            json!({"role": "assistant", "content": null, "refusal": "I will not."}),
            "the model refused: I will not.",
        ),
        (
            json!({"role": "assistant", "content": "{}", "refusal": "I will not."}),
            "the model refused: I will not.",
        ),
        (json!({"role": "assistant", "content": null}), "the answer has no text"),
    ];
    for (message, what) in bodies {
        let body =
            json!({"id": "gen-1", "choices": [{"message": message}], "usage": {"cost": 0.5}});
        let options = directives(&[("fake_body", &body.to_string())]);
        let refusal = extract(&mut client, "{}", &options).refusal();
        assert_eq!(refusal.sqlstate, "PT422");
        assert!(refusal.detail.ends_with(&format!(": {what}")), "{refusal:?}");
    }
}

#[test]
fn a_schema_that_cannot_be_used_is_refused_before_anything_is_sent() {
    let database = Database::new();
    let mut client = database.admin();
    let mut nested = json!({});
    for _ in 0..200 {
        nested = json!({"items": nested});
    }
    let many: serde_json::Map<String, Value> =
        (0..40_000).map(|n| (format!("property {n}"), json!({"type": "string"}))).collect();
    let cases = [
        json!(true),
        json!([]),
        json!("x"),
        json!({"type": "strin"}),
        json!({"type": 5}),
        json!({"properties": []}),
        json!({"required": "a"}),
        json!({"minimum": "1"}),
        json!({"$ref": "#/$defs/nowhere"}),
        json!({"$ref": 1}),
        json!({"$ref": database.fake.base_url()}),
        json!({"$ref": "file:///etc/passwd"}),
        json!({"$dynamicRef": "#a"}),
        json!({"pattern": "("}),
        json!({"pattern": "(a)\\1"}),
        json!({"pattern": "(a{1000}){1000}"}),
        nested,
        json!({"properties": many}),
    ];
    let begin = Instant::now();
    for schema in cases {
        let text = schema.to_string();
        let refusal = extract(&mut client, &text, "{}").refusal();
        let start: String = text.chars().take(100).collect();
        assert_eq!(refusal.sqlstate, "22023", "{start}: {refusal:?}");
        assert_ne!(refusal.detail, "", "{start}");
        assert!(refusal.detail.len() < 1200, "{start}: {} octets", refusal.detail.len());
    }
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    let null = client.query_one("SELECT hiems.extract('x', NULL)", &[]);
    assert_eq!(null.sqlstate(), "22023");
    let null = client.query_one("SELECT hiems.extract(NULL, '{}')", &[]);
    assert_eq!(null.sqlstate(), "22023");
    assert_eq!(database.fake.requests().len(), 0);
    assert_eq!(database.count("hiems_private.calls"), 0);
}

#[test]
fn an_answer_cannot_hold_the_backend_up() {
    let database = Database::new();
    let mut client = database.admin();
    let begin = Instant::now();
    let slow = json!({"type": "string", "pattern": "^(a+)+$"}).to_string();
    let text = json!(format!("{}b", "a".repeat(20_000))).to_string();
    assert_eq!(extract(&mut client, &slow, &wishes(&text, &[])).sqlstate(), "PT422");
    // Two ways at each level.
    let item = json!({"anyOf": [{"$ref": "#"}, {"$ref": "#"}]});
    let tree = json!({"anyOf": [{"type": "string"}, {"type": "array", "items": item}]}).to_string();
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    for depth in [3, 60, 99, 120, 20_000] {
        assert_eq!(extract(&mut client, &tree, &wishes(&nested(depth), &[])).sqlstate(), "PT422");
    }
    let list = json!({"anyOf": [{"type": "number"}, {"type": "array", "items": {"$ref": "#"}}]});
    let answer = extract(&mut client, &list.to_string(), &wishes(&nested(90), &[]));
    assert_eq!(answer.expect("an answer"), nested(90));
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    client.batch_execute("SELECT 1").expect("the session lives");
}

#[test]
fn rights_and_users_are_as_in_complete() {
    let mut database = Database::new();
    let role = database.role_with("caller");
    let reader = database.role_with("reader");
    let row = database.connect(&role).query_one(
        "SELECT hiems.extract('x', '{}', 'a/b', 'u1', 'forms', $1::text::jsonb)::text",
        &[&wishes("{}", &[])],
    );
    assert_eq!(row.expect("an answer").get::<_, &str>(0), "{}");
    let rows = database.ledger();
    assert_eq!((&rows[0]["user_id"], &rows[0]["use_case"]), (&json!("u1"), &json!("forms")));
    // Whoever may not call is told so first.
    let mut reader = database.connect(&reader);
    assert_eq!(extract(&mut reader, "[]", "{}").sqlstate(), "42501");
    let mut client = database.admin();
    client.batch_execute("BEGIN READ ONLY").expect("a transaction");
    assert_eq!(extract(&mut client, "{}", "{}").sqlstate(), "25006");
}
