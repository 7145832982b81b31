//! Wishes for what is answered when the generation is looked up later.

use std::collections::VecDeque;
use std::time::Duration;

use axum::http::StatusCode;

use super::{Taken, milliseconds};

#[derive(Clone, Debug, Default)]
pub(crate) struct Wishes {
    pub(crate) lag: Option<Duration>,
    /// What the first look-ups are refused with.
    pub(crate) errors: VecDeque<StatusCode>,
}

impl Wishes {
    pub(super) fn set(&mut self, wish: &str, text: &str) -> Taken {
        match wish {
            "lookup_lag_ms" => self.lag = Some(milliseconds(text)?),
            "lookup_errors" => self.errors = statuses(text)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn statuses(text: &str) -> Result<VecDeque<StatusCode>, &'static str> {
    text.split(',')
        .map(|code| code.parse().ok().filter(|status: &StatusCode| status.as_u16() >= 400))
        .collect::<Option<_>>()
        .ok_or("expected HTTP error statuses with commas between")
}
