//! What goes over HTTP: attempts, headers, sizes.

mod attempts;

use hiems_tests::{Database, KEY, ResultExt, call};

#[test]
fn the_application_is_named_by_settings() {
    let database = Database::without_key();
    for (setting, value) in [
        ("hiems.app_url", "https://example.org/app"),
        ("hiems.app_title", "Räkna"),
        ("hiems.app_categories", "productivity,writing-assistant"),
    ] {
        database.set(setting, value);
    }
    database.admin().execute("SELECT hiems.set_api_key($1)", &[&KEY]).expect("a key");
    call(&mut database.admin(), "{}").expect("an answer");
    let headers = database.fake.requests().remove(0).headers;
    let header = |name: &str| {
        let found = headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    assert_eq!(header("http-referer"), "https://example.org/app");
    assert_eq!(header("x-openrouter-title"), "Räkna");
    assert_eq!(header("x-openrouter-categories"), "productivity,writing-assistant");
    assert_eq!(header("referer"), "");
}

#[test]
fn an_application_that_no_header_can_name_is_a_wrong_setting() {
    let database = Database::without_key();
    database.set("hiems.app_title", "two\nlines");
    database.admin().execute("SELECT hiems.set_api_key($1)", &[&KEY]).expect("a key");
    let refusal = call(&mut database.admin(), "{}").refusal();
    assert_eq!(refusal.sqlstate, "PT503");
    assert!(refusal.detail.contains("hiems.app_title"), "{refusal:?}");
    assert_eq!(database.fake.requests().len(), 0);
}

#[test]
fn users_cannot_name_the_application() {
    let mut database = Database::new();
    let role = database.role_with("caller");
    let mut client = database.connect(&role);
    client.batch_execute("LOAD 'hiems'").expect_err("not a caller's to load");
    call(&mut client, "{}").expect("an answer");
    for setting in ["app_url", "app_title", "app_categories", "max_attempts", "max_request_bytes"] {
        let set = client.batch_execute(&format!("SET hiems.{setting} = '2000'"));
        assert_eq!(set.sqlstate(), "42501", "{setting}");
    }
}

#[test]
fn a_request_that_is_too_large_is_refused_before_anything_is_sent() {
    let mut database = Database::new();
    let role = database.role_with("caller");
    database.set("hiems.max_request_bytes", "100kB");
    let mut client = database.connect(&role);
    let complete = "SELECT hiems.complete(repeat('x', $1), 'openai/gpt-4o-mini')";
    client.query_one(complete, &[&100_000]).expect("an answer");
    let refusal = client.query_one(complete, &[&102_400]).refusal();
    assert_eq!(refusal.sqlstate, "PT413");
    assert!(refusal.detail.contains("and may have 102400"), "{refusal:?}");
    assert!(refusal.hint.contains("hiems.max_request_bytes"), "{refusal:?}");
    let options = format!(r#"{{"stop": "{}"}}"#, "x".repeat(102_400));
    assert_eq!(call(&mut client, &options).sqlstate(), "PT413");
    assert_eq!(database.fake.requests().len(), 1);
    assert_eq!(database.count("hiems.ai_usage_logs"), 1);
}
