//! When a call that was surely not billed is sent again.
//!
//! Only a 429 or 503 that came before anything was generated, and only within the caller's time: the
//! Retry-After header rules, or X-RateLimit-Reset, in the headers or in the error's metadata; else the wait doubles
//! from half a second.
//! Source: OpenRouter's "Errors and debugging", "Limits" (openrouter.ai/docs).

use std::time::Duration;

use serde_json::Value;

/// OpenRouter would take the call later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Again {
    /// How long it wants to be left alone, where it says so: at most [`LONGEST_ASKED`].
    pub after: Option<Duration>,
}

/// What a provider asks for is honoured up to here: one header must not stop a model's queue for years.
pub const LONGEST_ASKED: Duration = Duration::from_secs(3_600);

/// The seconds to wait that headers name: Retry-After, else the time of X-RateLimit-Reset where a limit is the reason.
/// `header` gives a header's text; `now` is OpenRouter's clock, in milliseconds since the epoch.
pub fn wait_told(header: impl Fn(&str) -> Option<String>, is_limit: bool, now: i64) -> Option<u64> {
    let asked =
        header("retry-after").and_then(|text| seconds(&text).or(seconds_until_date(&text, now)));
    let reset = || header("x-ratelimit-reset").and_then(|text| seconds_until(&text, now));
    asked.or_else(|| if is_limit { reset() } else { None })
}

/// The seconds to wait that an error's own fields name, the copies of headers in its metadata included.
pub fn wait_said(error: &Value, is_limit: bool, now: i64) -> Option<u64> {
    let places =
        ["/availability/retry_after", "/metadata/retry_after", "/metadata/retry_after_seconds"];
    let said = places.iter().find_map(|place| seconds(&as_text(error.pointer(place)?)?));
    let copied = || {
        let headers = error.pointer("/metadata/headers")?.as_object()?;
        let header = |name: &str| {
            let found = headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.and_then(|(_, value)| as_text(value))
        };
        wait_told(header, is_limit, now)
    };
    said.or_else(copied)
}

fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A number of seconds, a fraction rounded up; None where it is no number. A wait is no money: a float does.
fn seconds(text: &str) -> Option<u64> {
    let text = text.trim();
    let rounded = || {
        let seconds = text.parse::<f64>().ok()?;
        (seconds.is_finite() && seconds >= 0.0).then(|| seconds.ceil() as u64)
    };
    text.parse().ok().or_else(rounded)
}

/// The seconds from `now` until a date as HTTP writes it; 0 where it is over.
fn seconds_until_date(text: &str, now: i64) -> Option<u64> {
    let date = chrono::DateTime::parse_from_rfc2822(text.trim()).ok()?;
    let left = date.timestamp_millis().saturating_sub(now).max(0);
    u64::try_from(left).ok().map(|left| left.div_ceil(1_000))
}

/// Numbers from here on are milliseconds since the epoch; smaller ones, down to the year 2001, are seconds.
const MILLISECONDS: i64 = 100_000_000_000;
const SECONDS: i64 = 1_000_000_000;

/// The seconds from `now` until the time that an X-RateLimit-Reset header names, rounded up. None where that time is
/// over, or the header is no such time.
fn seconds_until(reset: &str, now: i64) -> Option<u64> {
    let reset = match reset.trim().parse::<i64>().ok()? {
        milliseconds @ MILLISECONDS.. => milliseconds,
        seconds @ SECONDS.. => seconds * 1_000,
        _ => return None,
    };
    let left = reset.checked_sub(now)?;
    u64::try_from(left).ok().filter(|left| *left > 0).map(|left| left.div_ceil(1_000))
}

const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(8);

impl Again {
    /// How long to wait before the next attempt, `attempts` having been made. `spread` (0 to 1) keeps
    /// callers that were refused together from coming back together: up to a quarter more.
    pub fn wait(self, attempts: u32, spread: f64) -> Duration {
        self.wait_within(FIRST_WAIT, LONGEST_WAIT, attempts, spread)
    }

