//! How one request wants the fake to behave: the `fake_*` keys of its own `metadata`.
//!
//! What the answer says (`answer`):
//!
//! | key | effect |
//! |---|---|
//! | `fake_answer` | text to answer, of any length |
//! | `fake_answer_bytes` | repeats the text to this length, for answers that are too large to ask for |
//! | `fake_model` | slug of the answering model, verbatim |
//! | `fake_finish_reason` | how the answer ends; `error` ends it half-way, free of charge but for tools |
//! | `fake_empty` | `true`: no completion tokens and no finish reason; free of charge but for tools |
//! | `fake_content_parts` | `true`: the content is a list of parts, not a text |
//! | `fake_error` | literal JSON of an error beside the text, in a stream beside the middle of it; it is billed as without. `null`: none where `fake_finish_reason` would have one |
//! | `fake_error_at` | `top`, `choice` or `message` (in a stream the delta): where that error stands |
//! | `fake_failed_attempts` | how often a provider fails before this one answers; free of charge |
//!
//! What it costs (`charge`), and what the answer tells of that (`told`):
//!
//! | key | effect |
//! |---|---|
//! | `fake_cost` | literal number token to charge |
//! | `fake_tool_cost` | number token charged on top of the tokens for a server tool; no detail shows it |
//! | `fake_byok` | `true`: the caller's own provider key pays, the cost is 0 (or `fake_cost`, the fee) |
//! | `fake_upstream_cost` | literal number token of `upstream_inference_cost`, or `null` |
//! | `fake_cached_tokens`, `fake_cache_write_tokens`, `fake_reasoning_tokens` | these counts |
//! | `fake_days_ago` | dates the generation so many days back |
//! | `fake_cache_hit` | `true`: the answer comes from the response cache: free, and counts nothing |
//! | `fake_no_usage` | `true`: the answer has no usage object; it is billed all the same |
//! | `fake_no_is_byok` | `true`: the usage object does not say whose key paid |
//! | `fake_usage` | literal JSON of the usage object; it is billed as without |
//!
//! Errors instead of an answer (`refusal`):
//!
//! | key | effect |
//! |---|---|
//! | `fake_status` | answers this HTTP status (300 to 999) as an error; nothing is generated |
//! | `fake_429_times`, `fake_503_times` | this status, at once, for the first N requests of one user with one metadata |
//! | `fake_retry_after` | the Retry-After header of a 429 or 503: seconds, or any text |
//! | `fake_error_shape` | `page`: the edge's HTML; `availability`: the envelope that has no code; `platform`: OpenRouter's own limit, with its headers, `platform_body`: with their copies alone; `code_text`: the code is a text; `text`, `number`, `list`: the error is no object; `message`, `detail`, `plain`: there is no envelope |
//! | `fake_reset_ms` | in how long OpenRouter's own limit is reset; else in six hours |
//! | `fake_error_id` | `true`: the error names a generation in its header |
//! | `fake_late_error` | this code (number or text) in an envelope at status 200, without choices |
//! | `fake_billed_error` | `true`: the error comes after a whole, billed generation, and tells its usage |
//! | `fake_location` | where a status of 300 to 399 points; without it, to this very endpoint |
//!
//! How it travels (`transport`); `fault` lists what `fake_fault` knows:
//!
//! | key | effect |
//! |---|---|
//! | `fake_delay_ms` | time between headers and body; before the status of an error |
//! | `fake_header_delay_ms` | time before the headers |
//! | `fake_bytes_per_second` | how fast the body comes, blank lines excepted |
//! | `fake_body` | literal text of the body, in place of whatever it would be |
//! | `fake_before`, `fake_after` | literal texts around the body, such as a byte order mark, or the end of a stream |
//! | `fake_packed` | `true`: the body is gzip, whatever Accept-Encoding says |
//! | `fake_content_type` | the Content-Type |
//! | `fake_fault` | breaks the connection or the body; what was generated is billed |
//!
//! Streams (`streaming`):
//!
//! | key | effect |
//! |---|---|
//! | `fake_comments` | how many comment lines come before the first chunk |
//! | `fake_chunk_delay_ms` | time before each chunk of text |
//! | `fake_usage_chunk` | `repeated`, `empty` or `null`: the choices beside the usage |
//! | `fake_no_done` | `true`: the stream ends without `[DONE]` |
//! | `fake_stream_error` | `choice`, `bare`, `text` or `usage`: the form of an error after half the text |
//! | `fake_runs_on` | whether the provider goes on when the client leaves; else its name decides |
//!
//! When the generation is looked up (`lookup`):
//!
//! | key | effect |
//! |---|---|
//! | `fake_lookup_lag_ms` | how long it is not found after its end; else `Config` says how long |
//! | `fake_lookup_errors` | statuses for the first look-ups, such as `429,500`; 403 for one not one's own |
//!
//! An unknown `fake_*` key is refused, so that a misspelt one does not pass for a success.

