//! Wishes for what the generation costs.

use super::{Taken, token, truth, whole};

#[derive(Debug, Default)]
pub(crate) struct Wishes {
    pub(crate) cost: Option<String>,
    pub(crate) tool_cost: Option<String>,
    pub(crate) byok: bool,
    /// `Some(None)` is a null.
    pub(crate) upstream_cost: Option<Option<String>>,
    pub(crate) cached_tokens: Option<u64>,
    pub(crate) cache_write_tokens: Option<u64>,
    pub(crate) reasoning_tokens: Option<u64>,
    pub(crate) days_ago: u64,
    pub(crate) cache_hit: bool,
}

impl Wishes {
    pub(super) fn set(&mut self, wish: &str, text: &str) -> Taken {
        let null_or_token = || if text == "null" { Ok(None) } else { token(text).map(Some) };
        match wish {
            "cost" => self.cost = Some(token(text)?),
            "tool_cost" => self.tool_cost = Some(token(text)?),
            "byok" => self.byok = truth(text)?,
            "upstream_cost" => self.upstream_cost = Some(null_or_token()?),
            "cached_tokens" => self.cached_tokens = Some(whole(text)?),
            "cache_write_tokens" => self.cache_write_tokens = Some(whole(text)?),
            "reasoning_tokens" => self.reasoning_tokens = Some(whole(text)?),
            "days_ago" => self.days_ago = whole(text)?,
            "cache_hit" => self.cache_hit = truth(text)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}
