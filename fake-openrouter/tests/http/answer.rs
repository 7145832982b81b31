//! What a successful answer looks like, and that its costs are the bill's, digit by digit.

use serde_json::{Value, json};

use crate::client::{Exchange, KEY, ask, get, order, start, wait_until};

#[test]
fn an_answer_has_the_fields_of_openrouter() {
    let fake = start();
    let reply = ask(&fake, &order("openai/gpt-4o-mini", json!({})));
    assert_eq!(reply.status, 200);
    assert!(reply.body.starts_with("\n "), "a heartbeat comes first");
    let answer = reply.json();
    let id = answer["id"].as_str().expect("an id");
    let parts: Vec<&str> = id.split('-').collect();
    assert_eq!((parts[0], parts[1].len(), parts[2].len()), ("gen", 10, 20));
    assert_eq!(reply.header("x-generation-id"), Some(id));
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["model"], "openai/gpt-4o-mini-2024-07-18");
    assert!(["OpenAI", "Azure"].contains(&answer["provider"].as_str().unwrap_or_default()));
    assert!(answer["system_fingerprint"].is_null());

    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "stop");
    assert_eq!(choice["message"]["role"], "assistant");
    let content = choice["message"]["content"].as_str().unwrap_or_default();
    assert!(content.contains("Why is the sea salt"), "{content}");
    for absent in ["refusal", "reasoning"] {
        assert_eq!(choice["message"].get(absent), Some(&Value::Null));
    }

    let usage = &answer["usage"];
    let count = |value: &Value| value.as_u64().expect("a count");
    assert_eq!(
        count(&usage["total_tokens"]),
        count(&usage["prompt_tokens"]) + count(&usage["completion_tokens"])
    );
    assert_eq!(usage["cost"], usage["cost_details"]["upstream_inference_cost"]);
    assert_eq!(usage["is_byok"], false);
    for detail in ["cached_tokens", "cache_write_tokens", "audio_tokens", "video_tokens"] {
        assert!(usage["prompt_tokens_details"][detail].is_u64(), "{detail}");
    }
    for detail in ["reasoning_tokens", "image_tokens"] {
        assert!(usage["completion_tokens_details"][detail].is_u64(), "{detail}");
    }
}

#[test]
fn costs_are_sent_as_the_tokens_of_the_bill() {
    let fake = start();
    let models = [
        "openai/gpt-5",
        "anthropic/claude-sonnet-4.5",
        "meta-llama/llama-3.3-70b-instruct",
        "acme/thinker",
        "acme/thinker:free",
    ];
    for (turn, model) in models.iter().cycle().take(60).enumerate() {
        let reply = ask(&fake, &order(model, json!({})));
        let billed = &fake.bill()[turn];
        assert!(billed.billed && billed.finished && billed.delivered && billed.id_sent);
        assert!(billed.cached_tokens + billed.cache_write_tokens <= billed.prompt_tokens);
        assert!(billed.reasoning_tokens <= billed.completion_tokens);
        let token = format!("\"cost\":{},", billed.cost);
        assert!(reply.body.contains(&token), "{token} in {}", reply.body);
        assert_eq!(billed.cost == "0", model.ends_with(":free"), "{model}: {}", billed.cost);
    }
    let bill = fake.bill();
    assert_eq!(bill.len(), 60);
    assert!(bill.iter().any(|generation| generation.cached_tokens > 0));
    assert!(bill.iter().any(|generation| generation.reasoning_tokens > 0));
    assert!(bill.iter().any(|generation| generation.cost.len() > 15), "no double shows its tail");
}

#[test]
fn a_given_cost_is_sent_and_billed_verbatim() {
    let fake = start();
    for cost in ["0.0076509169000000005", "4.2e-7", "0", "1E+2", "0.10", "-0.0003"] {
        let reply = ask(&fake, &order("openai/gpt-4o", json!({ "fake_cost": cost })));
        let usage = format!("\"cost\":{cost},");
        let details = format!("\"upstream_inference_cost\":{cost},");
        assert!(reply.body.contains(&usage) && reply.body.contains(&details), "{}", reply.body);
        assert_eq!(fake.bill().last().map(|generation| generation.cost.as_str()), Some(cost));
    }
    let reply = ask(&fake, &order("openai/gpt-4o", json!({ "fake_cost": "cheap" })));
    assert_eq!(reply.status, 400);
}

