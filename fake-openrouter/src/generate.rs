//! What the model behind an order would have done: text, tokens and their price.
//!
//! Decides everything at once and touches nothing shared; time passes and money moves elsewhere.

mod charge;
mod tokens;

use std::time::Duration;

use axum::http::HeaderMap;
use fastrand::Rng;
use time::OffsetDateTime;

use charge::Charge;
use tokens::{CHARACTERS_PER_TOKEN, Tokens};

use crate::bill::Generation;
use crate::clock;
use crate::control::{Control, ErrorForm};
use crate::models::Prices;
use crate::order::Order;
use crate::words;

/// A whole generation, known in advance.
pub(crate) struct Outcome {
    /// As it will stand in the bill.
    pub(crate) generation: Generation,
    pub(crate) content: String,
    /// List price of the prompt, a number token.
    pub(crate) prompt_cost: String,
    /// List price of the completion, a number token.
    pub(crate) completion_cost: String,
    /// The caller asked how it was routed.
    pub(crate) tells_routing: bool,
    prices: Prices,
    tokens: Tokens,
}

impl Outcome {
    /// The bill's entry while the generation runs.
    pub(crate) fn running(&self) -> Generation {
        Generation {
            cost: "0".into(),
            upstream_cost: None,
            finish_reason: None,
            native_finish_reason: None,
            latency_ms: 0,
            generation_time_ms: 0,
            ..counted(self.generation.clone(), &Tokens::default())
        }
    }

    /// The bill's entry if the client leaves after this many tokens of the completion, at a provider
    /// that stops. The cost is that of the tokens, whatever cost was wished for.
    pub(crate) fn cancelled(&self, control: &Control, completion: u64) -> Generation {
        let tokens = self.tokens.stopped_at(completion);
        let mut by_tokens = Control::default();
        by_tokens.charge.byok = control.charge.byok;
        let charge = Charge::reckon(&by_tokens, &self.prices, &tokens, completion == 0);
        Generation {
            cancelled: true,
            cost: charge.cost,
            upstream_cost: charge.upstream,
            finish_reason: None,
            native_finish_reason: None,
            ..counted(self.generation.clone(), &tokens)
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
    let control = &order.control;
    let offer = &order.offer;
    let text = control.answer.text.clone();
    let mut content = text.unwrap_or_else(|| words::answer(random, &order.question));
    if let Some(bytes) = control.answer.bytes {
        content = stretched(&content, bytes as usize);
    }
    let mut tokens = Tokens::draw(order, &content, random);
    let finish_reason = finish_reason(control, tokens.cut);
    let failed = finish_reason.as_deref() == Some("error");
    let late = control.refusal.late.is_some();
    if control.answer.empty || late {
        content.clear();
    } else if control.answer.text.is_none() && (tokens.cut || failed) {
        let length = content.chars().count();
        let visible = (tokens.completion - tokens.reasoning) * CHARACTERS_PER_TOKEN;
        let kept = if failed { length / 2 } else { length.min(visible as usize) };
        content = content.chars().take(kept).collect();
    }
    if let Some(fault) = control.transport.fault {
        fault.mark(&mut content);
    }
    if control.charge.cache_hit {
        tokens = Tokens::default();
    }

    let charge = Charge::reckon(control, &offer.prices, &tokens, failed || control.answer.empty);
    let header = |name: &str| Some(headers.get(name)?.to_str().ok()?.to_owned());
    let elapsed = duration.as_millis() as u64;
    let now = OffsetDateTime::now_utc();
    let day = now - time::Duration::days(control.charge.days_ago as i64);
    let native = |reason: &String| native_reason(&offer.permaslug, reason);
    let generation = Generation {
        id: format!("gen-{}-{}", now.unix_timestamp(), words::unique(20)),
        model: control.answer.model.clone().unwrap_or_else(|| offer.permaslug.clone()),
        model_requested: order.model.clone(),
        provider: offer.providers[random.usize(..offer.providers.len())].clone(),
        user: order.user.clone(),
        session_id: order.session_id.clone().or_else(|| header("x-session-id")),
        prompt_tokens: 0,
        completion_tokens: 0,
        cached_tokens: 0,
        cache_write_tokens: 0,
        reasoning_tokens: 0,
        normalized_prompt_tokens: 0,
        normalized_completion_tokens: 0,
        server_tool_calls: u64::from(control.charge.tool_cost.is_some()),
        cost: charge.cost,
        upstream_cost: charge.upstream,
        is_byok: control.charge.byok,
        failed_attempts: control.answer.failed_attempts,
        streamed: order.stream,
        cancelled: false,
        finished: false,
        billed: false,
        delivered: false,
        id_sent: false,
        id_sent_at: None,
        created: day.unix_timestamp(),
        created_at: clock::iso(day),
        native_finish_reason: finish_reason.as_ref().map(native),
        finish_reason,
        upstream_id: format!("chatcmpl-{}", words::unique(29)),
        request_id: format!("req-{}-{}", now.unix_timestamp(), words::unique(20)),
        response_cache_source_id: control
            .charge
            .cache_hit
            .then(|| format!("gen-{}-{}", now.unix_timestamp() - 60, words::unique(20))),
        latency_ms: elapsed / 2 + random.u64(1..40),
        generation_time_ms: elapsed + random.u64(40..90),
        http_referer: header("http-referer").or_else(|| header("referer")),
        user_agent: header("user-agent"),
    };
    Outcome {
        generation: counted(generation, &tokens),
        content,
        prompt_cost: charge.prompt,
        completion_cost: charge.completion,
        tells_routing: header("x-openrouter-metadata").is_some_and(|text| text == "enabled"),
        prices: offer.prices,
        tokens,
    }
}

/// A generation with these counts.
fn counted(generation: Generation, tokens: &Tokens) -> Generation {
    let normalized = |count: u64, more: u64| if count == 0 { 0 } else { count + more };
    Generation {
        prompt_tokens: tokens.prompt,
        completion_tokens: tokens.completion,
        cached_tokens: tokens.cached,
        cache_write_tokens: tokens.cache_write,
        reasoning_tokens: tokens.reasoning,
        normalized_prompt_tokens: normalized(tokens.prompt, 1 + tokens.prompt / 50),
        normalized_completion_tokens: normalized(tokens.completion, 2 + tokens.completion / 20),
        ..generation
    }
}

/// Why the generation ends.
fn finish_reason(control: &Control, cut: bool) -> Option<String> {
    // The form of a stream's error that carries a usage has not ended, and is charged.
    let breaks = control.streaming.error.is_some_and(|form| form != ErrorForm::Usage);
    if control.answer.empty || control.streaming.error == Some(ErrorForm::Usage) {
        None
    } else if breaks || (control.refusal.late.is_some() && !control.refusal.billed) {
        Some("error".to_owned())
    } else {
        let natural = if cut { "length" } else { "stop" };
        Some(control.answer.finish_reason.clone().unwrap_or_else(|| natural.to_owned()))
    }
}

/// The text again and again, `bytes` long, or a little less where a character would not fit.
fn stretched(text: &str, bytes: usize) -> String {
    let mut long = text.repeat(bytes / text.len().max(1) + 1);
    long.truncate((0..=bytes).rev().find(|end| long.is_char_boundary(*end)).unwrap_or(0));
    long
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
