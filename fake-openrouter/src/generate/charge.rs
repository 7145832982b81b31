//! What a generation costs, in the doubles that OpenRouter computes with.

use super::tokens::Tokens;
use crate::control::Control;
use crate::models::Prices;
use crate::money::token_of;

/// The amounts of an answer, each a literal number token.
pub(super) struct Charge {
    /// What the account is charged.
    pub(super) cost: String,
    pub(super) upstream: Option<String>,
    /// List price of the prompt.
    pub(super) prompt: String,
    /// List price of the completion.
    pub(super) completion: String,
}

impl Charge {
    /// `insured` is what zero completion insurance covers: all but the tools.
    pub(super) fn reckon(
        control: &Control,
        prices: &Prices,
        tokens: &Tokens,
        insured: bool,
    ) -> Self {
        let wishes = &control.charge;
        let (prompt, completion) = list_price(prices, tokens);
        let list = token_of(prompt + completion);
        // Whoever brings the provider's key pays the provider.
        let of_tokens = if wishes.byok || insured { 0.0 } else { prompt + completion };
        let of_tools = wishes.tool_cost.as_deref().map_or(0.0, |cost| cost.parse().unwrap_or(0.0));
        let cost = match (&wishes.cost, &wishes.tool_cost) {
            (Some(cost), _) => cost.clone(),
            (None, Some(cost)) if of_tokens == 0.0 => cost.clone(),
            (None, _) => token_of(of_tokens + of_tools),
        };
        let upstream = match &wishes.upstream_cost {
            Some(wished) => wished.clone(),
            None if wishes.byok => Some(list),
            None if wishes.tool_cost.is_some() => Some(token_of(of_tokens)),
            None => Some(cost.clone()),
        };
        Self { cost, upstream, prompt: token_of(prompt), completion: token_of(completion) }
    }
}

/// Prompt and completion at list price.
fn list_price(prices: &Prices, tokens: &Tokens) -> (f64, f64) {
    let fresh = tokens.prompt - tokens.cached - tokens.cache_write;
    let prompt = fresh as f64 * prices.prompt
        + tokens.cached as f64 * prices.cache_read
        + tokens.cache_write as f64 * prices.cache_write.unwrap_or(prices.prompt);
    (prompt, tokens.completion as f64 * prices.completion)
}
