//! Looking up what was charged: one generation, one key, the price list.

use std::time::Duration;

use fake_openrouter::{Config, Fake};
use serde_json::{Value, json};

use crate::client::{Exchange, Reply, ask, get, order, start};

#[test]
fn a_generation_can_be_looked_up() {
    let fake = start();
    let mut body = order("anthropic/claude-haiku-4.5", json!({ "fake_cost": "4.2E-7" }));
    body["user"] = json!("user-7");
    body["session_id"] = json!("session-9");
    ask(&fake, &body);
    let billed = &fake.bill()[0];
    let reply = get(&fake, &format!("/generation?id={}", billed.id));
    assert_eq!(reply.status, 200);
    assert!(reply.body.contains("\"total_cost\":4.2E-7,\"usage\":4.2E-7,"), "{}", reply.body);
    let data = &reply.json()["data"];
    assert_eq!(data["model"], "anthropic/claude-4.5-haiku-20251001");
    assert_eq!(data["external_user"], "user-7");
    assert_eq!(data["session_id"], "session-9");
    assert_eq!(data["native_tokens_prompt"], billed.prompt_tokens);
    assert_eq!(data["native_tokens_completion"], billed.completion_tokens);
    assert_ne!(data["tokens_prompt"], billed.prompt_tokens, "normalised counts differ");
    assert_eq!(data["upstream_inference_cost"].to_string(), "0");
    assert_eq!(data["cancelled"], false);

    let missing = get(&fake, "/generation?id=gen-1-none");
    assert_eq!(missing.status, 404);
    assert_eq!(missing.json()["error"]["message"], "Generation gen-1-none not found");
    assert_eq!(get(&fake, "/generation").status, 400);
}

#[test]
fn a_generation_is_unknown_until_the_lag_is_over() {
    let config = Config { generation_lag: Duration::from_secs(3600), ..Config::default() };
    let fake = Fake::start(config).expect("the fake starts");
    ask(&fake, &order("openai/gpt-4o", json!({})));
    let id = &fake.bill()[0].id;
    assert_eq!(get(&fake, &format!("/generation?id={id}")).status, 404);
}

#[test]
fn a_key_sums_exactly_what_it_was_billed() {
    let fake = start();
    for cost in ["0.0076509169000000005", "4.2e-7", "0.1", "0.2", "0"] {
        ask(&fake, &order("openai/gpt-4o", json!({ "fake_cost": cost })));
    }
    ask(&fake, &order("openai/gpt-4o", json!({ "fake_byok": "true" })));
    let other = order("openai/gpt-4o", json!({ "fake_cost": "5" })).to_string();
    Exchange::open(&fake, "POST", "/chat/completions", Some("sk-or-v1-other"), &other).reply();

    let data: Value = get(&fake, "/key").json()["data"].take();
    for counter in ["usage", "usage_monthly"] {
        assert_eq!(data[counter].to_string(), "0.3076513369000000005", "{counter}");
    }
    let upstream = fake.bill()[5].upstream_cost.clone().unwrap_or_default();
    assert_eq!(data["byok_usage"].to_string(), upstream);
    assert_eq!(data["label"], "sk-or-v1-tes...est");
    assert_eq!(data["is_management_key"], false);
}

#[test]
fn models_have_prices_as_strings() {
    let fake = start();
    let models = get(&fake, "/models").json();
    let model = models["data"].as_array().and_then(|list| list.first()).expect("a model");
    assert_eq!(model["id"], "openai/gpt-4o-mini");
    assert_eq!(model["canonical_slug"], "openai/gpt-4o-mini-2024-07-18");
    assert_eq!(model["pricing"]["prompt"], "0.00000015");
}

const MANAGEMENT: &str = "sk-or-v1-mgmt-test";

fn managed(fake: &Fake, path: &str) -> Reply {
    Exchange::open(fake, "GET", path, Some(MANAGEMENT), "").reply()
}

#[test]
fn a_management_key_sees_the_account_and_generates_nothing() {
    let fake = start();
    ask(&fake, &order("openai/gpt-4o", json!({ "fake_cost": "0.10" })));
    let body = order("openai/gpt-4o", json!({})).to_string();
    let refused =
        Exchange::open(&fake, "POST", "/chat/completions", Some(MANAGEMENT), &body).reply();
    assert_eq!(refused.status, 403);
    assert_eq!(fake.bill().len(), 1);
    assert_eq!(managed(&fake, "/key").json()["data"]["is_management_key"], true);
    let credits = managed(&fake, "/credits");
    assert_eq!(credits.body, "{\"data\":{\"total_credits\":100,\"total_usage\":0.1}}");
    let id = &fake.bill()[0].id;
    assert_eq!(managed(&fake, &format!("/generation?id={id}")).status, 200);

    let refused = get(&fake, "/credits");
    assert_eq!(refused.status, 403);
    let message = &refused.json()["error"]["message"];
    assert_eq!(message, "Only management keys can perform this operation");
    let zeros = Fake::start(Config { zero_credits: true, ..Config::default() }).expect("a fake");
    assert_eq!(
        get(&zeros, "/credits").json()["data"],
        json!({"total_credits": 0, "total_usage": 0})
    );
    assert_eq!(managed(&zeros, "/credits").json()["data"]["total_credits"], 100);
}
