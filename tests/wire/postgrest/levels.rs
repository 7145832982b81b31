//! `supabase.schema('hiems').rpc('submit_prompt', ...)` by level: anon none, authenticated caller,
//! service_role service.

use serde_json::{Value, json};

use super::site::{Site, prompt};

const RPC: &str = include_str!("../../node/rpc.mjs");

#[test]
fn supabase_js_calls_as_its_tokens_user() {
    let site = Site::new();
    let hello = prompt(&[]);
    let with = |field: &str, value: Value| {
        let mut arguments = hello.clone();
        arguments[field] = value;
        arguments
    };
    let (ada, service) = (site.user("ada"), site.service());
    let answers = site.node(
        RPC,
        &json!([
            {"token": ada, "rpc": "submit_prompt", "args": hello},
            {"token": ada, "rpc": "submit_prompt", "args": with("user", json!("ada"))},
            {"token": ada, "rpc": "submit_prompt", "args": with("user", json!("bea"))},
            {"token": service, "rpc": "submit_prompt", "args": with("user", json!("bea"))},
            {"token": site.anon(), "rpc": "submit_prompt", "args": hello},
            {"token": ada, "rpc": "complete",
             "args": {"prompt": "hello", "model": "openai/gpt-4o-mini"}},
        ]),
    );
    let statuses: Vec<i64> = answers
        .as_array()
        .expect("answers")
        .iter()
        .filter_map(|it| it["status"].as_i64())
        .collect();
    assert_eq!(statuses, [200, 200, 403, 200, 401, 200], "{answers}");
    for i in [0, 1, 3] {
        assert!(answers[i]["data"]["choices"][0]["message"]["content"].is_string(), "{answers}");
        assert_eq!(answers[i]["error"], Value::Null);
    }
    assert!(answers[5]["data"].is_string(), "{answers}");
    let spoofed = &answers[2]["error"];
    assert_eq!(spoofed["code"], "42501");
    assert_eq!(spoofed["hint"], "Leave \"user\" out: it comes from the token.");
    // anon has no privilege at all.
    assert_eq!(answers[4]["error"]["code"], "42501");
    assert_eq!(answers[4]["error"]["message"], "permission denied for schema hiems");

    site.database.wait_until_booked();
    let rows = site.database.ledger();
    let booked: Vec<(&str, &str, &str)> = rows
        .iter()
        .map(|row| {
            let text = |name: &str| row[name].as_str().expect("a text");
            (text("principal"), text("user_id"), text("outcome"))
        })
        .collect();
    let service_role = format!("role:{}", site.roles.service_role);
    assert_eq!(
        booked,
        [
            ("jwt:ada", "ada", "committed"),
            ("jwt:ada", "ada", "committed"),
            (service_role.as_str(), "bea", "committed"),
            ("jwt:ada", "ada", "committed"),
        ]
    );
    // What the ledger has is what was billed, and OpenRouter was told the same users.
    let bill = site.database.fake.bill();
    assert_eq!(bill.len(), 4);
    for (row, generation) in rows.iter().zip(&bill) {
        assert_eq!(row["generation_id"], json!(generation.id));
        assert_eq!(row["cost_usd"].to_string(), generation.cost);
        assert_eq!(row["user_id"].as_str(), generation.user.as_deref());
    }
}

#[test]
fn a_level_of_a_tokens_user_counts_over_http() {
    let site = Site::new();
    let admin = site.rpc(&site.user("boss"), "health", &json!({}));
    assert_eq!((admin.status, admin.text("code")), (403, "42501"), "{admin:?}");
    site.database
        .admin()
        .batch_execute("SELECT hiems.grant_user_access('boss', 'admin')")
        .expect("a level");
    let admin = site.rpc(&site.user("boss"), "health", &json!({}));
    assert_eq!(admin.status, 200, "{admin:?}");
    let other = site.rpc(&site.user("ada"), "health", &json!({}));
    assert_eq!(other.status, 403, "{other:?}");
}
