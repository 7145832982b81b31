//! What hiems sends is what OpenRouter describes.

use fake_openrouter::{Config, Fake};
use serde_json::{Value, json};

use super::post;
use super::spec::Spec;
use crate::openrouter::request::ChatRequest;

const MESSAGES: [&str; 3] = [
    r#"[{"role": "user", "content": "hello"}]"#,
    r#"[{"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "hello"},
                                     {"type": "image_url", "image_url": {"url": "https://a/b"}}]},
        {"role": "assistant", "content": null,
         "tool_calls": [{"id": "c1", "type": "function",
                         "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "content": "7", "tool_call_id": "c1"}]"#,
    r#""[{\"role\": \"user\", \"content\": \"a string that holds the array\"}]""#,
];

const OPTIONS: [&str; 4] = [
    "{}",
    r#"{"temperature": 0.20, "top_p": 1e-1, "max_completion_tokens": 200, "stop": ["x"], "seed": 7}"#,
    r#"{"models": ["a/b", "c/d"], "provider": {"order": ["OpenAI"], "data_collection": "deny"},
        "reasoning": {"effort": "low"}, "metadata": {"ticket": "4711"}}"#,
    r#"{"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}},
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "tool_choice": "auto"}"#,
];

#[test]
fn requests_are_as_described_and_arrive_as_they_were_made() {
    let Some(spec) = Spec::at_hand() else { return };
    let schema = spec.request("/chat/completions");
    let fake = Fake::start(Config::default()).expect("the fake OpenRouter");
    for messages in MESSAGES {
        for options in OPTIONS {
            for session_id in [None, Some("s1")] {
                let request = ChatRequest {
                    model: "openai/gpt-4o-mini",
                    messages,
                    user: "u1",
                    session_id,
                    options: Some(options),
                    is_streamed: session_id.is_some(),
                };
                let made = request.body().expect("a body").text;
                assert_eq!(post(&fake, &made).status, 200, "{made}");
                let arrived = fake.requests().pop().expect("a request").body;
                assert_eq!(arrived, serde_json::from_str::<Value>(&made).expect("JSON"));
                schema.assert_fits(&arrived);
            }
        }
    }
    let faults = schema.faults(&json!({"messages": [], "user": 7}));
    assert_eq!(faults.len(), 2, "the schema is looked at: {faults:?}");
}
