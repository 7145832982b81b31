//! The `usage` object: tokens and what they cost.
//!
//! `cost` is the charge. `upstream_inference_cost` is never added to it: without BYOK it repeats the
//! cost, with BYOK it is the provider's own bill. Cached and written tokens are inside
//! `prompt_tokens`, reasoning inside `completion_tokens`.
//! Source: OpenRouter's "Usage accounting" (openrouter.ai/docs).

use serde_json::Value;
use serde_json::value::RawValue;

use super::fields::{self, Field, pick_of};
use super::money::{self, Amount};

/// What an answer says of its usage; None is "not said", never 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    pub prompt_tokens: Option<i64>,
    pub completion_tokens: Option<i64>,
    pub total_tokens: Option<i64>,
    pub cached_tokens: Option<i64>,
    pub cache_write_tokens: Option<i64>,
    pub reasoning_tokens: Option<i64>,
    pub cost: Amount,
    pub upstream_cost: Amount,
    pub is_byok: Option<bool>,
}

impl Usage {
    /// Reads the `usage` of an answer; unknown fields and unexpected types are passed over. None: it is no object.
    pub fn read(usage: &RawValue) -> Option<Usage> {
        let names = [
            "prompt_tokens",
            "completion_tokens",
            "total_tokens",
            "prompt_tokens_details",
            "completion_tokens_details",
            "cost",
            "cost_details",
            "is_byok",
        ];
        let [prompt, completion, total, of_prompt, of_completion, cost, of_cost, is_byok] =
            fields::pick(usage.get(), &names).ok()?;
        let [cached, written] = pick_of(of_prompt, &["cached_tokens", "cache_write_tokens"]);
        let [reasoning] = pick_of(of_completion, &["reasoning_tokens"]);
        let [upstream_cost] = pick_of(of_cost, &["upstream_inference_cost"]);
        Some(Usage {
            prompt_tokens: count(prompt),
            completion_tokens: count(completion),
            total_tokens: count(total),
            cached_tokens: count(cached),
            cache_write_tokens: count(written),
            reasoning_tokens: count(reasoning),
            cost: amount(cost),
            upstream_cost: amount(upstream_cost),
            is_byok: fields::read(is_byok),
        })
    }
}

/// More tokens than any call has: millions of such counts can be added up within 64 bits.
const MOST_TOKENS: i64 = 1_000_000_000_000;

/// True of what can be a number of tokens; what cannot counts as not said.
pub(super) fn is_count(tokens: &i64) -> bool {
    (0..=MOST_TOKENS).contains(tokens)
}

fn count(field: Field) -> Option<i64> {
    fields::read(field).filter(is_count)
}

fn amount(field: Field) -> Amount {
    money::amount(fields::read::<Value>(field).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_of_tokens_is_not_said() {
        let usage = serde_json::from_str::<&RawValue>(
            r#"{"prompt_tokens": -1, "completion_tokens": 1000000000001,
                "total_tokens": 1000000000000, "cost": 1}"#,
        );
        let usage = usage.ok().and_then(Usage::read);
        let counts = usage.map(|u| (u.prompt_tokens, u.completion_tokens, u.total_tokens));
        assert_eq!(counts, Some((None, None, Some(MOST_TOKENS))));
    }

    #[test]
    fn a_byok_answer_keeps_fee_and_provider_bill_apart() {
        let usage = serde_json::from_str::<&RawValue>(
            r#"{"prompt_tokens": 64, "completion_tokens": 98, "total_tokens": 162, "cost": 0,
                "is_byok": true, "cost_details": {"upstream_inference_cost": 0.0003253},
                "prompt_tokens_details": {"cached_tokens": 12},
                "completion_tokens_details": null}"#,
        );
        let usage = usage.ok().and_then(Usage::read);
        let token = |amount: &Amount| amount.clone().known().map(|n| n.as_str().to_owned());
        assert!(usage.is_some_and(|usage| {
            token(&usage.cost).as_deref() == Some("0")
                && token(&usage.upstream_cost).as_deref() == Some("0.0003253")
                && usage.is_byok == Some(true)
                && usage.cached_tokens == Some(12)
                && usage.reasoning_tokens.is_none()
                && usage.cache_write_tokens.is_none()
        }));
    }
}
