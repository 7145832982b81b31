//! How one request wants the fake to behave: the `fake_*` keys of its own `metadata`.
//!
//! | key | effect |
//! |---|---|
//! | `fake_status` | answers this HTTP status (300 to 999) as an error; nothing is generated |
//! | `fake_retry_after` | seconds in the Retry-After header of a 429 or 503 |
//! | `fake_delay_ms` | time between headers and body; before the status of an error |
//! | `fake_header_delay_ms` | time before the headers |
//! | `fake_cost` | literal number token to charge |
//! | `fake_answer` | text to answer, of any length |
//! | `fake_finish_reason` | how the answer ends; `error` ends it half-way and free of charge |
//! | `fake_model` | slug of the answering model, verbatim |
//! | `fake_byok` | `true`: the caller's own provider key pays, the cost is 0 |
//! | `fake_no_usage` | `true`: the answer has no usage object; it is billed all the same |
//! | `fake_no_is_byok` | `true`: the usage object does not say whose key paid |
//!
//! An unknown `fake_*` key is refused, so that a misspelt one does not pass for a success.

use std::str::FromStr;
use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Map, Value};

use crate::money;

/// The parsed wishes; the default is an ordinary success.
#[derive(Debug, Default)]
pub(crate) struct Control {
    pub(crate) status: Option<StatusCode>,
    pub(crate) retry_after: Option<u64>,
    pub(crate) delay: Option<Duration>,
    pub(crate) header_delay: Duration,
    pub(crate) cost: Option<String>,
    pub(crate) answer: Option<String>,
    pub(crate) finish_reason: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) byok: bool,
    pub(crate) no_usage: bool,
    pub(crate) no_is_byok: bool,
}

impl Control {
    /// Reads the `fake_*` keys; other keys are the caller's own and are passed over.
    pub(crate) fn parse(metadata: &Map<String, Value>) -> Result<Self, String> {
        let mut control = Self::default();
        for (key, value) in metadata {
            if let Some(wish) = key.strip_prefix("fake_") {
                let text = value.as_str().unwrap_or_default();
                control
                    .set(wish, text)
                    .map_err(|expected| format!("metadata.{key}: {expected}, got {text:?}"))?;
            }
        }
        Ok(control)
    }

    fn set(&mut self, wish: &str, text: &str) -> Result<(), &'static str> {
        match wish {
            "status" => self.status = Some(error_status(text)?),
            "retry_after" => self.retry_after = Some(whole(text)?),
            "delay_ms" => self.delay = Some(Duration::from_millis(whole(text)?)),
            "header_delay_ms" => self.header_delay = Duration::from_millis(whole(text)?),
            "cost" if money::is_token(text) => self.cost = Some(text.to_owned()),
            "cost" => return Err("expected a JSON number"),
            "answer" => self.answer = Some(text.to_owned()),
            "finish_reason" => self.finish_reason = Some(text.to_owned()),
            "model" => self.model = Some(text.to_owned()),
            "byok" => self.byok = truth(text)?,
            "no_usage" => self.no_usage = truth(text)?,
            "no_is_byok" => self.no_is_byok = truth(text)?,
            _ => return Err("no such control"),
        }
        Ok(())
    }
}

fn whole(text: &str) -> Result<u64, &'static str> {
    u64::from_str(text).map_err(|_| "expected a whole number")
}

fn truth(text: &str) -> Result<bool, &'static str> {
    bool::from_str(text).map_err(|_| "expected true or false")
}

fn error_status(text: &str) -> Result<StatusCode, &'static str> {
    StatusCode::from_str(text)
        .ok()
        .filter(|status| status.as_u16() >= 300)
        .ok_or("expected an HTTP error status")
}
