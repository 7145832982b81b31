//! The body of a successful chat completion, field by field as OpenRouter sends it.

use serde::Serialize;
use serde_json::{Value, json};

use crate::control::Control;
use crate::generate::Outcome;
use crate::money::Token;

/// The JSON text of an outcome. Costs stand in it as the tokens of the bill, digit by digit.
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
            error: failed.then(|| {
                json!({
                    "code": 502,
                    "message": "Provider disconnected unexpectedly",
                    "metadata": { "error_type": "provider_unavailable" },
                })
            }),
        }],
        system_fingerprint: (),
        usage: (!control.no_usage).then(|| usage(outcome, control)),
    })
}

fn usage<'a>(outcome: &'a Outcome, control: &Control) -> Usage<'a> {
    let generation = &outcome.generation;
    Usage {
        prompt_tokens: generation.prompt_tokens,
        completion_tokens: generation.completion_tokens,
        total_tokens: generation.prompt_tokens + generation.completion_tokens,
        cost: Token(&generation.cost),
        is_byok: (!control.no_is_byok).then_some(generation.is_byok),
        prompt_tokens_details: PromptDetails {
            cached_tokens: generation.cached_tokens,
            cache_write_tokens: generation.cache_write_tokens,
            audio_tokens: 0,
            video_tokens: 0,
        },
        cost_details: CostDetails {
            upstream_inference_cost: generation.upstream_cost.as_deref().map(Token),
            upstream_inference_prompt_cost: Token(&outcome.prompt_cost),
            upstream_inference_completions_cost: Token(&outcome.completion_cost),
        },
        completion_tokens_details: CompletionDetails {
            reasoning_tokens: generation.reasoning_tokens,
            image_tokens: 0,
        },
    }
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
    usage: Option<Usage<'a>>,
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

#[derive(Serialize)]
struct Usage<'a> {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    cost: Token<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_byok: Option<bool>,
    prompt_tokens_details: PromptDetails,
    cost_details: CostDetails<'a>,
    completion_tokens_details: CompletionDetails,
}

#[derive(Serialize)]
struct PromptDetails {
    cached_tokens: u64,
    cache_write_tokens: u64,
    audio_tokens: u64,
    video_tokens: u64,
}

#[derive(Serialize)]
struct CostDetails<'a> {
    upstream_inference_cost: Option<Token<'a>>,
    upstream_inference_prompt_cost: Token<'a>,
    upstream_inference_completions_cost: Token<'a>,
}

#[derive(Serialize)]
struct CompletionDetails {
    reasoning_tokens: u64,
    image_tokens: u64,
}
