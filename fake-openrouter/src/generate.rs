//! What the model behind an order would have done: text, tokens and their price.
//!
//! Decides everything at once and touches nothing shared; time passes and money moves elsewhere.

use std::time::Duration;

use axum::http::HeaderMap;
use fastrand::Rng;
use time::OffsetDateTime;

use crate::bill::Generation;
use crate::clock;
use crate::models::Prices;
use crate::money::token_of;
use crate::order::Order;
use crate::words;

/// Rough length of a token.
const CHARACTERS_PER_TOKEN: u64 = 4;

/// A whole generation, known in advance.
pub(crate) struct Outcome {
    /// As it will stand in the bill.
    pub(crate) generation: Generation,
    pub(crate) content: String,
    /// List price of the prompt, a number token.
    pub(crate) prompt_cost: String,
    /// List price of the completion, a number token.
    pub(crate) completion_cost: String,
}

impl Outcome {
    /// The bill's entry while the generation runs.
    pub(crate) fn running(&self) -> Generation {
        Generation {
            prompt_tokens: 0,
            completion_tokens: 0,
            cached_tokens: 0,
            cache_write_tokens: 0,
            reasoning_tokens: 0,
            normalized_prompt_tokens: 0,
            normalized_completion_tokens: 0,
            cost: "0".into(),
            upstream_cost: None,
            finish_reason: None,
            native_finish_reason: None,
            latency_ms: 0,
            generation_time_ms: 0,
            ..self.generation.clone()
        }
    }
}

/// Works out the answer to an order that takes `duration`.
pub(crate) fn generate(
    order: &Order,
    headers: &HeaderMap,
    duration: Duration,
    random: &mut Rng,
) -> Outcome {
    let now = OffsetDateTime::now_utc();
    let control = &order.control;
    let offer = &order.offer;
    let mut content =
        control.answer.clone().unwrap_or_else(|| words::answer(random, &order.question));
    let tokens = Tokens::draw(order, &content, random);
    let finish_reason = control
        .finish_reason
        .clone()
        .unwrap_or_else(|| if tokens.cut { "length" } else { "stop" }.to_owned());
    let failed = finish_reason == "error";
    if control.answer.is_none() && (tokens.cut || failed) {
        let length = content.chars().count();
        let visible = (tokens.completion - tokens.reasoning) * CHARACTERS_PER_TOKEN;
        let kept = if failed { length / 2 } else { length.min(visible as usize) };
        content = content.chars().take(kept).collect();
    }

    let (prompt_price, completion_price) = tokens.list_price(&offer.prices);
    let list_price = token_of(prompt_price + completion_price);
    // Whoever brings the provider's key pays the provider; a generation that fails is free.
    let free = control.byok || failed;
    let cost =
        control.cost.clone().unwrap_or_else(|| if free { "0".into() } else { list_price.clone() });
    let upstream_cost = if control.byok { list_price } else { cost.clone() };

    let header = |name: &str| Some(headers.get(name)?.to_str().ok()?.to_owned());
    let elapsed = duration.as_millis() as u64;
    let generation = Generation {
        id: format!("gen-{}-{}", now.unix_timestamp(), words::unique(20)),
        model: control.model.clone().unwrap_or_else(|| offer.permaslug.clone()),
        model_requested: order.model.clone(),
        provider: offer.providers[random.usize(..offer.providers.len())].clone(),
        user: order.user.clone(),
        session_id: order.session_id.clone().or_else(|| header("x-session-id")),
        prompt_tokens: tokens.prompt,
        completion_tokens: tokens.completion,
        cached_tokens: tokens.cached,
        cache_write_tokens: tokens.cache_write,
        reasoning_tokens: tokens.reasoning,
        normalized_prompt_tokens: tokens.prompt + 1 + tokens.prompt / 50,
        normalized_completion_tokens: tokens.completion + 2 + tokens.completion / 20,
        cost,
        upstream_cost: Some(upstream_cost),
        is_byok: control.byok,
        finished: false,
        billed: false,
        delivered: false,
        id_sent: false,
        created: now.unix_timestamp(),
        created_at: clock::iso(now),
        native_finish_reason: Some(native_reason(&offer.permaslug, &finish_reason)),
        finish_reason: Some(finish_reason),
        upstream_id: format!("chatcmpl-{}", words::unique(29)),
        request_id: format!("req-{}-{}", now.unix_timestamp(), words::unique(20)),
        latency_ms: elapsed / 2 + random.u64(1..40),
        generation_time_ms: elapsed + random.u64(40..90),
        http_referer: header("http-referer").or_else(|| header("referer")),
        user_agent: header("user-agent"),
    };
    Outcome {
        generation,
        content,
        prompt_cost: token_of(prompt_price),
        completion_cost: token_of(completion_price),
    }
}

/// Native counts; parts lie inside `prompt` and `completion`.
struct Tokens {
    prompt: u64,
    cached: u64,
    cache_write: u64,
    completion: u64,
    reasoning: u64,
    /// The request's limit was reached.
    cut: bool,
}

impl Tokens {
    fn draw(order: &Order, content: &str, random: &mut Rng) -> Self {
        let prompt =
            order.prompt_length / CHARACTERS_PER_TOKEN + 4 * order.messages + random.u64(1..=12);
        let cached = if random.u8(..3) == 0 { random.u64(..=prompt / 2) } else { 0 };
        let writes = order.offer.prices.cache_write.is_some() && random.u8(..3) == 0;
        let cache_write = if writes { random.u64(..=(prompt - cached) / 2) } else { 0 };

        let visible = content.chars().count() as u64 / CHARACTERS_PER_TOKEN + random.u64(1..=60);
        let reasoning = if order.offer.reasons { random.u64(8..=256) } else { 0 };
        let limit = order.token_limit.unwrap_or(u64::MAX);
        let completion = (visible + reasoning).min(limit);
        Self {
            prompt,
            cached,
            cache_write,
            completion,
            reasoning: reasoning.min(completion),
            cut: visible + reasoning > limit,
        }
    }

    /// Prompt and completion at list price, in the doubles OpenRouter computes with.
    fn list_price(&self, prices: &Prices) -> (f64, f64) {
        let fresh = self.prompt - self.cached - self.cache_write;
        let prompt = fresh as f64 * prices.prompt
            + self.cached as f64 * prices.cache_read
            + self.cache_write as f64 * prices.cache_write.unwrap_or(prices.prompt);
        (prompt, self.completion as f64 * prices.completion)
    }
}

/// The vendors' own words for why an answer ended.
fn native_reason(permaslug: &str, finish_reason: &str) -> String {
    let vendor = permaslug.split('/').next().unwrap_or_default();
    match (vendor, finish_reason) {
        ("anthropic", "stop") => "end_turn",
        ("anthropic", "length") => "max_tokens",
        ("anthropic", "tool_calls") => "tool_use",
        ("google", "stop") => "STOP",
        ("google", "length") => "MAX_TOKENS",
        ("openai", "stop") => "completed",
        _ => finish_reason,
    }
    .to_owned()
}
