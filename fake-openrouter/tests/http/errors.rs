//! Every way to be refused: nothing is generated, and the request is remembered.

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
    let bad: [Value; 10] = [
        json!([]),
        json!({ "model": "openai/gpt-4o" }),
        json!({ "model": "openai/gpt-4o", "messages": [] }),
        json!({ "model": "openai/gpt-4o", "messages": message("wizard") }),
        json!({ "model": "openai/gpt-4o", "messages": [{ "role": "user" }] }),
        json!({ "model": "openai/gpt-4o", "messages": message("user"), "stream": true }),
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
