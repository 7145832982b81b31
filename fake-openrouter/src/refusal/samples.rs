//! What each error status looks like when OpenRouter answers it to a chat completion.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::{Refusal, USER_ID};
use crate::control::Shape;

/// The page Cloudflare shows in OpenRouter's place when the origin did not answer in time.
const EDGE_TIMEOUT: &str = include_str!("edge_524.html");

/// The error that a request asked for. `provider` and `model` are those that would have answered.
pub(crate) fn sample(
    status: StatusCode,
    shape: Shape,
    reset: Option<Duration>,
    model: &str,
    provider: &str,
) -> Refusal {
    let (message, metadata) = wording(status, model, provider);
    if status.as_u16() == 524 {
        return page(status);
    }
    match shape {
        Shape::Page => page(status),
        Shape::Availability => availability(status, &message, model, provider),
        Shape::Platform | Shape::PlatformBody => platform(status, reset, shape),
        Shape::Envelope => Refusal::new(status, &message, Some(metadata)),
        Shape::CodeText => {
            let code = status.as_u16().to_string();
            Refusal::envelope(status, json!({ "error": { "code": code, "message": message } }))
        }
        Shape::Text => Refusal::envelope(status, json!({ "error": message })),
        Shape::Number => Refusal::envelope(status, json!({ "error": status.as_u16() })),
        Shape::List => Refusal::envelope(status, json!({ "error": [{ "message": message }] })),
        Shape::Message => Refusal::envelope(status, json!({ "message": message })),
        Shape::Detail => {
            let item =
                json!({ "loc": ["body", "messages"], "msg": message, "type": "value_error" });
            Refusal::envelope(status, json!({ "detail": [item] }))
        }
        Shape::Plain => {
            let text = HeaderValue::from_static("text/plain; charset=utf-8");
            Refusal::envelope(status, Value::Null).saying(message).with(header::CONTENT_TYPE, text)
        }
    }
}

/// A limit of OpenRouter's own, such as that of free models: a day's is reset hours later.
fn platform(status: StatusCode, reset: Option<Duration>, shape: Shape) -> Refusal {
    let reset = SystemTime::now() + reset.unwrap_or(SIX_HOURS);
    let reset = reset.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis().to_string();
    let metadata = json!({
        "error_type": "rate_limit_exceeded",
        "headers": {
            "X-RateLimit-Limit": "50",
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset": reset,
        },
    });
    let refusal =
        Refusal::new(status, "Rate limit exceeded: free-models-per-day. ", Some(metadata));
    if shape == Shape::PlatformBody {
        return refusal;
    }
    let header = |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""));
    refusal
        .with(HeaderName::from_static("x-ratelimit-limit"), header("50"))
        .with(HeaderName::from_static("x-ratelimit-remaining"), header("0"))
        .with(HeaderName::from_static("x-ratelimit-reset"), header(&reset))
}

const SIX_HOURS: Duration = Duration::from_secs(6 * 3_600);

/// The envelope at status 200: the error came when the status line was out.
pub(crate) fn late(code: &str, model: &str, provider: &str) -> Refusal {
    let status = code.parse().ok().and_then(|code| StatusCode::from_u16(code).ok());
    let (code, (message, metadata)) = match status {
        Some(status) => (json!(status.as_u16()), wording(status, model, provider)),
        None => (json!(code), ("Internal Server Error".into(), Value::Null)),
    };
    let mut error = json!({ "code": code, "message": message });
    if !metadata.is_null() {
        error["metadata"] = metadata;
    }
    Refusal::envelope(StatusCode::OK, json!({ "error": error, "user_id": USER_ID }))
}

/// What the edge answers in OpenRouter's place.
fn page(status: StatusCode) -> Refusal {
    let text = if status.as_u16() == 524 {
        EDGE_TIMEOUT.to_owned()
    } else {
        let reason = status.canonical_reason().unwrap_or("Error");
        format!(
            "<!DOCTYPE html>\n<html><body><h1>{} {reason}</h1></body></html>\n",
            status.as_u16()
        )
    };
    Refusal::envelope(status, Value::Null)
        .saying(text)
        .with(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"))
        .with(header::SERVER, HeaderValue::from_static("cloudflare"))
}

/// The envelope of a model that is not to be had: no code, but a type and what could help.
fn availability(status: StatusCode, message: &str, model: &str, provider: &str) -> Refusal {
    let error = json!({
        "message": message,
        "error_type": "no_endpoints",
        "http_status": status.as_u16(),
        "availability": {
            "code": "no_endpoints",
            "retryable": true,
            "retry_after": 12,
            "requested_models": [model],
            "affected_providers": [provider],
        },
    });
    Refusal::envelope(status, json!({ "error": error, "user_id": USER_ID }))
}

fn wording(status: StatusCode, model: &str, provider: &str) -> (String, Value) {
    let plain = |error_type: &str| json!({ "error_type": error_type });
    let upstream = |error_type: &str, provider_code: &str, raw: &str| {
        json!({
            "error_type": error_type,
            "provider_code": provider_code,
            "provider_name": provider,
            "raw": raw,
        })
    };
    match status.as_u16() {
        400 => (
            "Provider returned error".into(),
            upstream("invalid_request", "invalid_request_error", "invalid value for a parameter"),
        ),
        401 => ("User not found.".into(), plain("authentication")),
        402 => (
            "This request requires more credits, or fewer max_tokens. You requested up to 16384 \
             tokens, but can only afford 1210. To increase, visit \
             https://openrouter.ai/settings/credits and add more credits"
                .into(),
            plain("payment_required"),
        ),
        403 => (
            format!("{model} requires moderation on {provider}. Your input was flagged"),
            json!({
                "error_type": "content_policy_violation",
                "reasons": ["violence"],
                "flagged_input": "...",
                "provider_name": provider,
                "model_slug": model,
            }),
        ),
        404 => (format!("No endpoints found for {model}."), plain("not_found")),
        408 => ("Operation timed out. Please try again later.".into(), plain("timeout")),
        413 => ("Request payload too large".into(), plain("payload_too_large")),
        422 => ("Invalid argument".into(), plain("unprocessable")),
        429 => (
            "Provider returned error".into(),
            upstream(
                "rate_limit_exceeded",
                "rate_limit_exceeded",
                &format!("{model} is temporarily rate-limited upstream. Please retry shortly"),
            ),
        ),
        500 => ("Internal Server Error".into(), plain("server")),
        502 => (
            "Provider returned error".into(),
            json!({
                "error_type": "provider_unavailable",
                "provider_code": "server_error",
                "provider_name": provider,
                "raw": "upstream connect error or disconnect/reset before headers",
                "previous_errors": [{ "provider": provider, "code": 502, "status": 502 }],
            }),
        ),
        503 => (
            "There is no available model provider that meets your routing requirements".into(),
            plain("provider_unavailable"),
        ),
        529 => (
            "Provider returned error".into(),
            upstream("provider_overloaded", "overloaded_error", "Overloaded"),
        ),
        _ => {
            let reason = status.canonical_reason().unwrap_or("Unexpected error");
            (reason.into(), plain("unmapped"))
        }
    }
}
