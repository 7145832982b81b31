//! GET /generation?id=: what is known of one finished generation.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Query, State as Shared};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::{Data, json};
use crate::auth;
use crate::bill::{Found, Generation};
use crate::money::Token;
use crate::refusal::Refusal;
use crate::state::State;

/// Any accepted key may look: all keys are taken to belong to one account.
pub(super) async fn show(
    Shared(state): Shared<Arc<State>>,
    query: Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    if let Err(refusal) = auth::accepted(&headers, &state.config) {
        return refusal.into_response();
    }
    let Some(id) = query.get("id").filter(|id| !id.is_empty()) else {
        return Refusal::bad_request("Invalid request: query parameter id is required")
            .into_response();
    };
    match state.bill.look_up(id, state.config.generation_lag) {
        Found::Generation(generation) => json(&Data { data: Record::of(&generation) }),
        Found::Nothing => Refusal::not_found(&format!("Generation {id} not found")).into_response(),
        Found::Error(status) => {
            let reason = status.canonical_reason().unwrap_or("Unexpected error");
            Refusal::new(status, reason, None).into_response()
        }
    }
}

/// All fields of OpenRouter's answer. `()` fields are always null here.
#[derive(Serialize)]
struct Record<'a> {
    id: &'a str,
    request_id: &'a str,
    upstream_id: &'a str,
    session_id: Option<&'a str>,
    external_user: Option<&'a str>,
    preset_id: (),
    workspace_id: (),
    app_id: (),
    http_referer: Option<&'a str>,
    origin: &'a str,
    user_agent: Option<&'a str>,
    created_at: &'a str,
    api_type: &'a str,
    model: &'a str,
    provider_name: &'a str,
    router: (),
    service_tier: (),
    data_region: &'a str,
    streamed: bool,
    cancelled: bool,
    finish_reason: Option<&'a str>,
    native_finish_reason: Option<&'a str>,
    is_byok: bool,
    total_cost: Token<'a>,
    usage: Token<'a>,
    upstream_inference_cost: Token<'a>,
    cache_discount: (),
    tokens_prompt: u64,
    tokens_completion: u64,
    native_tokens_prompt: u64,
    native_tokens_completion: u64,
    native_tokens_reasoning: u64,
    native_tokens_cached: u64,
    native_tokens_completion_images: u64,
    num_media_prompt: (),
    num_media_completion: (),
    num_input_audio_prompt: (),
    num_search_results: Option<u64>,
    num_fetches: (),
    web_search_engine: Option<&'a str>,
    latency: u64,
    generation_time: u64,
    moderation_latency: (),
    provider_responses: Vec<Attempt<'a>>,
    response_cache_source_id: Option<&'a str>,
}

/// One provider that was tried.
#[derive(Serialize)]
struct Attempt<'a> {
    provider_name: &'a str,
    status: u16,
    id: &'a str,
    is_byok: bool,
    latency: u64,
    model_permaslug: &'a str,
}

impl<'a> Record<'a> {
    fn of(generation: &'a Generation) -> Self {
        let searches = generation.server_tool_calls;
        // Unlike the response's own figure, this one is filled only for the caller's own keys.
        let upstream_cost = generation.upstream_cost.as_deref().filter(|_| generation.is_byok);
        Self {
            id: &generation.id,
            request_id: &generation.request_id,
            upstream_id: &generation.upstream_id,
            session_id: generation.session_id.as_deref(),
            external_user: generation.user.as_deref(),
            preset_id: (),
            workspace_id: (),
            app_id: (),
            http_referer: generation.http_referer.as_deref(),
            origin: generation.http_referer.as_deref().unwrap_or_default(),
            user_agent: generation.user_agent.as_deref(),
            created_at: &generation.created_at,
            api_type: "completions",
            model: &generation.model,
            provider_name: &generation.provider,
            router: (),
            service_tier: (),
            data_region: "global",
            streamed: generation.streamed,
            cancelled: generation.cancelled,
            finish_reason: generation.finish_reason.as_deref(),
            native_finish_reason: generation.native_finish_reason.as_deref(),
            is_byok: generation.is_byok,
            total_cost: Token(&generation.cost),
            usage: Token(&generation.cost),
            upstream_inference_cost: Token(upstream_cost.unwrap_or("0")),
            cache_discount: (),
            tokens_prompt: generation.normalized_prompt_tokens,
            tokens_completion: generation.normalized_completion_tokens,
            native_tokens_prompt: generation.prompt_tokens,
            native_tokens_completion: generation.completion_tokens,
            native_tokens_reasoning: generation.reasoning_tokens,
            native_tokens_cached: generation.cached_tokens,
            native_tokens_completion_images: 0,
            num_media_prompt: (),
            num_media_completion: (),
            num_input_audio_prompt: (),
            num_search_results: (searches > 0).then_some(5 * searches),
            num_fetches: (),
            web_search_engine: (searches > 0).then_some("exa"),
            latency: generation.latency_ms,
            generation_time: generation.generation_time_ms,
            moderation_latency: (),
            provider_responses: (0..=generation.failed_attempts)
                .map(|place| Attempt::of(generation, place == generation.failed_attempts))
                .collect(),
            response_cache_source_id: generation.response_cache_source_id.as_deref(),
        }
    }
}

impl<'a> Attempt<'a> {
    fn of(generation: &'a Generation, answered: bool) -> Self {
        Self {
            provider_name: &generation.provider,
            status: if answered { 200 } else { 502 },
            id: &generation.upstream_id,
            is_byok: generation.is_byok,
            latency: generation.latency_ms,
            model_permaslug: &generation.model,
        }
    }
}
