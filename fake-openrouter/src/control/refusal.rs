//! Wishes for an error in an answer's place.

use std::str::FromStr;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode};

use super::{Taken, milliseconds, truth, whole};

#[derive(Debug, Default)]
pub(crate) struct Wishes {
    pub(crate) status: Option<StatusCode>,
    /// How many requests are refused with 429, and then with 503.
    pub(crate) times_429: u64,
    pub(crate) times_503: u64,
    pub(crate) retry_after: Option<HeaderValue>,
    pub(crate) shape: Shape,
    /// In how long the limit is reset that is the reason.
    pub(crate) reset: Option<Duration>,
    pub(crate) id: bool,
    pub(crate) billed: bool,
    pub(crate) late: Option<String>,
    pub(crate) location: Option<HeaderValue>,
}

/// How an error's body is built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Shape {
    #[default]
    Envelope,
    /// The edge's HTML.
    Page,
    /// No code, but a type and what could help.
    Availability,
    /// OpenRouter's own limit, not a provider's.
    Platform,
    /// The same, its headers in the error's metadata alone.
    PlatformBody,
    /// The code is a text.
    CodeText,
    /// The error is a text, a number or a list.
    Text,
    Number,
    List,
    /// No envelope: words in `message`, a list of them in `detail`, or no JSON.
    Message,
    Detail,
    Plain,
}

impl Wishes {
    pub(super) fn set(&mut self, wish: &str, text: &str) -> Taken {
        match wish {
            "status" => self.status = Some(error_status(text)?),
            "429_times" => self.times_429 = whole(text)?,
            "503_times" => self.times_503 = whole(text)?,
            "retry_after" => self.retry_after = Some(header(text)?),
            "reset_ms" => self.reset = Some(milliseconds(text)?),
            "error_shape" => self.shape = shape(text)?,
            "error_id" => self.id = truth(text)?,
            "billed_error" => self.billed = truth(text)?,
            "late_error" => self.late = Some(text.to_owned()),
            "location" => self.location = Some(header(text)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The status to refuse a request with that is the `turn`-th of its kind, from 1.
    pub(crate) fn storm(&self, turn: u64) -> Option<StatusCode> {
        if turn <= self.times_429 {
            Some(StatusCode::TOO_MANY_REQUESTS)
        } else if turn <= self.times_429 + self.times_503 {
            Some(StatusCode::SERVICE_UNAVAILABLE)
        } else {
            None
        }
    }
}

fn error_status(text: &str) -> Result<StatusCode, &'static str> {
    StatusCode::from_str(text)
        .ok()
        .filter(|status| status.as_u16() >= 300)
        .ok_or("expected an HTTP error status")
}

fn header(text: &str) -> Result<HeaderValue, &'static str> {
    HeaderValue::from_str(text).map_err(|_| "expected a header's text")
}

fn shape(text: &str) -> Result<Shape, &'static str> {
    match text {
        "page" => Ok(Shape::Page),
        "availability" => Ok(Shape::Availability),
        "platform" => Ok(Shape::Platform),
        "platform_body" => Ok(Shape::PlatformBody),
        "code_text" => Ok(Shape::CodeText),
        "text" => Ok(Shape::Text),
        "number" => Ok(Shape::Number),
        "list" => Ok(Shape::List),
        "message" => Ok(Shape::Message),
        "detail" => Ok(Shape::Detail),
        "plain" => Ok(Shape::Plain),
        _ => Err("expected a shape"),
    }
}
