//! GET /models: the known models with their prices, and /models/{author}/{slug}/endpoints: one model at
//! each of its providers. Readable without a key, as in practice.

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::models::{CATALOG, Model};
use crate::refusal::Refusal;

const PARAMETERS: [&str; 9] = [
    "frequency_penalty",
    "max_tokens",
    "presence_penalty",
    "response_format",
    "seed",
    "stop",
    "temperature",
    "top_k",
    "top_p",
];

pub(super) async fn list() -> Response {
    let models: Vec<Value> = CATALOG.iter().map(entry).collect();
    super::json(&json!({
        "data": models,
        "total_count": CATALOG.len(),
        "links": { "next": null },
    }))
}

pub(super) async fn endpoints(Path((author, slug)): Path<(String, String)>) -> Response {
    let name = format!("{author}/{slug}");
    let Some(model) = CATALOG.iter().find(|it| it.slug == name || it.permaslug == name) else {
        return Refusal::not_found(&format!("Model {name} not found")).into_response();
    };
    let entry = entry(model);
    let endpoints: Vec<Value> = model
        .providers
        .iter()
        .map(|provider| {
            json!({
                "name": format!("{provider} | {}", model.permaslug),
                "model_id": model.slug,
                "model_name": model.name,
                "context_length": model.context_length,
                "pricing": entry["pricing"],
                "provider_name": provider,
                "tag": provider.to_lowercase().replace(' ', "-"),
                "quantization": null,
                "max_completion_tokens": model.longest_completion,
                "max_prompt_tokens": null,
                "supported_parameters": entry["supported_parameters"],
                "status": 0,
                "uptime_last_30m": 99.9,
                "uptime_last_5m": 100,
                "uptime_last_1d": 99.8,
                "supports_implicit_caching": model.cache_write.is_none(),
                "latency_last_30m": null,
                "throughput_last_30m": null,
            })
        })
        .collect();
    super::json(&json!({
        "data": {
            "id": model.slug,
            "name": model.name,
            "created": model.created,
            "description": entry["description"],
            "architecture": entry["architecture"],
            "endpoints": endpoints,
        },
    }))
}

fn entry(model: &Model) -> Value {
    let modalities: &[&str] = if model.sees_images { &["text", "image"] } else { &["text"] };
    let mut pricing = json!({
        "prompt": model.prompt,
        "completion": model.completion,
        "request": "0",
        "image": "0",
        "web_search": "0",
        "internal_reasoning": "0",
        "input_cache_read": model.cache_read,
    });
    if let Some(price) = model.cache_write {
        pricing["input_cache_write"] = price.into();
    }
    let mut parameters = PARAMETERS.to_vec();
    if model.reasons {
        parameters.extend(["include_reasoning", "reasoning"]);
    }
    json!({
        "id": model.slug,
        "canonical_slug": model.permaslug,
        "hugging_face_id": null,
        "name": model.name,
        "created": model.created,
        "description": format!("{}, as the fake serves it.", model.name),
        "context_length": model.context_length,
        "architecture": {
            "modality": format!("{}->text", modalities.join("+")),
            "input_modalities": modalities,
            "output_modalities": ["text"],
            "tokenizer": model.tokenizer,
            "instruct_type": null,
        },
        "pricing": pricing,
        "top_provider": {
            "context_length": model.context_length,
            "max_completion_tokens": model.longest_completion,
            "is_moderated": false,
        },
        "per_request_limits": null,
        "supported_parameters": parameters,
        "supported_voices": null,
        "default_parameters": null,
        "knowledge_cutoff": null,
        "expiration_date": null,
        "links": { "details": format!("/api/v1/models/{}/endpoints", model.permaslug) },
    })
}