mod answer;
mod charge;
mod lookup;
mod refusal;
mod streaming;
mod told;
mod transport;

use std::str::FromStr;
use std::time::Duration;

use serde_json::{Map, Value};

pub(crate) use answer::Place;
pub(crate) use lookup::Wishes as Lookup;
pub(crate) use refusal::Shape;
pub(crate) use streaming::{ErrorForm, UsageForm};

use crate::money;

/// The parsed wishes; the default is an ordinary success.
#[derive(Debug, Default)]
pub(crate) struct Control {
    pub(crate) answer: answer::Wishes,
    pub(crate) charge: charge::Wishes,
    pub(crate) told: told::Wishes,
    pub(crate) refusal: refusal::Wishes,
    pub(crate) transport: transport::Wishes,
    pub(crate) streaming: streaming::Wishes,
    pub(crate) lookup: Lookup,
}

/// Whether a part knows the wish, or what the wish's text should have been.
type Taken = Result<bool, &'static str>;

impl Control {
    /// Reads the `fake_*` keys; other keys are the caller's own and are passed over.
    pub(crate) fn parse(metadata: &Map<String, Value>) -> Result<Self, String> {
        let mut control = Self::default();
        for (key, value) in metadata {
            if let Some(wish) = key.strip_prefix("fake_") {
                let text = value.as_str().unwrap_or_default();
                control
                    .set(wish, text)
                    .and_then(|known| if known { Ok(()) } else { Err("no such control") })
                    .map_err(|expected| format!("metadata.{key}: {expected}, got {text:?}"))?;
            }
        }
        Ok(control)
    }

    fn set(&mut self, wish: &str, text: &str) -> Taken {
        Ok(self.answer.set(wish, text)?
            || self.charge.set(wish, text)?
            || self.told.set(wish, text)?
            || self.refusal.set(wish, text)?
            || self.transport.set(wish, text)?
            || self.streaming.set(wish, text)?
            || self.lookup.set(wish, text)?)
    }
}

fn whole(text: &str) -> Result<u64, &'static str> {
    u64::from_str(text).map_err(|_| "expected a whole number")
}

fn milliseconds(text: &str) -> Result<Duration, &'static str> {
    Ok(Duration::from_millis(whole(text)?))
}

fn truth(text: &str) -> Result<bool, &'static str> {
    bool::from_str(text).map_err(|_| "expected true or false")
}

fn token(text: &str) -> Result<String, &'static str> {
    if money::is_token(text) { Ok(text.to_owned()) } else { Err("expected a JSON number") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The controls of the tables above.
    fn documented() -> Vec<&'static str> {
        let source = include_str!("control.rs");
        let rows = source.lines().filter_map(|line| line.strip_prefix("//! | "));
        let names = rows.flat_map(|row| row.split('|').next().unwrap_or_default().split(", "));
        names.filter_map(|name| name.trim().trim_matches('`').strip_prefix("fake_")).collect()
    }

    /// The controls that the parts match on.
    fn known() -> Vec<&'static str> {
        let parts = [
            include_str!("control/answer.rs"),
            include_str!("control/charge.rs"),
            include_str!("control/told.rs"),
            include_str!("control/refusal.rs"),
            include_str!("control/transport.rs"),
            include_str!("control/streaming.rs"),
            include_str!("control/lookup.rs"),
        ];
        let arm = |line: &'static str| line.trim().strip_prefix('"')?.split_once("\" => self.");
        parts.iter().flat_map(|part| part.lines().filter_map(arm)).map(|(name, _)| name).collect()
    }

    #[test]
    fn the_table_is_true() {
        let (mut documented, mut known) = (documented(), known());
        documented.sort_unstable();
        known.sort_unstable();
        assert_eq!(documented, known);
    }

    #[test]
    fn a_misspelt_wish_is_refused() {
        let parse = |key: &str, text: &str| {
            let metadata = [(key.to_owned(), Value::from(text))].into_iter().collect();
            Control::parse(&metadata).map(|_| ()).err().unwrap_or_default()
        };
        assert_eq!(
            parse("fake_statsu", "500"),
            "metadata.fake_statsu: no such control, got \"500\""
        );
        assert_eq!(parse("ticket", "500"), "");
        let bad = [
            ("fake_status", "200"),
            ("fake_cost", "cheap"),
            ("fake_byok", "yes"),
            ("fake_fault", "gremlins"),
            ("fake_usage", "{"),
            ("fake_error_shape", "round"),
            ("fake_error", "{"),
            ("fake_error_at", "nowhere"),
            ("fake_reset_ms", "soon"),
            ("fake_packed", "tightly"),
            ("fake_stream_error", "loud"),
            ("fake_bytes_per_second", "0"),
            ("fake_lookup_errors", "429,200"),
        ];
        for (key, text) in bad {
            assert!(parse(key, text).starts_with(&format!("metadata.{key}: expected")), "{key}");
        }
    }
}
