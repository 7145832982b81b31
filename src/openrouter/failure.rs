//! How a call fails, and whether it may have been billed.
//! Source: OpenRouter's "Errors and debugging", "Zero completion insurance" (openrouter.ai/docs).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fields;
use super::retry::{Again, LONGEST_ASKED};

/// What went wrong, as far as a caller can act on it; `error.rs` gives each its SQLSTATE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    InvalidRequest,
    KeyMissing,
    KeyRefused,
    Credits,
    Forbidden,
    NotFound,
    Timeout,
    TooLarge,
    Unprocessable,
    RateLimited,
    BadUpstream,
    Unavailable,
    Internal,
}

/// A failed or refused call, for the caller's eyes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub kind: FailureKind,
    pub message: String,
    /// The provider's words.
    pub detail: Option<String>,
    pub hint: Option<String>,
}

impl Failure {
    pub fn new(kind: FailureKind, message: &str) -> Failure {
        Failure { kind, message: message.to_owned(), detail: None, hint: None }
    }

    /// An answer that cannot be given to a caller.
    pub fn unreadable(why: String) -> Failure {
        Failure::new(FailureKind::BadUpstream, "OpenRouter's answer cannot be read")
            .detail(why)
            .hint("hiems.raw_answer() has it as it came.")
    }

    pub fn detail(mut self, detail: impl Into<String>) -> Failure {
        self.detail = Some(detail.into()).filter(|detail| !detail.is_empty());
        self
    }

    pub fn hint(mut self, hint: &str) -> Failure {
        self.hint = Some(hint.to_owned());
        self
    }
}

/// An error that OpenRouter answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorAnswer {
    pub failure: Failure,
    /// `error_type`, or the code, for the ledger.
    pub error_code: String,
    /// True where nothing can have been generated, so that nothing was billed.
    pub surely_not_billed: bool,
    /// True where a provider had been asked by then: what is charged apart from tokens, such as a search
    /// before it, can have been charged.
    pub behind_provider: bool,
    /// Set where the same request may be taken later.
    pub again: Option<Again>,
}

/// The longest text of a provider's that is passed on.
const MAX_WORDS: usize = 2_000;

/// Reads an error: `status` is the HTTP status, `error` the body's `error` where the body is
/// OpenRouter's envelope, `retry_after` the header's seconds.
pub fn error_answer(status: u16, error: Option<&Value>, retry_after: Option<u64>) -> ErrorAnswer {
    // At HTTP 200 the code inside says what it would have been.
    let code = error.and_then(|error| error.get("code"));
    let inner = code.and_then(|code| match code {
        Value::String(text) => text.parse::<u16>().ok(),
        code => code.as_u64().and_then(|code| u16::try_from(code).ok()),
    });
    let effective = if status >= 400 { status } else { inner.filter(|c| *c >= 400).unwrap_or(502) };
    let (kind, message) = kind_of(effective);

    let mut detail = format!("HTTP {status}");
    match error {
        Some(error) => {
            if let Some(words) = words(error) {
                detail.push_str(": ");
                detail.extend(words.chars().take(MAX_WORDS));
            }
        }
        None => detail.push_str(", without OpenRouter's error envelope"),
    }
    let hinted =
        error.and_then(|error| error.pointer("/availability/retry_after")).and_then(Value::as_u64);
    let seconds = retry_after.or(hinted);
    let after = seconds.map(|seconds| Duration::from_secs(seconds).min(LONGEST_ASKED));
    if let Some((seconds, after)) = seconds.zip(after) {
        detail.push_str(&format!("; retry after {seconds} s"));
        if after.as_secs() < seconds {
            detail.push_str(&format!(", of which hiems waits {}", after.as_secs()));
        }
    }
    let mut failure = Failure::new(kind, message).detail(detail);
    failure.hint = hint_for(kind).map(str::to_owned);

    let error_code =
        error.map_or_else(|| effective.to_string(), |e| error_code(e, Some(effective)));
    // Before the first token there is an ordinary status and the envelope. A timeout says nothing of
    // what runs on behind it, and a page of the edge's nothing of OpenRouter's state.
    // An error that is no object may come from a proxy in between. It counts as the envelope only at a status that
    // refuses the request itself: behind any other, such as 499 or 502, the model may be running.
    let refuses = matches!(status, 400..=404 | 413 | 422 | 429);
    let refused = error.is_some_and(|error| error.is_object() || refuses);
    let surely_not_billed = status >= 400 && refused && !matches!(status, 408 | 504 | 524);
    let is_final = error
        .and_then(|error| error.pointer("/availability/retryable"))
        .is_some_and(|retryable| *retryable == Value::Bool(false));
    let again = (matches!(status, 429 | 503) && !is_final).then_some(Again { after });
    let has =
        |pointer| error.and_then(|error| error.pointer(pointer)).is_some_and(|it| !it.is_null());
    let behind_provider = status >= 500 || has("/metadata/provider_name") || has("/metadata/raw");
    ErrorAnswer { failure, error_code, surely_not_billed, behind_provider, again }
}

