//! Every way to be refused: nothing is generated, and the request is remembered.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::client::{Exchange, KEY, Reply, ask, get, order, start};

fn assert_envelope(reply: &Reply, status: u16) {
    assert_eq!(reply.status, status, "{}", reply.body);
    let error = &reply.json()["error"];
    assert_eq!(error["code"], status);
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()));
    assert_eq!(reply.header("x-generation-id"), None);
}

#[test]
fn each_status_can_be_asked_for() {
    let fake = start();
    let statuses = [400, 401, 402, 403, 404, 408, 413, 418, 422, 429, 500, 502, 503, 529];
    for status in statuses {
        let metadata = json!({ "fake_status": status.to_string(), "fake_retry_after": "7" });
        let reply = ask(&fake, &order("openai/gpt-4o", metadata));
        assert_envelope(&reply, status);
        assert!(reply.json()["error"]["metadata"]["error_type"].is_string());
        let retry_after = [429, 503].contains(&status).then_some("7");
        assert_eq!(reply.header("retry-after"), retry_after, "{status}");
    }
    assert!(fake.bill().is_empty());
    let seen: Vec<u16> = fake.requests().iter().map(|request| request.status).collect();
    assert_eq!(seen, statuses);
    assert_eq!(fake.in_flight(), 0);
    fake.clear();
    assert!(fake.requests().is_empty());
}

#[test]
fn the_edge_answers_its_timeout_in_html() {
    let fake = start();
    let reply = ask(&fake, &order("openai/gpt-4o", json!({ "fake_status": "524" })));
    assert_eq!(reply.status, 524);
    assert!(reply.header("content-type").is_some_and(|kind| kind.starts_with("text/html")));
    assert_eq!(reply.header("server"), Some("cloudflare"));
    assert!(reply.body.starts_with("<!DOCTYPE html>"));
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let fake = start();
    let message = |role: &str| json!([{ "role": role, "content": "Hello" }]);
    let with = |name: &str, value: Value| {
        let mut body = json!({ "model": "openai/gpt-4o", "messages": message("user") });
        body["reasoning"] = json!({ "effort": "low" });
        body[name] = value;
        body
    };
    let bad: [Value; 12] = [
        with("provider", json!({ "orders": ["OpenAI"] })),
        with("reasoning_effort", json!("high")),
        with("stream", json!("yes")),
        json!([]),
        json!({ "model": "openai/gpt-4o" }),
        json!({ "model": "openai/gpt-4o", "messages": [] }),
        json!({ "model": "openai/gpt-4o", "messages": message("wizard") }),
        json!({ "model": "openai/gpt-4o", "messages": [{ "role": "user" }] }),
        json!({ "model": "openai/gpt-4o", "messages": message("user"), "max_tokens": 0 }),
        json!({ "model": "nope/model", "messages": message("user") }),
        order("openai/gpt-4o", json!({ "fake_statsu": "500" })),
        order("openai/gpt-4o", json!({ "fake_status": "200" })),
    ];
    for body in bad {
        assert_envelope(&ask(&fake, &body), 400);
    }
    let reply = Exchange::open(&fake, "POST", "/chat/completions", Some(KEY), "{oops").reply();
    assert_envelope(&reply, 400);
    assert_eq!(fake.requests().last().map(|request| request.body.clone()), Some(json!("{oops")));

    for good in [with("provider", json!({ "zdr": true })), with("reasoning_effort", json!("low"))] {
        assert_eq!(ask(&fake, &good).status, 200);
    }
    fake.clear();

    let reply = ask(&fake, &order("gpt-4o", json!({})));
    assert_eq!(reply.json()["error"]["message"], "gpt-4o is not a valid model ID");
    assert!(fake.bill().is_empty());
}

#[test]
fn only_openrouter_keys_are_let_in() {
    let fake = start();
    let body = order("openai/gpt-4o", json!({})).to_string();
    for key in [None, Some("sk-proj-other")] {
        let reply = Exchange::open(&fake, "POST", "/chat/completions", key, &body).reply();
        assert_envelope(&reply, 401);
    }
    assert_eq!(fake.requests()[1].key, "sk-proj-other");
    assert_eq!(fake.connections(), 2);
    assert_envelope(&get(&fake, "/no/such/thing"), 404);
    assert_envelope(&get(&fake, "/chat/completions"), 405);
}

#[test]
fn the_first_of_a_kind_are_refused() {
    let fake = start();
    let stormy = |user: &str, times: &str| {
        let metadata =
            json!({ "fake_429_times": times, "fake_503_times": "1", "fake_retry_after": "3" });
        let mut body = order("openai/gpt-4o", metadata);
        body["user"] = json!(user);
        let reply = ask(&fake, &body);
        (reply.status, reply.header("retry-after").map(str::to_owned))
    };
    let wait = Some("3".to_owned());
    for _ in 0..2 {
        assert_eq!(stormy("a", "2"), (429, wait.clone()));
    }
    // Another user's requests, and another wish of the same user's, are counted apart.
    assert_eq!(stormy("b", "1"), (429, wait.clone()));
    assert_eq!(stormy("a", "1"), (429, wait.clone()));
    assert_eq!(stormy("a", "2"), (503, wait));
    assert_eq!(stormy("a", "2"), (200, None));
    assert_eq!(stormy("a", "2"), (200, None));
    assert_eq!(fake.bill().len(), 2);
    fake.clear();
    assert_eq!(stormy("a", "2").0, 429);
}

