//! Arguments that cannot be used, and odd ones that can.

use hiems_tests::{Database, Refusal, ResultExt, call, user_message};
use postgres::{Client, Error, Row};
use serde_json::{Value, json};

use super::assert_untouched;

const MODEL: Option<&str> = Some("openai/gpt-4o-mini");
const HELLO: Option<&str> = Some(r#"[{"role": "user", "content": "hello"}]"#);

fn submit(
    client: &mut Client,
    model: Option<&str>,
    messages: Option<&str>,
    options: Option<&str>,
) -> Result<Row, Error> {
    client.query_one(
        "SELECT hiems.submit_prompt($1, $2::text::jsonb, options => $3::text::jsonb)::text",
        &[&model, &messages, &options],
    )
}

fn assert_explained(refusal: &Refusal, detail: &str) {
    assert_eq!(refusal.sqlstate, "22023", "{refusal:?}");
    assert!(refusal.detail.contains(detail), "{refusal:?} has {detail}");
    assert_ne!(refusal.hint, "", "{refusal:?}");
}

#[test]
fn messages_that_are_no_list_of_messages_are_refused() {
    let database = Database::new();
    let mut client = database.admin();
    let cases = [
        (None, "not a JSON array"),
        (Some("null"), "not a JSON array"),
        (Some("{}"), "not a JSON array"),
        (Some(r#"{"role": "user", "content": "x"}"#), "not a JSON array"),
        (Some("1"), "not a JSON array"),
        (Some("true"), "not a JSON array"),
        (Some(r#""hello""#), "cannot be read"),
        (Some(r#""[{""#), "cannot be read"),
        (Some(r#""{}""#), "not a JSON array"),
        (Some("[]"), "empty"),
        (Some(r#""[]""#), "empty"),
        (Some(r#"["hello"]"#), "Message 1 is not an object"),
        (Some("[null]"), "Message 1 is not an object"),
        (Some("[[]]"), "Message 1 is not an object"),
        (Some(r#"[{"role": "user", "content": "x"}, 2]"#), "Message 2 is not an object"),
        (Some(r#"[{"content": "x"}]"#), "Message 1 has no role"),
        (Some(r#"[{"role": null, "content": "x"}]"#), "Message 1 has no role"),
        (Some(r#"[{"role": 7, "content": "x"}]"#), "Message 1 has no role"),
        (
            Some(r#"[{"role": "system", "content": "x"}, {"role": "robot", "content": "x"}]"#),
            "Message 2 has the unknown role \"robot\"",
        ),
        (Some(r#"[{"role": "User", "content": "x"}]"#), "unknown role \"User\""),
        (Some(r#"[{"role": "", "content": "x"}]"#), "unknown role \"\""),
    ];
    for (messages, detail) in cases {
        assert_explained(&submit(&mut client, MODEL, messages, None).refusal(), detail);
    }
    assert_untouched(&database);
}

#[test]
fn a_model_is_needed() {
    let database = Database::new();
    let mut client = database.admin();
    let refusal = submit(&mut client, None, HELLO, None).refusal();
    assert_explained(&refusal, "hiems.default_model");
    assert!(refusal.hint.contains("hiems.default_model"), "{refusal:?}");
    for empty in ["", "  "] {
        assert_explained(&submit(&mut client, Some(empty), HELLO, None).refusal(), "names a model");
    }
    assert_untouched(&database);
    client.batch_execute("SET hiems.default_model = 'google/gemini-2.5-flash'").expect("a setting");
    // An empty one is a mistake, not "none named".
    assert_explained(&submit(&mut client, Some(""), HELLO, None).refusal(), "names a model");
    assert_untouched(&database);
}

#[test]
fn options_that_are_no_object_are_refused() {
    let database = Database::new();
    let mut client = database.admin();
    for options in ["[]", "1", "true", r#""[]""#, r#""1""#, r#"[{"seed": 1}]"#] {
        let refusal = submit(&mut client, MODEL, HELLO, Some(options)).refusal();
        assert_explained(&refusal, "not a JSON object");
    }
    assert_explained(
        &submit(&mut client, MODEL, HELLO, Some(r#""{""#)).refusal(),
        "cannot be read",
    );
    assert_untouched(&database);
}

#[test]
fn options_do_not_set_what_is_not_the_callers() {
    let database = Database::new();
    let mut client = database.admin();
    let fields = [
        "stream",
        "stream_options",
        "user",
        "usage",
        "model",
        "messages",
        "session_id",
        "api_key",
        "authorization",
        "headers",
        "base_url",
    ];
    for field in fields {
        let (head, tail) = field.split_at(1);
        let capitalised = format!("{}{tail}", head.to_uppercase());
        for spelled in [field.to_owned(), field.to_uppercase(), capitalised] {
            let mut options = serde_json::Map::new();
            options.insert("temperature".to_owned(), json!(0.2));
            options.insert(spelled, json!("x"));
            let options = Value::Object(options).to_string();
            let refusal = submit(&mut client, MODEL, HELLO, Some(&options)).refusal();
            assert_explained(&refusal, &format!("\"{field}\""));
            // The same object in a JSON string.
            let options = Value::String(options).to_string();
            let refusal = submit(&mut client, MODEL, HELLO, Some(&options)).refusal();
            assert_explained(&refusal, &format!("\"{field}\""));
        }
    }
    assert_untouched(&database);
}

/// What goes into the journal and the ledger with each call is bounded; a session's id as OpenRouter takes it.
#[test]
fn labels_have_their_lengths() {
    let database = Database::new();
    let mut client = database.admin();
    let sql = |argument: &str| {
        format!(
            "SELECT hiems.submit_prompt($2, $3::text::jsonb, {argument} => repeat('\u{e5}', $1))::text"
        )
    };
    for (argument, longest) in [("\"user\"", 256), ("use_case", 256), ("session_id", 256)] {
        client.query_one(&sql(argument), &[&longest, &MODEL, &HELLO]).expect(argument);
        let refusal = client.query_one(&sql(argument), &[&(longest + 1), &MODEL, &HELLO]).refusal();
        assert_eq!(refusal.sqlstate, "22023", "{argument}");
        assert!(refusal.message.ends_with("is too long"), "{refusal:?}");
    }
    // In octets one more would do; OpenRouter counts characters.
    let ascii =
        "SELECT hiems.submit_prompt($1, $2::text::jsonb, session_id => repeat('x', 257))::text";
    let refusal = client.query_one(ascii, &[&MODEL, &HELLO]).refusal();
    assert!(refusal.detail.contains("257 characters, and OpenRouter takes 256"), "{refusal:?}");
    let metadata = "SELECT hiems.submit_prompt($1, $2::text::jsonb,
                        metadata => jsonb_build_object('k', repeat('x', 65536)))::text";
    assert_eq!(client.query_one(metadata, &[&MODEL, &HELLO]).sqlstate(), "22023");
    let model = "SELECT hiems.complete('hello', repeat('x', 513))";
    assert_eq!(client.query_one(model, &[]).sqlstate(), "22023");
    assert_eq!(database.fake.requests().len(), 3);
}

#[test]
fn a_prompt_is_needed() {
    let database = Database::new();
    let refusal = database
        .admin()
        .query_one("SELECT hiems.complete(NULL, 'openai/gpt-4o-mini')", &[])
        .refusal();
    assert_explained_without_detail(&refusal);
    let refusal = database.admin().query_one("SELECT hiems.complete('hello')", &[]).refusal();
    assert_explained(&refusal, "hiems.default_model");
    assert_untouched(&database);
}

fn assert_explained_without_detail(refusal: &Refusal) {
    assert_eq!(refusal.sqlstate, "22023", "{refusal:?}");
    assert_ne!(refusal.hint, "", "{refusal:?}");
}

#[test]
fn the_session_goes_on_after_a_refusal() {
    let database = Database::new();
    let mut client = database.admin();
    let mut transaction = client.transaction().expect("a transaction");
    let mut savepoint = transaction.transaction().expect("a savepoint");
    let refused = savepoint.query_one("SELECT hiems.submit_prompt(NULL, '[]')", &[]);
    assert_eq!(refused.sqlstate(), "22023");
    savepoint.rollback().expect("back to the savepoint");
    transaction
        .query_one("SELECT hiems.submit_prompt('openai/gpt-4o-mini', $1::text::jsonb)", &[&HELLO])
        .expect("an answer");
    transaction.commit().expect("a commit");
    call(&mut client, "{}").expect("an answer");
    database.wait_until_booked();
    assert_eq!(database.count("hiems.ai_usage_logs"), 2);
}

#[test]
fn odd_arguments_that_can_be_used_are() {
    let database = Database::new();
    let mut client = database.admin();
    client.batch_execute("SET hiems.default_model = 'google/gemini-2.5-flash'").expect("a setting");
    let hello = user_message("hello");
    let in_a_string = Value::String(hello.clone()).to_string();
    let gpt = "openai/gpt-4o-mini";
    let cases = [
        (MODEL, hello.as_str(), None, gpt),
        (MODEL, in_a_string.as_str(), None, gpt),
        (None, hello.as_str(), None, "google/gemini-2.5-flash"),
        (MODEL, hello.as_str(), Some("null"), gpt),
        (MODEL, hello.as_str(), Some("{}"), gpt),
        (MODEL, hello.as_str(), Some(r#""{\"seed\": 7}""#), gpt),
    ];
    for (model, messages, options, _) in cases {
        client
            .query_one(
                "SELECT hiems.submit_prompt($1, $2::text::jsonb, \"user\" => NULL,
                            use_case => NULL, session_id => NULL, metadata => NULL,
                            options => $3::text::jsonb, idempotency_key => NULL)",
                &[&model, &messages, &options],
            )
            .expect("an answer");
    }
    let messages: Value = serde_json::from_str(&hello).expect("JSON");
    let requests = database.fake.requests();
    let rows = database.ledger();
    assert_eq!(requests.len(), cases.len());
    assert_eq!(rows.len(), cases.len());
    for ((request, row), (_, _, options, model)) in requests.iter().zip(&rows).zip(cases) {
        assert_eq!(request.body["messages"], messages);
        assert_eq!(request.body["model"], model);
        let seed = options.is_some_and(|text| text.contains("seed")).then(|| json!(7));
        assert_eq!(request.body.get("seed"), seed.as_ref());
        assert_eq!(request.body.get("session_id"), None);
        assert_eq!(row["model_requested"], model);
        assert_eq!(row["metadata"], Value::Null);
        assert_eq!(row["session_id"], Value::Null);
    }
}