#[test]
fn controls_shape_the_answer() {
    let fake = start();
    let metadata = json!({
        "fake_answer": "Rivers.",
        "fake_model": "anthropic/other",
        "fake_finish_reason": "content_filter",
        "fake_no_is_byok": "true",
        "ticket": "passed over",
    });
    let answer = ask(&fake, &order("openai/gpt-4o", metadata)).json();
    assert_eq!(answer["choices"][0]["message"]["content"], "Rivers.");
    assert_eq!(answer["choices"][0]["finish_reason"], "content_filter");
    assert_eq!(answer["model"], "anthropic/other");
    assert!(answer["usage"].get("is_byok").is_none());

    let answer = ask(&fake, &order("openai/gpt-4o", json!({ "fake_byok": "true" }))).json();
    assert_eq!(answer["usage"]["cost"].to_string(), "0");
    assert_eq!(answer["usage"]["is_byok"], true);
    assert_ne!(answer["usage"]["cost_details"]["upstream_inference_cost"].to_string(), "0");

    let answer = ask(&fake, &order("openai/gpt-4o", json!({ "fake_no_usage": "true" }))).json();
    assert!(answer.get("usage").is_none());
    assert_ne!(fake.bill()[2].cost, "0", "what is not told is billed all the same");

    let failed = order("openai/gpt-4o", json!({ "fake_finish_reason": "error" }));
    let answer = ask(&fake, &failed).json();
    assert_eq!(answer["choices"][0]["error"]["code"], 502);
    assert_eq!(answer["usage"]["cost"].to_string(), "0");
}

#[test]
fn a_token_limit_cuts_the_answer() {
    let fake = start();
    let mut limited = order("openai/gpt-5", json!({}));
    limited["max_completion_tokens"] = json!(5);
    let answer = ask(&fake, &limited).json();
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(answer["usage"]["completion_tokens"], 5);
}

#[test]
fn headers_arrive_before_a_delayed_body() {
    let fake = start();
    // Far longer than the test waits: only headers that do not wait for the body can pass.
    let body = order("openai/gpt-4o", json!({ "fake_delay_ms": "3600000" })).to_string();
    let mut exchange = Exchange::open(&fake, "POST", "/chat/completions", Some(KEY), &body);
    let (status, headers) = exchange.head();
    assert_eq!(status, 200);
    let id = headers.iter().find(|(name, _)| name == "x-generation-id").map(|(_, id)| id.clone());
    assert!(exchange.chunk().trim().is_empty(), "a heartbeat comes with the headers");

    let running = fake.generation(&id.expect("an id")).expect("it is on the bill");
    wait_until("the id counts as sent", || fake.bill()[0].id_sent);
    assert!(!running.finished && !running.billed && !running.delivered);
    assert_eq!(running.cost, "0");
    assert_eq!(fake.in_flight(), 1);
}

#[test]
fn a_server_tool_costs_more_than_the_details_show() {
    let fake = start();
    let metadata = json!({ "fake_tool_cost": "0.007", "fake_answer": "Found." });
    let usage = ask(&fake, &order("openai/gpt-4o", metadata)).json()["usage"].take();
    let amount = |value: &Value| value.to_string().parse::<f64>().expect("a number");
    let upstream = amount(&usage["cost_details"]["upstream_inference_cost"]);
    assert!(upstream > 0.0 && (amount(&usage["cost"]) - upstream - 0.007).abs() < 1e-12);
    assert_eq!(usage["cost"].to_string(), fake.bill()[0].cost);
    assert_eq!(usage["server_tool_use_details"]["web_search_requests"], 1);
    assert_eq!(usage.get("is_byok"), None);
}

