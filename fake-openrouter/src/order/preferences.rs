//! The few fields that OpenRouter refuses to take as they come.

use serde_json::{Map, Value};

/// `provider` is closed: what it does not know is an error, not passed over.
const PROVIDER: [&str; 14] = [
    "allow_fallbacks",
    "data_collection",
    "enforce_distillable_text",
    "ignore",
    "max_price",
    "only",
    "options",
    "order",
    "preferred_max_latency",
    "preferred_min_throughput",
    "quantizations",
    "require_parameters",
    "sort",
    "zdr",
];

pub(super) fn check(fields: &Map<String, Value>) -> Result<(), String> {
    let provider = fields.get("provider").and_then(Value::as_object);
    if let Some(key) =
        provider.into_iter().flat_map(Map::keys).find(|key| !PROVIDER.contains(&&***key))
    {
        return Err(format!("provider: Unrecognized key: {key:?}"));
    }
    let effort = fields.get("reasoning").and_then(|reasoning| reasoning.get("effort"));
    match (effort, fields.get("reasoning_effort")) {
        (Some(effort), Some(short)) if effort != short && !short.is_null() => {
            Err("reasoning_effort: conflicts with reasoning.effort".into())
        }
        _ => Ok(()),
    }
}
