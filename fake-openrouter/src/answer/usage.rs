//! The `usage` object. Costs stand in it as the tokens of the bill, digit by digit.

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::control::Control;
use crate::generate::Outcome;
use crate::money::Token;

/// The usage as it is told: reckoned, or the text that was wished for.
pub(crate) enum Told<'a> {
    Usage(Box<Usage<'a>>),
    Literal(&'a RawValue),
}

/// What the answer tells of its usage; `None` where it is to keep quiet.
pub(crate) fn told<'a>(outcome: &'a Outcome, control: &'a Control) -> Option<Told<'a>> {
    if control.told.no_usage {
        return None;
    }
    Some(match &control.told.usage {
        Some(literal) => Told::Literal(literal),
        None => Told::Usage(Box::new(Usage::of(outcome, control))),
    })
}

impl Serialize for Told<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Usage(usage) => usage.serialize(serializer),
            Self::Literal(literal) => literal.serialize(serializer),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct Usage<'a> {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    cost: Token<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_byok: Option<bool>,
    prompt_tokens_details: PromptDetails,
    cost_details: CostDetails<'a>,
    completion_tokens_details: CompletionDetails,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_tool_use_details: Option<ToolDetails>,
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

/// A search is requested and executed as a tool call too: the counters overlap.
#[derive(Serialize)]
struct ToolDetails {
    web_search_requests: u64,
    tool_calls_requested: u64,
    tool_calls_executed: u64,
}

impl<'a> Usage<'a> {
    fn of(outcome: &'a Outcome, control: &Control) -> Self {
        let generation = &outcome.generation;
        let tools = generation.server_tool_calls;
        // With server tools the answer does not say whose key paid.
        let quiet = control.told.no_is_byok || tools > 0;
        Self {
            prompt_tokens: generation.prompt_tokens,
            completion_tokens: generation.completion_tokens,
            total_tokens: generation.prompt_tokens + generation.completion_tokens,
            cost: Token(&generation.cost),
            is_byok: (!quiet).then_some(generation.is_byok),
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
            server_tool_use_details: (tools > 0).then_some(ToolDetails {
                web_search_requests: tools,
                tool_calls_requested: tools,
                tool_calls_executed: tools,
            }),
        }
    }
}