#[test]
fn what_is_empty_or_broken_off_is_insured_but_for_its_tools() {
    let fake = start();
    let answer = ask(&fake, &order("openai/gpt-4o", json!({ "fake_empty": "true" }))).json();
    assert_eq!(answer["choices"][0]["finish_reason"], Value::Null);
    assert_eq!(answer["usage"]["completion_tokens"], 0);
    assert_eq!(answer["usage"]["cost"].to_string(), "0");
    for metadata in [
        json!({ "fake_empty": "true", "fake_tool_cost": "0.0050" }),
        json!({ "fake_finish_reason": "error", "fake_tool_cost": "0.0050" }),
        json!({ "fake_late_error": "502", "fake_tool_cost": "0.0050" }),
    ] {
        ask(&fake, &order("openai/gpt-4o", metadata));
        assert_eq!(fake.bill().last().map(|generation| &*generation.cost), Some("0.0050"));
    }
}

#[test]
fn counts_and_the_upstream_cost_can_be_told() {
    let fake = start();
    let metadata = json!({ "fake_cached_tokens": "900", "fake_cache_write_tokens": "70",
                           "fake_reasoning_tokens": "33", "fake_upstream_cost": "null" });
    let usage = ask(&fake, &order("openai/gpt-4o", metadata)).json()["usage"].take();
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 900);
    assert_eq!(usage["prompt_tokens_details"]["cache_write_tokens"], 70);
    assert_eq!(usage["completion_tokens_details"]["reasoning_tokens"], 33);
    assert_eq!(usage["cost_details"]["upstream_inference_cost"], Value::Null);
    assert!(usage["prompt_tokens"].as_u64() >= Some(970));

    // With a provider key of one's own, the fee and the provider's bill are two amounts.
    let byok = json!({ "fake_byok": "true", "fake_cost": "0.00001" });
    let usage = ask(&fake, &order("openai/gpt-4o", byok)).json()["usage"].take();
    assert_eq!(usage["cost"].to_string(), "0.00001");
    assert_ne!(usage["cost_details"]["upstream_inference_cost"].to_string(), "0.00001");

    let literal = json!({ "fake_usage": "{\"cost\": \"free\"}", "fake_cost": "0.5" });
    let answer = ask(&fake, &order("openai/gpt-4o", literal)).json();
    assert_eq!(answer["usage"], json!({ "cost": "free" }));
    assert_eq!(fake.bill()[2].cost, "0.5");
}

#[test]
fn a_cached_answer_is_free_and_says_whose_it_is() {
    let fake = start();
    let reply = ask(&fake, &order("openai/gpt-4o", json!({ "fake_cache_hit": "true" })));
    assert_eq!(reply.header("x-openrouter-cache-status"), Some("HIT"));
    let billed = &fake.bill()[0];
    assert_eq!(
        reply.header("x-openrouter-cache-source-id"),
        billed.response_cache_source_id.as_deref()
    );
    let usage = &reply.json()["usage"];
    assert_eq!(
        (usage["total_tokens"].to_string(), usage["cost"].to_string()),
        ("0".into(), "0".into())
    );
    assert_eq!(billed.cost, "0");
}

#[test]
fn failed_attempts_are_told_and_free() {
    let fake = start();
    let body = order("openai/gpt-4o", json!({ "fake_failed_attempts": "2", "fake_cost": "0.1" }));
    let plain = ask(&fake, &body).json();
    assert_eq!(plain.get("openrouter_metadata"), None);
    let id = &fake.bill()[0].id;
    let data = get(&fake, &format!("/generation?id={id}")).json()["data"].take();
    let attempts = data["provider_responses"].as_array().expect("a list");
    let statuses: Vec<u64> = attempts.iter().filter_map(|it| it["status"].as_u64()).collect();
    assert_eq!(statuses, [502, 502, 200]);
    assert_eq!(data["total_cost"].to_string(), "0.1");

    let key = format!("{KEY}\r\nX-OpenRouter-Metadata: enabled");
    let text = body.to_string();
    let asked = Exchange::open(&fake, "POST", "/chat/completions", Some(&key), &text).reply();
    let told = &asked.json()["openrouter_metadata"];
    assert_eq!((&told["attempt"], &told["requested"]), (&json!(3), &json!("openai/gpt-4o")));
}