    /// As [`Again::wait`], where the wait doubles from `first` to `longest`.
    pub fn wait_within(
        self,
        first: Duration,
        longest: Duration,
        attempts: u32,
        spread: f64,
    ) -> Duration {
        let wait = self.after.unwrap_or_else(|| {
            let doubled = 1_u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
            first.saturating_mul(doubled).min(longest)
        });
        wait.saturating_add(wait.min(longest).mul_f64(spread.clamp(0.0, 1.0) / 4.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_wait_doubles_and_ends_at_its_longest() {
        let waits: Vec<u128> =
            (1..=6).map(|n| Again { after: None }.wait(n, 0.0).as_millis()).collect();
        assert_eq!(waits, [500, 1_000, 2_000, 4_000, 8_000, 8_000]);
        assert_eq!(Again { after: None }.wait(u32::MAX, 1.0), Duration::from_secs(10));
    }

    const NOW: i64 = 1_787_220_000_000;

    fn told(headers: &[(&str, &str)]) -> Option<u64> {
        let header = |name: &str| {
            headers.iter().find(|(key, _)| *key == name).map(|(_, text)| (*text).to_owned())
        };
        wait_told(header, true, NOW)
    }

    #[test]
    fn retry_after_is_seconds_with_or_without_a_fraction_or_a_date() {
        let read = |text| told(&[("retry-after", text)]);
        let cases = [("3", 3), (" 7 ", 7), ("0", 0), ("0.2", 1), ("1.5", 2), ("2.0", 2)];
        for (text, seconds) in cases {
            assert_eq!(read(text), Some(seconds), "{text}");
        }
        assert_eq!(read("Thu, 20 Aug 2026 10:01:00 GMT"), Some(60));
        assert_eq!(read("Thu, 20 Aug 2020 10:01:00 GMT"), Some(0));
        for text in ["", "soon", "-1", "NaN", "inf"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_limit_is_waited_for_until_it_is_reset() {
        let read = |text| told(&[("x-ratelimit-reset", text)]);
        assert_eq!(read("1787220000001"), Some(1));
        assert_eq!(read("1787241600000"), Some(21_600));
        assert_eq!(read("1787220060"), Some(60));
        for reset in ["1787220000000", "1787219999999", "60", "-1", "soon", ""] {
            assert_eq!(read(reset), None, "{reset}");
        }
        // What is asked for goes first.
        assert_eq!(told(&[("retry-after", "2"), ("x-ratelimit-reset", "1787241600000")]), Some(2));
        let header = |name: &str| (name == "x-ratelimit-reset").then(|| "1787241600000".to_owned());
        assert_eq!(wait_told(header, false, NOW), None);
    }

    #[test]
    fn an_error_says_it_in_its_own_fields() {
        let cases = [
            (json!({"availability": {"retry_after": 12}}), Some(12)),
            (json!({"availability": {"retry_after": 1.2}}), Some(2)),
            (json!({"metadata": {"retry_after": "3"}}), Some(3)),
            (
                json!({"metadata": {"headers": {"X-RateLimit-Reset": "1787241600000"}}}),
                Some(21_600),
            ),
            (
                json!({"metadata": {"headers": {"x-ratelimit-reset": 1787241600000_u64}}}),
                Some(21_600),
            ),
            (
                json!({"metadata": {"headers": {"Retry-After": "9", "X-RateLimit-Reset": "1"}}}),
                Some(9),
            ),
            (json!({"metadata": {"headers": ["X-RateLimit-Reset"]}}), None),
            (json!("slow down"), None),
            (json!([1]), None),
        ];
        for (error, seconds) in cases {
            assert_eq!(wait_said(&error, true, NOW), seconds, "{error}");
        }
    }

    #[test]
    fn what_the_provider_asks_for_is_never_cut_short() {
        let again = Again { after: Some(Duration::from_secs(60)) };
        assert_eq!(again.wait(1, 0.0), Duration::from_secs(60));
        assert_eq!(again.wait(3, 1.0), Duration::from_secs(62));
        let forever = Again { after: Some(Duration::MAX) };
        assert_eq!(forever.wait(1, 1.0), Duration::MAX);
    }
}
