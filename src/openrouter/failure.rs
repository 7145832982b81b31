//! How a call fails, and whether it may have been billed.
//! Source: OpenRouter's "Errors and debugging", "Zero completion insurance" (openrouter.ai/docs).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::retry::{self, Again, LONGEST_ASKED};
use super::{fields, words};

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

    /// Of an answer that has a text, too, though it is a failure.
    pub fn with_part(mut self) -> Failure {
        const WHERE: &str = "hiems.raw_answer() has the part of the answer that came, for a while.";
        self.hint = Some(self.hint.map_or(WHERE.to_owned(), |hint| format!("{hint} {WHERE}")));
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

/// What an answer says before its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub status: u16,
    /// In seconds, as the headers say.
    pub retry_after: Option<u64>,
    /// OpenRouter's clock, in milliseconds since the epoch.
    pub now: i64,
}

impl Head {
    /// Of a stream that has begun.
    pub fn of_stream() -> Head {
        Head { status: 200, retry_after: None, now: chrono::Utc::now().timestamp_millis() }
    }
}

/// What an answer that is an error says in its body.
pub enum Told<'a> {
    /// Its `error`, of whatever JSON type; OpenRouter's is an object.
    Error(&'a Value),
    /// It has none: somebody between here and OpenRouter says it in words of their own, or says nothing.
    Words(Option<String>),
}

/// True of a status that refuses the request itself: nothing was generated for it. At 408, 499 and those from 500 on
/// the model may be running.
fn refuses(status: u16) -> bool {
    matches!(status, 400..=407 | 409..=418 | 421..=424 | 426 | 428 | 429 | 431 | 451)
}

/// Reads an error.
pub fn error_answer(head: Head, told: &Told) -> ErrorAnswer {
    let Head { status, now, .. } = head;
    let error = match told {
        Told::Error(error) => Some(*error),
        Told::Words(_) => None,
    };
    // At HTTP 200 the code inside says what it would have been.
    let inner = error.and_then(inner_status);
    let effective = if status >= 400 { status } else { inner.filter(|c| *c >= 400).unwrap_or(502) };
    let (kind, message) = kind_of(effective);

    let mut detail = format!("HTTP {status}");
    let words = match told {
        Told::Error(error) => words::of_error(error),
        Told::Words(words) => {
            detail.push_str(", without OpenRouter's error envelope");
            words.clone()
        }
    };
    if let Some(words) = words {
        detail.push_str(": ");
        detail.extend(words.chars().take(MAX_WORDS));
    }
    let said = || error.and_then(|error| retry::wait_said(error, effective == 429, now));
    let seconds = head.retry_after.or_else(said);
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
    // Before the first token there is an ordinary status and the envelope. A timeout says nothing of what runs on
    // behind it. What is not in the envelope counts only where the status refuses the request itself.
    let is_envelope = error.is_some_and(Value::is_object);
    let is_timeout = matches!(status, 408 | 504 | 524);
    let surely_not_billed = refuses(status) || is_envelope && status >= 400 && !is_timeout;
    let is_final = error
        .and_then(|error| error.pointer("/availability/retryable"))
        .is_some_and(|retryable| *retryable == Value::Bool(false));
    // Pages and plain texts are not OpenRouter's: nobody has said that it would take the request later.
    let is_asked_to_wait = status == 429 && error.is_some() || status == 503 && is_envelope;
    let again = (is_asked_to_wait && !is_final).then_some(Again { after });
    let has =
        |pointer| error.and_then(|error| error.pointer(pointer)).is_some_and(|it| !it.is_null());
    let behind_provider =
        status >= 500 || !is_envelope || has("/metadata/provider_name") || has("/metadata/raw");
    ErrorAnswer { failure, error_code, surely_not_billed, behind_provider, again }
}

