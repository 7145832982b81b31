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
fn a_look_up_can_fail_before_it_finds() {
    let fake = start();
    ask(&fake, &order("openai/gpt-4o", json!({ "fake_lookup_errors": "429,500,403" })));
    ask(&fake, &order("openai/gpt-4o", json!({ "fake_lookup_lag_ms": "3600000" })));
    let [found, late] = [0, 1].map(|place| fake.bill()[place].id.clone());
    let look = |id: &str| get(&fake, &format!("/generation?id={id}"));
    for status in [429, 500, 403] {
        let refused = look(&found);
        assert_eq!((refused.status, &refused.json()["error"]["code"]), (status, &json!(status)));
    }
    assert_eq!(look(&found).json()["data"]["id"], json!(found));
    assert_eq!(look(&late).status, 404);
    let four = vec![found; 4];
    assert_eq!(fake.lookups(), [four, vec![late]].concat());
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

    let found = get(&fake, "/models/openai/gpt-4o-mini/endpoints").json();
    let endpoints = found["data"]["endpoints"].as_array().expect("a list");
    let providers: Vec<&Value> = endpoints.iter().map(|it| &it["provider_name"]).collect();
    assert_eq!(providers, ["OpenAI", "Azure"]);
    assert_eq!(endpoints[0]["pricing"]["completion"], "0.0000006");
    assert_eq!(get(&fake, "/models/acme/none/endpoints").status, 404);
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

#[test]
fn activity_tells_of_days_that_are_over() {
    let fake = start();
    for (cost, days_ago, model) in [
        ("0.1", "1", "openai/gpt-5"),
        ("0.2", "1", "openai/gpt-5"),
        ("0.4", "1", "acme/thinker-20250101"),
        ("0.8", "30", "openai/gpt-5"),
        ("1.6", "0", "openai/gpt-5"),
        ("3.2", "31", "openai/gpt-5"),
    ] {
        let metadata = json!({ "fake_cost": cost, "fake_days_ago": days_ago });
        ask(&fake, &order(model, metadata));
    }
    let byok = json!({ "fake_byok": "true", "fake_days_ago": "2" });
    let body = order("openai/gpt-5", byok).to_string();
    Exchange::open(&fake, "POST", "/chat/completions", Some("sk-or-v1-other"), &body).reply();

    let list = |query: &str| managed(&fake, &format!("/activity{query}"));
    let items = list("").json()["data"].as_array().cloned().expect("a list");
    let figures = |item: &Value| {
        let text = |field: &str| item[field].to_string().replace('"', "");
        [text("model"), text("requests"), text("usage")].join(" ")
    };
    let all: Vec<String> = items.iter().map(figures).collect();
    let days = [
        "openai/gpt-5 1 0.8",
        "openai/gpt-5 1 0",
        "acme/thinker-20250101 1 0.4",
        "openai/gpt-5 2 0.3",
    ];
    assert_eq!(all, days);
    let upstream = fake.bill()[6].upstream_cost.clone().unwrap_or_default();
    assert_eq!(items[1]["byok_usage_inference"].to_string(), upstream);
    assert_eq!(items[3]["model_permaslug"], "openai/gpt-5-2025-08-07");

    let yesterday = items[3]["date"].as_str().expect("a date");
    let one = list(&format!("?date={yesterday}")).json()["data"].take();
    assert_eq!(one, json!(items[2..]));
    // SHA-256 of sk-or-v1-other.
    let hash = "5eed1bb3f0c902a9a177ff40f4531cc2afa0cb8c614f5aee8dee4a743d3502f2";
    let other = list(&format!("?api_key_hash={hash}")).json()["data"].take();
    assert_eq!(other, json!([items[1]]));

    let today = &fake.bill()[4].created_at[..10];
    for date in [today, "2020-01-01", "yesterday"] {
        let refused = list(&format!("?date={date}"));
        assert_eq!(refused.status, 400, "{date}");
        let message = "Date must be within the last 30 (completed) UTC days";
        assert_eq!(refused.json()["error"]["message"], message);
    }
    assert_eq!(get(&fake, "/activity").status, 403);
    let nobody = Exchange::open(&fake, "GET", "/activity", None, "").reply();
    assert_eq!(nobody.status, 401);
}
