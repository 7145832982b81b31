//! What OpenRouter says of a key (GET /key).
//! Source: OpenRouter's "API reference, Get current API key" (openrouter.ai/docs/api-reference).

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use super::answer::{HttpAnswer, without_frame};
use super::failure::{self, Failure, FailureKind, Told};
use super::json_text;
use super::{money, words};

/// What is said of a key; amounts are in US dollars, the literal tokens. None: not said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyInfo {
    /// The key's name, or its first and last characters.
    pub label: Option<String>,
    pub is_management_key: Option<bool>,
    pub is_free_tier: Option<bool>,
    pub limit: Option<Number>,
    pub limit_remaining: Option<Number>,
    /// How often the limit begins anew: daily, weekly or monthly.
    pub limit_reset: Option<String>,
    pub include_byok_in_limit: Option<bool>,
    pub usage: Periods,
    pub byok_usage: Periods,
    /// Microseconds since 1970, UTC.
    pub expires_at: Option<i64>,
}

/// Amounts over all time, and over the current UTC day, week (from Monday) and month.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Periods {
    pub total: Option<Number>,
    pub daily: Option<Number>,
    pub weekly: Option<Number>,
    pub monthly: Option<Number>,
}

/// Reads an answer.
pub fn read(http: &HttpAnswer) -> Result<KeyInfo, Failure> {
    let fit = json_text::fit_for_jsonb(&http.body);
    let text = without_frame(&fit.text);
    let body: Option<Value> = serde_json::from_str(text).ok();
    let error = body.as_ref().and_then(|body| body.get("error"));
    let told = match error.filter(|error| !matches!(error, Value::Null | Value::Bool(false))) {
        Some(error) => Some(Told::Error(error)),
        None if http.status >= 400 => {
            Some(Told::Words(words::of_body(text).or_else(|| words::of_text(text))))
        }
        None => None,
    };
    if let Some(told) = told {
        return Err(failure::error_answer(http.head(), &told).failure);
    }
    let data = body.as_ref().and_then(|body| body.get("data")).filter(|data| data.is_object());
    let Some(data) = data else {
        return Err(Failure::new(FailureKind::BadUpstream, "the key was not checked: no answer")
            .detail(format!("HTTP {}, without what OpenRouter says of a key", http.status)));
    };
    let flag = |name: &str| data.get(name).and_then(Value::as_bool);
    let text = |name: &str| data.get(name).and_then(Value::as_str).map(str::to_owned);
    let amount = |name: &str| money::amount(data.get(name)).known();
    let periods = |name: &str| Periods {
        total: amount(name),
        daily: amount(&format!("{name}_daily")),
        weekly: amount(&format!("{name}_weekly")),
        monthly: amount(&format!("{name}_monthly")),
    };
    let expires_at = text("expires_at")
        .and_then(|text| chrono::DateTime::parse_from_rfc3339(&text).ok())
        .map(|time| time.timestamp_micros());
    Ok(KeyInfo {
        label: text("label"),
        // The second is what the first was called before.
        is_management_key: flag("is_management_key").or(flag("is_provisioning_key")),
        is_free_tier: flag("is_free_tier"),
        limit: amount("limit"),
        limit_remaining: amount("limit_remaining"),
        limit_reset: text("limit_reset"),
        include_byok_in_limit: flag("include_byok_in_limit"),
        usage: periods("usage"),
        byok_usage: periods("byok_usage"),
        expires_at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(status: u16, body: &str) -> Result<KeyInfo, Failure> {
        read(&HttpAnswer {
            status,
            retry_after: None,
            clock_skew: None,
            body: body.as_bytes().to_vec(),
        })
    }

    #[test]
    fn every_digit_is_kept_and_what_is_not_said_is_none() {
        let info = read_text(
            200,
            r#"{"data": {"label": "sk-or-v1-0e6...1c9", "limit": null, "usage": 3.17561396000000005,
                "usage_daily": 4.2e-7, "byok_usage_monthly": 0, "is_provisioning_key": true,
                "expires_at": "2027-12-31T23:59:59.5Z", "limit_reset": "weekly"}}"#,
        )
        .unwrap_or_default();
        let token = |number: &Option<Number>| number.as_ref().map(|n| n.as_str().to_owned());
        assert_eq!(token(&info.usage.total).as_deref(), Some("3.17561396000000005"));
        assert_eq!(token(&info.usage.daily).as_deref(), Some("4.2e-7"));
        assert_eq!(token(&info.byok_usage.monthly).as_deref(), Some("0"));
        assert_eq!((info.limit, info.usage.weekly, info.is_free_tier), (None, None, None));
        assert_eq!(info.is_management_key, Some(true));
        assert_eq!(info.limit_reset.as_deref(), Some("weekly"));
        assert_eq!(info.expires_at, Some(1_830_297_599_500_000));
    }

    #[test]
    fn a_refusal_is_told_from_a_page_that_says_nothing() {
        let kind = |status, body| read_text(status, body).map_err(|failure| failure.kind).err();
        let envelope = r#"{"error": {"code": 401, "message": "User not found."}}"#;
        assert_eq!(kind(401, envelope), Some(FailureKind::KeyRefused));
        assert_eq!(kind(200, envelope), Some(FailureKind::KeyRefused));
        for error in [r#"{"error": "no such key"}"#, r#"{"message": "no such key"}"#, "no such key"]
        {
            let failure = read_text(401, error).err();
            let words = failure.and_then(|failure| failure.detail).unwrap_or_default();
            assert!(words.ends_with(": no such key"), "{words}");
        }
        assert!(read_text(200, "\u{feff}{\"error\": null, \"data\": {}}").is_ok());
        for body in ["", "<html>", "{}", "[]", r#"{"data": null}"#, r#"{"data": []}"#] {
            assert_eq!(kind(200, body), Some(FailureKind::BadUpstream), "{body}");
        }
        assert_eq!(kind(503, "<html>"), Some(FailureKind::Unavailable));
    }
}
