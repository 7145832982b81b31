//! Every column of a row, against the request and the bill.

use hiems_tests::{Database, KEY};
use serde_json::{Value, json};

/// What the fake received and generated.
const OPTIONS: &str = r#"{
    "temperature": 0.10, "top_p": 1e-3, "seed": 12345678901234567890, "max_completion_tokens": 500,
    "provider": {"sort": "price", "max_price": {"prompt": 2.50}}, "stop": null,
    "metadata": {"order": "17", "fake_cost": "0.0076509169000000005",
                 "fake_answer": "Hej!", "fake_delay_ms": "20"}}"#;
const MESSAGES: &str = r#"[{"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "Hej?"}], "name": "åsa"}]"#;
const METADATA: &str =
    r#"{"order": 17, "price": 1.50, "list": [1.0, 2e3, null, "å"], "deep": {"a": {}}}"#;

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// The one call of these tests, in its own transaction: its answer, and the transaction's id.
fn rich_call(database: &Database) -> (Value, Value) {
    let mut client = database.admin();
    let mut transaction = client.transaction().expect("a transaction");
    let row = transaction
        .query_one(
            "SELECT hiems.submit_prompt('anthropic/claude-sonnet-4.5', $1::text::jsonb,
                        \"user\" => 'kund-42', use_case => 'support', session_id => 'chat-7',
                        metadata => $2::text::jsonb, options => $3::text::jsonb)::text,
                    pg_current_xact_id()::text",
            &[&MESSAGES, &METADATA, &OPTIONS],
        )
        .expect("an answer");
    transaction.commit().expect("a commit");
    (parsed(row.get(0)), parsed(row.get(1)))
}

#[test]
fn every_column_is_what_the_bill_and_the_request_say() {
    let database = Database::new();
    database
        .admin()
        .batch_execute(
            "SELECT hiems.set_exchange_rate('USD', 10.4521, current_date - 2, 'Riksbanken')",
        )
        .expect("a rate");
    let (answer, xid) = rich_call(&database);
    let mut rows = database.ledger();
    assert_eq!(rows.len(), 1);
    let mut row = rows.remove(0);
    let day = database.text("SELECT (current_date - 2)::text", &[]);
    let bills = database.fake.bill();
    let bill = &bills[0];

    let column = |row: &Value, name: &str| row[name].as_str().expect(name).to_owned();
    let id = column(&row, "id");
    assert_eq!(id.as_bytes()[14], b'7', "a UUID of version 7: {id}");
    assert!(column(&row, "created_at") <= column(&row, "booked_at"), "{row}");
    assert!(row["latency_ms"].as_i64().expect("a number") >= 20, "{row}");
    let fields = row.as_object_mut().expect("a row");
    for known in ["id", "created_at", "booked_at", "latency_ms"] {
        fields.remove(known);
    }
    let cost = parsed("0.0076509169000000005");
    let expected = json!({
        "generation_id": bill.id,
        "model": bill.model,
        "model_requested": "anthropic/claude-sonnet-4.5",
        "provider": bill.provider,
        "user_id": "kund-42",
        "use_case": "support",
        "session_id": "chat-7",
        "metadata": parsed(&METADATA.replace("2e3", "2000")),
        "prompt_tokens": bill.prompt_tokens,
        "completion_tokens": bill.completion_tokens,
        "total_tokens": bill.prompt_tokens + bill.completion_tokens,
        "cached_tokens": bill.cached_tokens,
        "cache_write_tokens": bill.cache_write_tokens,
        "reasoning_tokens": bill.reasoning_tokens,
        "cost_usd": cost,
        "upstream_cost_usd": cost,
        "is_byok": false,
        "cost_source": "billed",
        "cost_sek": parsed("0.07996814853049000522605"),
        "usd_sek_rate": parsed("10.4521"),
        "rate_date": day,
        "rate_source": "Riksbanken",
        "outcome": "committed",
        "finish_reason": bill.finish_reason,
        "native_finish_reason": bill.native_finish_reason,
        "http_status": 200,
        "error_code": null,
        "first_token_ms": null,
        "attempts": 1,
        "streamed": false,
        "booked_xid": xid.to_string(),
        "principal": "role:postgres",
        "key_name": "default",
        "role_name": "postgres",
        "application_name": "hiems-tests",
        "adjusts": null,
        "calls": 1,
    });
    assert_eq!(row, expected);
    // What the bill says of the request.
    assert_eq!(bill.cost, "0.0076509169000000005");
    assert_eq!(bill.user.as_deref(), Some("kund-42"));
    assert_eq!(bill.session_id.as_deref(), Some("chat-7"));
    // The answer is the body, whole.
    assert_eq!(answer["id"], json!(bill.id));
    assert_eq!(answer["usage"]["cost"], cost);
    assert_eq!(answer["choices"][0]["message"]["content"], "Hej!");
    assert_eq!(answer["choices"][0]["message"]["refusal"], Value::Null);
}

#[test]
fn the_request_is_what_the_caller_asked_for_and_nothing_more() {
    let database = Database::new();
    rich_call(&database);
    let requests = database.fake.requests();
    assert_eq!(requests.len(), 1);
    let request = &requests[0];
    // As jsonb keeps them: digits as written, exponents written out.
    let mut expected = parsed(&OPTIONS.replace("1e-3", "0.001"));
    expected["model"] = json!("anthropic/claude-sonnet-4.5");
    expected["messages"] = parsed(MESSAGES);
    expected["user"] = json!("kund-42");
    expected["session_id"] = json!("chat-7");
    expected["usage"] = json!({"include": true});
    expected["stream"] = json!(false);
    assert_eq!(request.body, expected);
    assert_eq!(request.key, KEY);
    let header = |name: &str| {
        let values: Vec<&str> = request
            .headers
            .iter()
            .filter(|(header, _)| header == name)
            .map(|(_, value)| value.as_str())
            .collect();
        values.join(", ")
    };
    assert_eq!(header("authorization"), format!("Bearer {KEY}"));
    assert_eq!(header("content-type"), "application/json");
    assert!(header("user-agent").starts_with("hiems/"), "{request:?}");
    // Who asks stays here, but for what the caller passes on.
    let sent = request.body.to_string();
    for kept in ["support", "role:postgres", "hiems-tests", KEY] {
        assert!(!sent.contains(kept), "{kept} was sent");
    }
}
