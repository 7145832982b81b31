//! The body of a successful chat completion, field by field as OpenRouter sends it.

mod chunk;
mod router;
mod usage;

use serde::Serialize;
use serde_json::{Value, json};

pub(crate) use chunk::{Script, stream};
pub(crate) use usage::{Told, told};

use crate::control::Control;
use crate::generate::Outcome;

/// The JSON text of an outcome.
pub(crate) fn render(outcome: &Outcome, control: &Control) -> serde_json::Result<String> {
    let generation = &outcome.generation;
    let failed = generation.finish_reason.as_deref() == Some("error");
    serde_json::to_string(&Body {
        id: &generation.id,
        provider: &generation.provider,
        model: &generation.model,
        object: "chat.completion",
        created: generation.created,
        choices: [Choice {
            logprobs: (),
            finish_reason: generation.finish_reason.as_deref(),
            native_finish_reason: generation.native_finish_reason.as_deref(),
            index: 0,
            message: Message {
                role: "assistant",
                content: &outcome.content,
                refusal: (),
                reasoning: (),
            },
            error: failed.then(|| broken(json!(502))),
        }],
        system_fingerprint: (),
        usage: told(outcome, control),
        openrouter_metadata: router::metadata(outcome),
    })
}

/// A provider that broke off half-way.
fn broken(code: Value) -> Value {
    json!({
        "code": code,
        "message": "Provider disconnected unexpectedly",
        "metadata": { "error_type": "provider_unavailable" },
    })
}

/// `()` fields are always null.
#[derive(Serialize)]
struct Body<'a> {
    id: &'a str,
    provider: &'a str,
    model: &'a str,
    object: &'a str,
    created: i64,
    choices: [Choice<'a>; 1],
    system_fingerprint: (),
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Told<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    openrouter_metadata: Option<Value>,
}

#[derive(Serialize)]
struct Choice<'a> {
    logprobs: (),
    finish_reason: Option<&'a str>,
    native_finish_reason: Option<&'a str>,
    index: u32,
    message: Message<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Value>,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'a str,
    content: &'a str,
    refusal: (),
    reasoning: (),
}
