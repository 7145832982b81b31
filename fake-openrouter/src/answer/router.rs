//! `openrouter_metadata`: how the request was routed, for callers who ask for it by a header.

use serde_json::{Value, json};

use crate::generate::Outcome;

/// What the router tells; nothing where it was not asked, or where the answer is a cached one.
pub(crate) fn metadata(outcome: &Outcome) -> Option<Value> {
    let generation = &outcome.generation;
    if !outcome.tells_routing || generation.response_cache_source_id.is_some() {
        return None;
    }
    let (provider, model) = (&generation.provider, &generation.model);
    let attempt = |status: u16| json!({ "provider": provider, "model": model, "status": status });
    let failed = usize::try_from(generation.failed_attempts).unwrap_or_default();
    let mut attempts = vec![attempt(502); failed];
    attempts.push(attempt(200));
    Some(json!({
        "requested": generation.model_requested,
        "strategy": "direct",
        "region": null,
        "summary": format!("{model} at {provider}"),
        "attempt": attempts.len(),
        "attempts": attempts,
        "is_byok": generation.is_byok,
        "endpoints": {
            "total": 1,
            "available": [{ "provider": provider, "model": model, "selected": true }],
        },
    }))
}
