//! What the fake answers is what OpenRouter describes.

use fake_openrouter::{Config, Fake};
use serde_json::{Value, json};

use super::spec::Spec;
use super::{KEY, MANAGEMENT_KEY, ask, completion, exchange, get};

fn start() -> Fake {
    Fake::start(Config::default()).expect("the fake OpenRouter")
}

fn body(answer: &crate::openrouter::answer::HttpAnswer) -> Value {
    serde_json::from_slice(&answer.body).expect("JSON")
}

#[test]
fn answers_are_as_described() {
    let Some(spec) = Spec::at_hand() else { return };
    let fake = start();
    let schema = spec.answer("/chat/completions", "post", 200);
    for metadata in [
        json!({}),
        json!({"fake_cost": "4.2e-7"}),
        json!({"fake_byok": "true"}),
        json!({"fake_tool_cost": "0.007"}),
        json!({"fake_upstream_cost": "null"}),
        json!({"fake_no_usage": "true"}),
        json!({"fake_no_is_byok": "true"}),
        json!({"fake_empty": "true"}),
        json!({"fake_cache_hit": "true"}),
        json!({"fake_finish_reason": "error"}),
        json!({"fake_finish_reason": "content_filter"}),
    ] {
        let answer = ask(&fake, metadata, json!({}));
        assert_eq!(answer.status, 200);
        schema.assert_fits(&body(&answer));
    }
    let mut broken = body(&ask(&fake, json!({}), json!({})));
    broken["usage"]["prompt_tokens"] = json!("8");
    assert_eq!(schema.faults(&broken).len(), 1, "the schema is looked at");
}

#[test]
fn errors_are_as_described() {
    let Some(spec) = Spec::at_hand() else { return };
    let fake = start();
    for status in spec.error_statuses("/chat/completions", "post") {
        let schema = spec.answer("/chat/completions", "post", status);
        let late = ask(&fake, json!({"fake_late_error": status.to_string()}), json!({}));
        schema.assert_fits(&body(&late));
        // The edge's timeout is a page.
        if status != 524 {
            let answer = ask(&fake, json!({"fake_status": status.to_string()}), json!({}));
            assert_eq!(answer.status, status);
            schema.assert_fits(&body(&answer));
        }
    }
}

#[test]
fn chunks_are_as_described() {
    let Some(spec) = Spec::at_hand() else { return };
    let fake = start();
    let schema = spec.component("ChatStreamChunk");
    for metadata in [
        json!({}),
        json!({"fake_usage_chunk": "empty"}),
        json!({"fake_usage_chunk": "null"}),
        json!({"fake_stream_error": "choice"}),
        json!({"fake_stream_error": "bare"}),
        json!({"fake_stream_error": "usage"}),
    ] {
        let answer = ask(&fake, metadata, json!({"stream": true}));
        let text = String::from_utf8(answer.body).expect("text");
        let events: Vec<&str> =
            text.split("\n\n").filter_map(|event| event.strip_prefix("data: ")).collect();
        assert!(events.len() > 3, "{text}");
        for event in events.iter().filter(|event| **event != "[DONE]") {
            schema.assert_fits(&serde_json::from_str(event).expect("JSON"));
        }
    }
    // The description and the documentation's own example do not agree about this one.
    let answer = ask(&fake, json!({"fake_stream_error": "text"}), json!({"stream": true}));
    let text = String::from_utf8(answer.body).expect("text");
    let last = text.split("\n\n").filter_map(|event| event.strip_prefix("data: ")).last();
    let last = serde_json::from_str(last.expect("an event")).expect("JSON");
    assert_eq!(schema.faults(&last).len(), 1);
}

#[test]
fn what_is_looked_up_is_as_described() {
    let Some(spec) = Spec::at_hand() else { return };
    let fake = start();
    ask(&fake, json!({"fake_days_ago": "1"}), json!({"session_id": "s1"}));
    ask(&fake, json!({"fake_byok": "true", "fake_days_ago": "2"}), json!({}));
    ask(&fake, json!({"fake_tool_cost": "0.007"}), json!({"stream": true}));
    ask(&fake, json!({"fake_cache_hit": "true"}), json!({}));
    ask(&fake, json!({"fake_empty": "true"}), json!({}));

    let bill = fake.bill();
    let look = |path: &str, query: &str, key: &str| {
        let (status, found) = get(&fake, &format!("{path}{query}"), key);
        spec.answer(path, "get", status).assert_fits(&found);
        (status, found)
    };
    for generation in &bill {
        let (status, _) = look("/generation", &format!("?id={}", generation.id), KEY);
        assert_eq!(status, 200);
    }
    assert_eq!(look("/generation", "?id=gen-1-none", KEY).0, 404);
    assert_eq!(look("/key", "", KEY).0, 200);
    assert_eq!(look("/key", "", MANAGEMENT_KEY).0, 200);
    assert_eq!(look("/key", "", "nobody's").0, 401);
    assert_eq!(look("/credits", "", MANAGEMENT_KEY).0, 200);
    assert_eq!(look("/credits", "", KEY).0, 403);
    assert_eq!(look("/activity", "?date=2020-01-01", MANAGEMENT_KEY).0, 400);
    assert_eq!(look("/activity", "", KEY).0, 403);
    let (_, activity) = look("/activity", "", MANAGEMENT_KEY);
    assert_eq!(activity["data"].as_array().map(Vec::len), Some(2));
    let (_, models) = look("/models", "", KEY);
    let models = models["data"].as_array().cloned().expect("a list");
    assert!(!models.is_empty());
    let described = spec.answer("/models/{author}/{slug}/endpoints", "get", 200);
    for model in models {
        let slug = model["id"].as_str().expect("a slug");
        let (status, found) = get(&fake, &format!("/models/{slug}/endpoints"), KEY);
        assert_eq!(status, 200, "{slug}");
        described.assert_fits(&found);
    }
}

// Only those who ask by a header are told.
#[test]
fn what_is_told_of_the_routing_is_as_described() {
    let Some(spec) = Spec::at_hand() else { return };
    let fake = start();
    let attempts = json!({"fake_failed_attempts": "2"});
    for (stream, name) in [(false, "ChatResult"), (true, "ChatStreamChunk")] {
        let body = completion(attempts.clone(), json!({"stream": stream})).to_string();
        let asking = "x-openrouter-metadata: enabled\r\n";
        let text = exchange(&fake, "POST /chat/completions", KEY, asking, &body);
        let told = text
            .lines()
            .map(|line| line.strip_prefix("data: ").unwrap_or(line))
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .find(|part| part.get("openrouter_metadata").is_some())
            .expect("the routing");
        assert_eq!(told["openrouter_metadata"]["attempt"], json!(3));
        spec.component(name).assert_fits(&told);
    }
}