#[test]
fn an_error_can_come_late_and_be_paid_for() {
    let fake = start();
    let late = |code: &str, body: &str| {
        let metadata = json!({ "fake_late_error": code, "fake_body": body });
        let metadata = if body.is_empty() { json!({ "fake_late_error": code }) } else { metadata };
        ask(&fake, &order("openai/gpt-4o", metadata))
    };
    let reply = late("429", "");
    assert!(reply.status == 200 && reply.body.starts_with("\n "), "heartbeats come first");
    assert_eq!(reply.json()["error"]["code"], 429);
    assert_eq!(reply.json().get("choices"), None);
    assert_eq!(reply.header("x-generation-id"), Some(&*fake.bill()[0].id));
    assert_eq!(late("server_error", "").json()["error"]["code"], "server_error");
    assert!(fake.bill().iter().all(|generation| generation.billed && generation.cost == "0"));

    let paid = json!({ "fake_status": "400", "fake_billed_error": "true", "fake_cost": "0.10" });
    let reply = ask(&fake, &order("openai/gpt-4o", paid));
    assert_eq!(reply.status, 400);
    assert!(reply.body.contains("\"cost\":0.10"), "{}", reply.body);
    let billed = &fake.bill()[2];
    assert!(billed.billed && billed.cost == "0.10");
    assert_eq!(reply.json()["id"], *billed.id);
    let paid = json!({ "fake_late_error": "400", "fake_billed_error": "true", "fake_cost": "0.2" });
    assert_eq!(
        ask(&fake, &order("openai/gpt-4o", paid)).json()["usage"]["cost"].to_string(),
        "0.2"
    );
    let timeout = json!({ "fake_status": "524", "fake_billed_error": "true" });
    assert!(ask(&fake, &order("openai/gpt-4o", timeout)).body.starts_with("<!DOCTYPE html>"));
    assert_ne!(fake.bill()[4].cost, "0", "it ran on behind the edge");
}

#[test]
fn errors_come_in_every_dress() {
    let fake = start();
    let wished = |metadata| ask(&fake, &order("openai/gpt-4o", metadata));
    let moved = wished(json!({ "fake_status": "307", "fake_location": "http://127.0.0.1:9/x" }));
    assert_eq!((moved.status, moved.header("location")), (307, Some("http://127.0.0.1:9/x")));
    let moved = wished(json!({ "fake_status": "301" }));
    assert_eq!(moved.header("location"), Some("/api/v1/chat/completions"));

    let page = wished(json!({ "fake_status": "502", "fake_error_shape": "page" }));
    assert!(page.header("content-type").is_some_and(|kind| kind.starts_with("text/html")));
    let gone = wished(json!({ "fake_status": "404", "fake_error_shape": "availability",
                              "fake_error_id": "true" }));
    let error = &gone.json()["error"];
    assert_eq!(error.get("code"), None);
    assert_eq!(
        (&error["http_status"], &error["error_type"]),
        (&json!(404), &json!("no_endpoints"))
    );
    assert!(gone.header("x-generation-id").is_some_and(|id| id.starts_with("gen-")));

    let limit = wished(json!({ "fake_status": "429", "fake_error_shape": "platform" }));
    assert_eq!((limit.status, limit.header("x-ratelimit-limit")), (429, Some("50")));
    let metadata = &limit.json()["error"]["metadata"];
    assert_eq!(metadata.get("provider_name"), None);
    // Hours away, in milliseconds; the body repeats the header.
    let reset = limit.header("x-ratelimit-reset").expect("a time");
    assert_eq!(metadata["headers"]["X-RateLimit-Reset"], reset);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_millis();
    let hours = (reset.parse::<u128>().expect("a number") - now) / 3_600_000;
    assert!((5..=6).contains(&hours), "{reset}");
    let body_only = wished(json!({ "fake_status": "429", "fake_error_shape": "platform_body" }));
    assert_eq!(body_only.header("x-ratelimit-reset"), None);
    assert!(body_only.json()["error"]["metadata"]["headers"]["X-RateLimit-Reset"].is_string());

    let shapes = [
        ("code_text", r#"{"error":{"code":"422","message":"Invalid argument"}}"#),
        ("text", r#"{"error":"Invalid argument"}"#),
        ("number", r#"{"error":422}"#),
        ("list", r#"{"error":[{"message":"Invalid argument"}]}"#),
        ("message", r#"{"message":"Invalid argument"}"#),
        ("plain", "Invalid argument"),
    ];
    for (shape, body) in shapes {
        let refused = wished(json!({ "fake_status": "422", "fake_error_shape": shape }));
        assert_eq!((refused.status, &*refused.body), (422, body), "{shape}");
    }

    let words = json!({ "fake_status": "503", "fake_body": "busy", "fake_retry_after": "soon" });
    let busy = wished(words);
    assert_eq!((&*busy.body, busy.header("retry-after")), ("busy", Some("soon")));
    assert!(fake.bill().is_empty());
}

#[test]
fn a_wish_can_be_made_for_all() {
    let fake = start();
    fake.wish(&[("fake_status", "418"), ("fake_error_id", "true")]);
    let plain = json!({ "messages": [{ "role": "user", "content": "Hello" }] });
    assert_eq!(ask(&fake, &plain).status, 418);
    let reply = ask(&fake, &order("openai/gpt-4o", json!({ "fake_status": "413" })));
    assert_eq!(reply.status, 413);
    assert!(reply.header("x-generation-id").is_some());
    fake.wish(&[]);
    assert_eq!(ask(&fake, &plain).status, 200);
}
