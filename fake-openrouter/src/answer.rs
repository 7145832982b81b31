//! The body of a successful chat completion, field by field as OpenRouter sends it.

mod chunk;
mod router;
mod usage;

use serde::Serialize;
use serde_json::{Value, json};

pub(crate) use chunk::{Script, stream};
pub(crate) use usage::{Told, told};

use crate::control::{Control, Place};
use crate::generate::Outcome;

/// The JSON text of an outcome.
pub(crate) fn render(outcome: &Outcome, control: &Control) -> serde_json::Result<String> {
    let generation = &outcome.generation;
    let wishes = &control.answer;
    let failed = generation.finish_reason.as_deref() == Some("error");
    let broken = failed.then(|| broken(json!(502)));
    let [top, of_choice, of_message] = errors(wishes.error.clone(), wishes.error_at);
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
                content: content(&outcome.content, wishes.content_parts),
                refusal: (),
                reasoning: (),
                error: of_message,
            },
            error: if wishes.error.is_some() { of_choice } else { broken },
        }],
        error: top,
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

/// An error at the place it was wished for: beside the choices, in the first one, or in its message.
fn errors(error: Option<Value>, place: Place) -> [Option<Value>; 3] {
    let at = |here| error.clone().filter(|error| place == here && !error.is_null());
    [at(Place::Top), at(Place::Choice), at(Place::Message)]
}

/// A content as a text, or as two parts.
fn content(text: &str, in_parts: bool) -> Value {
    if !in_parts {
        return json!(text);
    }
    let half = text.floor_char_boundary(text.len() / 2);
    let part = |text: &str| json!({ "type": "text", "text": text });
    json!([part(&text[..half]), part(&text[half..])])
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
    error: Option<Value>,
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
    content: Value,
    refusal: (),
    reasoning: (),
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Value>,
}
