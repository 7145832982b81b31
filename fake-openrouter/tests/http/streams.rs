//! Streams: events in order, one id, usage in every form, and what a client costs that leaves.

use fake_openrouter::Fake;
use serde_json::{Value, json};

use crate::client::{Exchange, KEY, Reply, ask, get, order, start, wait_until};

const MODEL: &str = "openai/gpt-4o";

fn streamed(metadata: Value) -> Value {
    let mut body = order(MODEL, metadata);
    body["stream"] = json!(true);
    body
}

/// The chunks of a stream, and whether it said that it was done.
fn chunks(reply: &Reply) -> (Vec<Value>, bool) {
    let mut events: Vec<&str> =
        reply.body.split("\n\n").filter_map(|event| event.strip_prefix("data: ")).collect();
    let done = events.pop_if(|event| *event == "[DONE]").is_some();
    (events.iter().map(|event| serde_json::from_str(event).expect("JSON")).collect(), done)
}

fn play(fake: &Fake, metadata: Value) -> (Vec<Value>, bool) {
    chunks(&ask(fake, &streamed(metadata)))
}

#[test]
fn a_stream_says_word_by_word_what_an_answer_says_at_once() {
    let fake = start();
    let metadata = json!({ "fake_answer": "a b c", "fake_comments": "3", "fake_cost": "4.20e-7" });
    let reply = ask(&fake, &streamed(metadata));
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    assert!(reply.body.starts_with(&": OPENROUTER PROCESSING\n\n".repeat(3)));
    assert!(!reply.body[3 * 26..].contains(": OPENROUTER"), "{}", reply.body);
    let (chunks, done) = chunks(&reply);
    assert!(done);
    let id = reply.header("x-generation-id").expect("an id");
    assert!(
        chunks.iter().all(|chunk| chunk["id"] == id && chunk["object"] == "chat.completion.chunk")
    );
    let text: Vec<&str> = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
        .filter(|text| !text.is_empty())
        .collect();
    assert_eq!(text, ["a ", "b ", "c"]);
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    let [ending, usage] = chunks.last_chunk::<2>().expect("two chunks");
    assert_eq!(ending["choices"][0]["finish_reason"], "stop");
    assert_eq!(ending.get("usage"), None);
    assert_eq!(usage["choices"][0]["finish_reason"], "stop");
    assert_eq!(usage["usage"]["cost"].to_string(), "4.20e-7");
    let billed = &fake.bill()[0];
    assert!(billed.streamed && !billed.cancelled && billed.delivered && billed.id_sent);
    assert_eq!(usage["usage"]["completion_tokens"], billed.completion_tokens);
}

#[test]
fn the_usage_comes_in_every_form_and_not_at_all() {
    let fake = start();
    let (chunks, _) = play(&fake, json!({ "fake_usage_chunk": "empty" }));
    assert_eq!(chunks.last().map(|chunk| &chunk["choices"]), Some(&json!([])));
    let (chunks, _) = play(&fake, json!({ "fake_usage_chunk": "null" }));
    assert_eq!(chunks.last().map(|c| &c["choices"][0]["finish_reason"]), Some(&Value::Null));
    let (chunks, done) = play(&fake, json!({ "fake_no_usage": "true", "fake_no_done": "true" }));
    assert!(!done && chunks.iter().all(|chunk| chunk.get("usage").is_none()));
    assert!(fake.bill().iter().all(|generation| generation.billed && generation.cost != "0"));
}

#[test]
fn a_stream_can_end_in_an_error() {
    let fake = start();
    let end = |form: &str| {
        let metadata = json!({ "fake_stream_error": form, "fake_answer": "one two three four" });
        let (mut chunks, done) = play(&fake, metadata);
        let last = chunks.pop().expect("a chunk");
        assert_eq!(chunks.len(), 3, "half the text is out");
        (last, done, fake.bill().pop().expect("a generation").cost)
    };
    let (last, done, cost) = end("choice");
    assert_eq!((last["error"]["code"].to_string(), done, &*cost), ("502".into(), false, "0"));
    assert_eq!(last["choices"][0]["finish_reason"], "error");
    let (last, ..) = end("text");
    assert_eq!(last["error"]["code"], "server_error");
    let (last, done, cost) = end("bare");
    assert_eq!((&last["choices"], done, &*cost), (&json!([]), false, "0"));
    let (last, done, cost) = end("usage");
    assert_eq!(last["choices"][0]["finish_reason"], Value::Null);
    assert_eq!((last["usage"]["cost"].to_string(), done), (cost.clone(), true));
    assert_ne!(cost, "0");
}

/// Leaves when the id and a few words are there; the generation that is left behind.
fn leave(fake: &Fake, metadata: Value) -> fake_openrouter::Generation {
    let text = streamed(metadata).to_string();
    let mut exchange = Exchange::open(fake, "POST", "/chat/completions", Some(KEY), &text);
    exchange.head();
    while !exchange.chunk().contains("two") {}
    drop(exchange);
    wait_until("nothing is in flight", || fake.in_flight() == 0);
    fake.bill().pop().expect("a generation")
}

#[test]
fn a_client_that_leaves_stops_the_generation_and_pays_for_what_there_was() {
    let fake = start();
    let words = format!("one two {}", "and ".repeat(40));
    let slow = json!({ "fake_answer": words, "fake_chunk_delay_ms": "50",
                       "fake_cached_tokens": "0", "fake_runs_on": "false" });
    let left = leave(&fake, slow);
    assert!(left.cancelled && left.billed && left.finished && !left.delivered);
    assert!(left.completion_tokens > 0 && left.completion_tokens < 40, "{left:?}");
    let price = left.prompt_tokens as f64 * 2.5e-6 + left.completion_tokens as f64 * 1e-5;
    let cost: f64 = left.cost.parse().expect("a number");
    assert!((cost - price).abs() < 1e-12, "{left:?}");
    let data = get(&fake, &format!("/generation?id={}", left.id)).json()["data"].take();
    assert_eq!(data["cancelled"], true);
    assert_eq!(data["streamed"], true);
    assert_eq!(data["finish_reason"], Value::Null);
    assert_eq!(data["total_cost"].to_string(), left.cost);
    assert_eq!(data["native_tokens_completion"], left.completion_tokens);
}

#[test]
fn some_providers_run_on() {
    let fake = start();
    let words = format!("one two {}", "and ".repeat(20));
    let slow = json!({ "fake_answer": words, "fake_chunk_delay_ms": "10",
                       "fake_runs_on": "true", "fake_cost": "0.25" });
    let left = leave(&fake, slow);
    assert!(!left.cancelled && !left.delivered && left.finish_reason.as_deref() == Some("stop"));
    assert_eq!(left.cost, "0.25");
}

#[test]
fn a_stream_can_be_cut() {
    let fake = start();
    let cut = json!({ "fake_fault": "cut_chunked", "fake_no_usage": "true" });
    let body = streamed(cut).to_string();
    let exchange = Exchange::open(&fake, "POST", "/chat/completions", Some(KEY), &body);
    let text = String::from_utf8(exchange.rest().expect("an end")).expect("text");
    assert!(text.contains("data: {") && !text.contains("[DONE]") && !text.ends_with("0\r\n\r\n"));
    assert!(!fake.bill()[0].delivered);
}
