//! How many tokens a generation takes.

use fastrand::Rng;

use crate::order::Order;

/// Rough length of a token.
pub(super) const CHARACTERS_PER_TOKEN: u64 = 4;

/// Native counts; parts lie inside `prompt` and `completion`.
#[derive(Clone, Copy, Default)]
pub(super) struct Tokens {
    pub(super) prompt: u64,
    pub(super) cached: u64,
    pub(super) cache_write: u64,
    pub(super) completion: u64,
    pub(super) reasoning: u64,
    /// The request's limit was reached.
    pub(super) cut: bool,
}

impl Tokens {
    pub(super) fn draw(order: &Order, content: &str, random: &mut Rng) -> Self {
        let wishes = &order.control.charge;
        let prompt =
            order.prompt_length / CHARACTERS_PER_TOKEN + 4 * order.messages + random.u64(1..=12);
        let cached = if random.u8(..3) == 0 { random.u64(..=prompt / 2) } else { 0 };
        let cached = wishes.cached_tokens.unwrap_or(cached);
        let writes = order.offer.prices.cache_write.is_some() && random.u8(..3) == 0;
        let cache_write = if writes { random.u64(..=prompt.saturating_sub(cached) / 2) } else { 0 };
        let cache_write = wishes.cache_write_tokens.unwrap_or(cache_write);

        let visible = content.chars().count() as u64 / CHARACTERS_PER_TOKEN + random.u64(1..=60);
        let reasoning = if order.offer.reasons { random.u64(8..=256) } else { 0 };
        let reasoning = wishes.reasoning_tokens.unwrap_or(reasoning);
        let limit = order.token_limit.unwrap_or(u64::MAX);
        let completion =
            if order.control.answer.empty { 0 } else { (visible + reasoning).min(limit) };
        Self {
            // A prompt that is said to be cached holds at least what is cached.
            prompt: prompt.max(cached + cache_write),
            cached,
            cache_write,
            completion,
            reasoning: reasoning.min(completion),
            cut: visible + reasoning > limit,
        }
    }

    /// The same, broken off after this many tokens of the completion.
    pub(super) fn stopped_at(self, completion: u64) -> Self {
        Self { completion, reasoning: self.reasoning.min(completion), ..self }
    }
}
