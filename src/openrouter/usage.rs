//! The `usage` object: tokens and what they cost.
//!
//! `cost` is the charge. `upstream_inference_cost` is never added to it: without BYOK it repeats the
//! cost, with BYOK it is the provider's own bill. Cached and written tokens are inside
//! `prompt_tokens`, reasoning inside `completion_tokens`.
//! Source: OpenRouter's "Usage accounting" (openrouter.ai/docs).

use serde_json::Value;

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
    /// Reads the `usage` of an answer; unknown fields and unexpected types are passed over.
    pub fn read(usage: &Value) -> Usage {
        let count = |path: &str| usage.pointer(path).and_then(Value::as_i64);
        Usage {
            prompt_tokens: count("/prompt_tokens"),
            completion_tokens: count("/completion_tokens"),
            total_tokens: count("/total_tokens"),
            cached_tokens: count("/prompt_tokens_details/cached_tokens"),
            cache_write_tokens: count("/prompt_tokens_details/cache_write_tokens"),
            reasoning_tokens: count("/completion_tokens_details/reasoning_tokens"),
            cost: money::amount(usage.get("cost")),
            upstream_cost: money::amount(usage.pointer("/cost_details/upstream_inference_cost")),
            is_byok: usage.get("is_byok").and_then(Value::as_bool),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byok_answer_keeps_fee_and_provider_bill_apart() {
        let usage = serde_json::from_str::<Value>(
            r#"{"prompt_tokens": 64, "completion_tokens": 98, "total_tokens": 162, "cost": 0,
                "is_byok": true, "cost_details": {"upstream_inference_cost": 0.0003253},
                "prompt_tokens_details": {"cached_tokens": 12},
                "completion_tokens_details": null}"#,
        );
        let usage = usage.map(|usage| Usage::read(&usage));
        let token = |amount: &Amount| amount.clone().known().map(|n| n.as_str().to_owned());
        assert!(usage.is_ok_and(|usage| {
            token(&usage.cost).as_deref() == Some("0")
                && token(&usage.upstream_cost).as_deref() == Some("0.0003253")
                && usage.is_byok == Some(true)
                && usage.cached_tokens == Some(12)
                && usage.reasoning_tokens.is_none()
                && usage.cache_write_tokens.is_none()
        }));
    }
}