/// What went wrong, for the ledger: `error_type`, else the code, else the status.
pub fn error_code(error: &Value, status: Option<u16>) -> String {
    let error_type = error.pointer("/metadata/error_type").or(error.get("error_type"));
    match error_type.and_then(Value::as_str).map(fields::label) {
        Some(error_type) => error_type,
        None => match (error.get("code"), status) {
            (Some(Value::String(code)), _) => fields::label(code),
            (Some(Value::Number(code)), _) => fields::label(&code.to_string()),
            (_, Some(status)) => status.to_string(),
            _ => "error".to_owned(),
        },
    }
}

/// What is said of the cause. The message of a provider's error is often only "Provider returned
/// error": its own words are in the metadata.
fn words(error: &Value) -> Option<String> {
    match error {
        Value::Object(_) => {}
        Value::String(text) => return Some(text.clone()).filter(|text| !text.is_empty()),
        other => return Some(other.to_string()),
    }
    let message = error.get("message").and_then(Value::as_str).filter(|text| !text.is_empty());
    let provider = error.pointer("/metadata/provider_name").and_then(Value::as_str);
    let raw = match error.pointer("/metadata/raw") {
        Some(Value::String(raw)) => Some(raw.clone()),
        Some(Value::Null) | None => None,
        Some(raw) => Some(raw.to_string()),
    };
    let own = match (provider, raw) {
        (Some(provider), Some(raw)) => Some(format!("{provider}: {raw}")),
        (None, raw) => raw,
        (Some(provider), None) => Some(provider.to_owned()),
    };
    match (message, own) {
        (Some(message), Some(own)) => Some(format!("{message} ({own})")),
        (message, own) => message.map(str::to_owned).or(own),
    }
}

fn kind_of(status: u16) -> (FailureKind, &'static str) {
    match status {
        401 => (FailureKind::KeyRefused, "OpenRouter refused the key"),
        402 => (FailureKind::Credits, "OpenRouter refused the call for lack of credits"),
        403 => (FailureKind::Forbidden, "OpenRouter does not allow the call"),
        404 => (FailureKind::NotFound, "OpenRouter did not find what was asked for"),
        408 | 504 | 524 => (FailureKind::Timeout, "OpenRouter gave up waiting for the model"),
        413 => (FailureKind::TooLarge, "the request is too large for OpenRouter"),
        422 => (FailureKind::Unprocessable, "OpenRouter cannot process the request"),
        429 => (FailureKind::RateLimited, "OpenRouter or the provider limits the rate of calls"),
        503 | 529 => (FailureKind::Unavailable, "no provider is available for the model"),
        400..=499 => (FailureKind::InvalidRequest, "OpenRouter refused the request"),
        _ => (FailureKind::BadUpstream, "OpenRouter or the provider failed"),
    }
}

