//! Wishes for a stream.

use std::time::Duration;

use super::{Taken, milliseconds, truth, whole};

#[derive(Debug, Default)]
pub(crate) struct Wishes {
    pub(crate) comments: Option<u64>,
    pub(crate) chunk_delay: Duration,
    pub(crate) usage_chunk: UsageForm,
    pub(crate) no_done: bool,
    pub(crate) error: Option<ErrorForm>,
    pub(crate) runs_on: Option<bool>,
}

/// What stands beside the usage in its chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum UsageForm {
    /// A choice that repeats the finish reason.
    #[default]
    Repeated,
    /// No choice, as the documentation says.
    Empty,
    /// A choice whose finish reason is null.
    Null,
}

/// The chunk that ends a stream in an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorForm {
    /// As documented: a choice that ends in `error`, and no more.
    Choice,
    /// Without choices.
    Bare,
    /// As documented, with a text for a code.
    Text,
    /// With a usage that is charged, a choice that has not ended, and `[DONE]` after it.
    Usage,
}

impl Wishes {
    pub(super) fn set(&mut self, wish: &str, text: &str) -> Taken {
        match wish {
            "comments" => self.comments = Some(whole(text)?),
            "chunk_delay_ms" => self.chunk_delay = milliseconds(text)?,
            "usage_chunk" => self.usage_chunk = usage_form(text)?,
            "no_done" => self.no_done = truth(text)?,
            "stream_error" => self.error = Some(error_form(text)?),
            "runs_on" => self.runs_on = Some(truth(text)?),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn usage_form(text: &str) -> Result<UsageForm, &'static str> {
    match text {
        "repeated" => Ok(UsageForm::Repeated),
        "empty" => Ok(UsageForm::Empty),
        "null" => Ok(UsageForm::Null),
        _ => Err("expected repeated, empty or null"),
    }
}

fn error_form(text: &str) -> Result<ErrorForm, &'static str> {
    match text {
        "choice" => Ok(ErrorForm::Choice),
        "bare" => Ok(ErrorForm::Bare),
        "text" => Ok(ErrorForm::Text),
        "usage" => Ok(ErrorForm::Usage),
        _ => Err("expected choice, bare, text or usage"),
    }
}