/// The status that an error names itself, as a number or as a text.
fn inner_status(error: &Value) -> Option<u16> {
    let named = ["code", "http_status", "status"].iter().filter_map(|name| error.get(name));
    named.chain(error.as_u64().map(|_| error)).find_map(|code| match code {
        Value::String(text) => text.trim().parse().ok(),
        code => code.as_u64().and_then(|code| u16::try_from(code).ok()),
    })
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

    fn read(status: u16, error: &Value, retry_after: Option<u64>) -> ErrorAnswer {
        error_answer(Head { status, retry_after, now: 0 }, &Told::Error(error))
    }

    fn read_words(status: u16, words: Option<&str>) -> ErrorAnswer {
        let head = Head { status, retry_after: None, now: 0 };
        error_answer(head, &Told::Words(words.map(str::to_owned)))
    }

    #[test]
    fn an_envelope_gives_kind_words_and_code() {
        let error = json!({"code": 402, "message": "more credits",
                           "metadata": {"error_type": "payment_required"}});
        let answer = read(402, &error, None);
        assert_eq!(answer.failure.kind, FailureKind::Credits);
        assert_eq!(answer.failure.detail.as_deref(), Some("HTTP 402: more credits"));
        assert_eq!(answer.error_code, "payment_required");
        assert!(answer.surely_not_billed);
    }

    #[test]
    fn a_providers_own_words_are_passed_on() {
        let error = json!({"code": 429, "message": "Provider returned error",
                           "metadata": {"raw": {"reason": "slow"}, "provider_name": "Groq"}});
        let detail = read(429, &error, None).failure.detail;
        assert_eq!(
            detail.as_deref(),
            Some(r#"HTTP 429: Provider returned error (Groq: {"reason":"slow"})"#)
        );
    }

    #[test]
    fn a_timeout_and_a_page_of_the_edge_may_have_been_billed() {
        assert!(!read(408, &json!({"code": 408}), None).surely_not_billed);
        assert!(!read_words(502, None).surely_not_billed);
        assert!(!read(200, &json!({"code": 502}), None).surely_not_billed);
    }

    #[test]
    fn only_a_429_or_503_may_be_taken_later() {
        let again = |status, error| read(status, &error, None).again;
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
            let answer = read(429, &error, header);
            assert_eq!(answer.again, bounded);
            let detail = answer.failure.detail.unwrap_or_default();
            assert!(detail.ends_with(" s, of which hiems waits 3600"), "{detail}");
        }
    }

    #[test]
    fn an_error_at_status_200_goes_by_its_own_code() {
        let answer = read(200, &json!({"code": 429, "message": "slow down"}), Some(7));
        assert_eq!(answer.failure.kind, FailureKind::RateLimited);
        assert_eq!(answer.failure.detail.as_deref(), Some("HTTP 200: slow down; retry after 7 s"));
        let text = read(200, &json!({"code": "server_error"}), None);
        assert_eq!(text.failure.kind, FailureKind::BadUpstream);
        assert_eq!(text.error_code, "server_error");
        let digits = read(200, &json!({"code": "429"}), None);
        assert_eq!(digits.failure.kind, FailureKind::RateLimited);
    }

    #[test]
    fn an_error_that_is_only_a_text_is_passed_on() {
        let refused = read(400, &json!("no such model"), None);
        assert_eq!(refused.failure.detail.as_deref(), Some("HTTP 400: no such model"));
        assert!(refused.surely_not_billed);
        for status in [408, 499, 502, 503] {
            let answer = read(status, &json!("from a proxy"), None);
            assert!(!answer.surely_not_billed && answer.again.is_none(), "{status}");
        }
        assert!(read(429, &json!("slow down"), None).again.is_some());
    }

    #[test]
    fn a_status_that_refuses_the_request_needs_no_envelope() {
        for status in [400, 403, 404, 413, 422, 429] {
            let answer = read_words(status, Some("no"));
            assert!(answer.surely_not_billed && answer.behind_provider, "{status}");
            assert_eq!(answer.again, None, "{status}");
            let detail = format!("HTTP {status}, without OpenRouter's error envelope: no");
            assert_eq!(answer.failure.detail, Some(detail));
        }
        for status in [302, 408, 499, 500, 502, 503, 504, 520, 524, 529] {
            assert!(!read_words(status, None).surely_not_billed, "{status}");
        }
    }

    #[test]
    fn a_limit_that_is_reset_in_hours_is_told() {
        let error = json!({"code": 429, "message": "free-models-per-day",
                           "metadata": {"headers": {"X-RateLimit-Reset": "1787241600000"}}});
        let head = Head { status: 429, retry_after: None, now: 1_787_220_000_000 };
        let answer = error_answer(head, &Told::Error(&error));
        let detail = answer.failure.detail.unwrap_or_default();
        assert!(detail.ends_with("; retry after 21600 s, of which hiems waits 3600"), "{detail}");
        assert_eq!(answer.again, Some(Again { after: Some(LONGEST_ASKED) }));
    }
}