fn hint_for(kind: FailureKind) -> Option<&'static str> {
    Some(match kind {
        FailureKind::KeyRefused => "Store a valid key with hiems.set_api_key().",
        FailureKind::Credits => {
            "Buy credits, raise the key's limit, or set max_completion_tokens in options."
        }
        FailureKind::Forbidden => "Look at the key's permissions, guardrails and budgets.",
        FailureKind::NotFound => "Look at the model's name, and at the provider options.",
        FailureKind::RateLimited | FailureKind::Unavailable => "Try again later.",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_envelope_gives_kind_words_and_code() {
        let error = json!({"code": 402, "message": "more credits",
                           "metadata": {"error_type": "payment_required"}});
        let answer = error_answer(402, Some(&error), None);
        assert_eq!(answer.failure.kind, FailureKind::Credits);
        assert_eq!(answer.failure.detail.as_deref(), Some("HTTP 402: more credits"));
        assert_eq!(answer.error_code, "payment_required");
        assert!(answer.surely_not_billed);
    }

    #[test]
    fn a_providers_own_words_are_passed_on() {
        let error = json!({"code": 429, "message": "Provider returned error",
                           "metadata": {"raw": {"reason": "slow"}, "provider_name": "Groq"}});
        let detail = error_answer(429, Some(&error), None).failure.detail;
        assert_eq!(
            detail.as_deref(),
            Some(r#"HTTP 429: Provider returned error (Groq: {"reason":"slow"})"#)
        );
    }

    #[test]
    fn a_timeout_and_a_page_of_the_edge_may_have_been_billed() {
        assert!(!error_answer(408, Some(&json!({"code": 408})), None).surely_not_billed);
        assert!(!error_answer(502, None, None).surely_not_billed);
        assert!(!error_answer(200, Some(&json!({"code": 502})), None).surely_not_billed);
    }

    #[test]
    fn only_a_429_or_503_may_be_taken_later() {
        let again = |status, error| error_answer(status, Some(&error), None).again;
        let at_once = Some(Again { after: None });
        assert_eq!(again(429, json!({"code": 429})), at_once);
        assert_eq!(again(503, json!({"code": 503})), at_once);
        for status in [200, 400, 402, 408, 500, 502, 504, 524, 529] {
            assert_eq!(again(status, json!({"code": 429})), None, "{status}");
        }
        let gone = json!({"availability": {"code": "model_deprecated", "retryable": false}});
        assert_eq!(again(503, gone), None);
        let hinted = json!({"availability": {"retryable": true, "retry_after": 3}});
        assert_eq!(again(503, hinted), Some(Again { after: Some(Duration::from_secs(3)) }));
    }

    #[test]
    fn nobody_is_waited_for_longer_than_an_hour() {
        let bounded = Some(Again { after: Some(LONGEST_ASKED) });
        for (header, hint) in [(Some(u64::MAX), 1), (None, u64::MAX), (Some(3_601), 1)] {
            let error = json!({"code": 429, "availability": {"retry_after": hint}});
            let answer = error_answer(429, Some(&error), header);
            assert_eq!(answer.again, bounded);
            let detail = answer.failure.detail.unwrap_or_default();
            assert!(detail.ends_with(" s, of which hiems waits 3600"), "{detail}");
        }
    }

    #[test]
    fn an_error_at_status_200_goes_by_its_own_code() {
        let answer =
            error_answer(200, Some(&json!({"code": 429, "message": "slow down"})), Some(7));
        assert_eq!(answer.failure.kind, FailureKind::RateLimited);
        assert_eq!(answer.failure.detail.as_deref(), Some("HTTP 200: slow down; retry after 7 s"));
        let text = error_answer(200, Some(&json!({"code": "server_error"})), None);
        assert_eq!(text.failure.kind, FailureKind::BadUpstream);
        assert_eq!(text.error_code, "server_error");
        let digits = error_answer(200, Some(&json!({"code": "429"})), None);
        assert_eq!(digits.failure.kind, FailureKind::RateLimited);
    }

    #[test]
    fn an_error_that_is_only_a_text_is_passed_on() {
        let refused = error_answer(400, Some(&json!("no such model")), None);
        assert_eq!(refused.failure.detail.as_deref(), Some("HTTP 400: no such model"));
        assert!(refused.surely_not_billed);
        for status in [408, 499, 502, 503] {
            let answer = error_answer(status, Some(&json!("from a proxy")), None);
            assert!(!answer.surely_not_billed, "{status}");
        }
    }
}
