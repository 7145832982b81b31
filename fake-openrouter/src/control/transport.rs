//! Wishes for how the answer travels.

use std::time::Duration;

use axum::http::HeaderValue;

use super::{Taken, milliseconds, truth, whole};
use crate::fault::Fault;

#[derive(Debug, Default)]
pub(crate) struct Wishes {
    pub(crate) delay: Option<Duration>,
    pub(crate) header_delay: Duration,
    pub(crate) bytes_per_second: Option<u64>,
    pub(crate) body: Option<String>,
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
    pub(crate) packed: bool,
    pub(crate) content_type: Option<HeaderValue>,
    pub(crate) fault: Option<Fault>,
}

impl Wishes {
    pub(super) fn set(&mut self, wish: &str, text: &str) -> Taken {
        match wish {
            "delay_ms" => self.delay = Some(milliseconds(text)?),
            "header_delay_ms" => self.header_delay = milliseconds(text)?,
            "bytes_per_second" => self.bytes_per_second = Some(rate(text)?),
            "body" => self.body = Some(text.to_owned()),
            "before" => self.before = Some(text.to_owned()),
            "after" => self.after = Some(text.to_owned()),
            "packed" => self.packed = truth(text)?,
            "content_type" => self.content_type = Some(content_type(text)?),
            "fault" => self.fault = Some(Fault::parse(text).ok_or("expected a fault's name")?),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl Wishes {
    /// The body with what was wished for around it.
    pub(crate) fn framed(&self, body: Vec<u8>) -> Vec<u8> {
        let part = |text: &Option<String>| text.clone().unwrap_or_default().into_bytes();
        [part(&self.before), body, part(&self.after)].concat()
    }
}

fn rate(text: &str) -> Result<u64, &'static str> {
    match whole(text)? {
        0 => Err("expected at least 1"),
        rate => Ok(rate),
    }
}

fn content_type(text: &str) -> Result<HeaderValue, &'static str> {
    HeaderValue::from_str(text).map_err(|_| "expected a header's text")
}
