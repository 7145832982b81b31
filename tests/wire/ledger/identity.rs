//! Who called, for whom, and what for.

use hiems_tests::{Database, user_message};
use postgres::Client;
use serde_json::{Value, json};

/// One call with these further arguments, as SQL.
fn call_with(client: &mut Client, arguments: &str) {
    client
        .query_one(
            &format!(
                "SELECT hiems.submit_prompt('openai/gpt-4o-mini', $1::text::jsonb{arguments})"
            ),
            &[&user_message("hello")],
        )
        .expect("an answer");
}

#[test]
fn the_user_is_the_role_where_none_is_named() {
    let mut database = Database::new();
    let role = database.role_with("caller");
    let mut client = database.connect(&role);
    call_with(&mut client, "");
    call_with(&mut client, ", \"user\" => ''");
    call_with(&mut client, ", \"user\" => 'kund-42'");
    let rows = database.ledger();
    let users: Vec<_> = rows.iter().map(|row| row["user_id"].clone()).collect();
    assert_eq!(users, [json!(role), json!(role), json!("kund-42")]);
    for (row, request) in rows.iter().zip(database.fake.requests()) {
        // A label does not change who called.
        assert_eq!(row["principal"], json!(format!("role:{role}")));
        assert_eq!(row["role_name"], json!(role));
        assert_eq!(request.body["user"], row["user_id"]);
    }
}

#[test]
fn the_role_is_the_one_whose_rights_counted() {
    let mut database = Database::new();
    let role = database.role_with("caller");
    let mut client = database.admin();
    client
        .batch_execute(&format!("SET ROLE {role}; SET application_name = 'shop'"))
        .expect("a role");
    call_with(&mut client, "");
    let row = database.ledger().remove(0);
    assert_eq!(row["principal"], json!(format!("role:{role}")));
    assert_eq!(row["role_name"], json!(role));
    assert_eq!(row["user_id"], json!(role));
    assert_eq!(row["application_name"], "shop");
}

#[test]
fn the_use_case_is_the_argument_or_else_the_setting() {
    let database = Database::new();
    let mut client = database.admin();
    call_with(&mut client, "");
    client.batch_execute("SET hiems.use_case = 'batch'").expect("a setting");
    call_with(&mut client, "");
    call_with(&mut client, ", use_case => ''");
    call_with(&mut client, ", use_case => 'support'");
    let cases: Vec<_> = database.ledger().iter().map(|row| row["use_case"].clone()).collect();
    assert_eq!(cases, [Value::Null, json!("batch"), json!("batch"), json!("support")]);
    let shown = database.text(
        "SELECT string_agg(use_case || ' ' || calls, ', ' ORDER BY use_case)
         FROM hiems.usage_by_use_case",
        &[],
    );
    assert_eq!(shown.as_deref(), Some("batch 2, support 1, unspecified 1"));
}

#[test]
fn the_key_is_the_settings() {
    let database = Database::new();
    let mut client = database.admin();
    client
        .batch_execute(
            "SELECT hiems.set_api_key('sk-or-v1-of-marketing', 'marketing');
             SET hiems.api_key_name = 'marketing'",
        )
        .expect("a key");
    call_with(&mut client, "");
    assert_eq!(database.ledger()[0]["key_name"], "marketing");
    assert_eq!(database.fake.requests()[0].key, "sk-or-v1-of-marketing");
}

#[test]
fn complete_books_as_a_call_does() {
    let mut database = Database::new();
    let role = database.role_with("caller");
    let mut client = database.connect(&role);
    client.batch_execute("SET hiems.default_model = 'openai/gpt-4o-mini'").expect("a setting");
    let text: String = client
        .query_one(
            "SELECT hiems.complete('Say \"hello\".', use_case => 'greeting', \"user\" => 'u1')",
            &[],
        )
        .expect("an answer")
        .get(0);
    let requests = database.fake.requests();
    let message = json!([{"role": "user", "content": "Say \"hello\"."}]);
    assert_eq!(requests[0].body["messages"], message);
    let row = database.ledger().remove(0);
    let bill = &database.fake.bill()[0];
    assert_eq!(row["generation_id"], json!(bill.id));
    assert_eq!(row["model_requested"], "openai/gpt-4o-mini");
    assert_eq!(row["use_case"], "greeting");
    assert_eq!(row["user_id"], "u1");
    assert_eq!(row["role_name"], json!(role));
    assert_eq!(row["outcome"], "committed");
    assert_eq!(row["completion_tokens"], json!(bill.completion_tokens));
    // A fake of the same seed answers the same question alike, in the long form as in the short.
    let other = Database::new();
    let long = other.text(
        "SELECT hiems.submit_prompt('openai/gpt-4o-mini', $1::text::jsonb)
                #>> '{choices,0,message,content}'",
        &[&message.to_string()],
    );
    assert_eq!(Some(text), long);
}
