//! How arguments arrive from HTTP: nulls, texts for JSON, names that there are not, GET.

use serde_json::{Value, json};

use super::site::{Site, prompt};

#[test]
fn null_is_as_if_it_were_left_out() {
    let site = Site::new();
    let ada = site.user("ada");
    let mut arguments = prompt(&[]);
    for name in ["user", "use_case", "session_id", "metadata", "options", "idempotency_key"] {
        arguments[name] = Value::Null;
    }
    let answer = site.rpc(&ada, "submit_prompt", &arguments);
    assert_eq!(answer.status, 200, "{answer:?}");
    for (name, said) in [("model", "no model is named"), ("messages", "")] {
        let mut arguments = prompt(&[]);
        arguments[name] = Value::Null;
        let answer = site.rpc(&ada, "submit_prompt", &arguments);
        assert_eq!((answer.status, answer.text("code")), (400, "22023"), "{name}: {answer:?}");
        assert!(answer.text("message").contains(said), "{name}: {answer:?}");
    }
    for name in ["run_at", "priority", "max_attempts"] {
        let mut arguments = prompt(&[]);
        arguments[name] = Value::Null;
        let answer = site.rpc(&ada, "enqueue_prompt", &arguments);
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
    }
    site.database.wait_until_booked();
    assert_eq!(site.database.count("hiems.ai_usage_logs"), 4);
}

/// A client that stringifies once too often: the text holds the JSON that was meant.
#[test]
fn messages_as_a_text_of_json_are_taken() {
    let site = Site::new();
    let ada = site.user("ada");
    let mut arguments = prompt(&[]);
    arguments["messages"] = json!(arguments["messages"].to_string());
    arguments["options"] = json!(r#"{"temperature": 0.5}"#);
    arguments["metadata"] = json!(r#"{"order": 7}"#);
    let answer = site.rpc(&ada, "submit_prompt", &arguments);
    assert_eq!(answer.status, 200, "{answer:?}");
    let sent = &site.database.fake.requests()[0];
    let body = &sent.body;
    assert_eq!(body["messages"], json!([{"role": "user", "content": "hello"}]));
    assert_eq!(body["temperature"], json!(0.5));
    site.database.wait_until_booked();
    // Metadata may be any JSON, a text too: it is kept as it is.
    assert_eq!(site.database.ledger()[0]["metadata"], json!(r#"{"order": 7}"#));
    arguments["messages"] = json!("hello");
    let answer = site.rpc(&ada, "submit_prompt", &arguments);
    assert_eq!((answer.status, answer.text("code")), (400, "22023"), "{answer:?}");
}

#[test]
fn an_argument_that_there_is_not_is_404_and_sends_nothing() {
    let site = Site::new();
    let mut arguments = prompt(&[]);
    arguments["max_tokens"] = json!(10);
    let answer = site.rpc(&site.user("ada"), "submit_prompt", &arguments);
    assert_eq!((answer.status, answer.text("code")), (404, "PGRST202"), "{answer:?}");
    assert!(answer.text("details").contains("max_tokens"), "{answer:?}");
    assert_eq!(site.database.fake.request_count(), 0);
}

/// A link, a prefetch, a crawler: GET is read-only, and nothing is sent.
#[test]
fn get_spends_nothing() {
    let site = Site::new();
    let ada = site.user("ada");
    let query = "model=openai%2Fgpt-4o-mini&messages=%5B%7B%22role%22%3A%22user%22%2C%22content%22%3A%22x%22%7D%5D";
    for path in [
        format!("/rpc/submit_prompt?{query}"),
        format!("/rpc/enqueue_prompt?{query}"),
        "/rpc/complete?prompt=hello&model=openai%2Fgpt-4o-mini".to_owned(),
    ] {
        let answer = site.get(&ada, &path);
        assert_eq!((answer.status, answer.text("code")), (405, "25006"), "{path}: {answer:?}");
        assert!(answer.text("hint").contains("POST"), "{path}: {answer:?}");
    }
    assert_eq!(site.database.fake.request_count(), 0);
    assert_eq!(site.database.count("hiems_private.queue"), 0);
}
