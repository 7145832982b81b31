//! Wishes for what the answer says.

use serde_json::Value;

use super::{Taken, truth, whole};

#[derive(Debug, Default)]
pub(crate) struct Wishes {
    pub(crate) text: Option<String>,
    pub(crate) bytes: Option<u64>,
    pub(crate) model: Option<String>,
    pub(crate) finish_reason: Option<String>,
    pub(crate) empty: bool,
    pub(crate) content_parts: bool,
    /// `Some(Null)` is none where there would be one.
    pub(crate) error: Option<Value>,
    pub(crate) error_at: Place,
    pub(crate) failed_attempts: u64,
}

/// Where an error stands in an answer, or in a chunk of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Place {
    #[default]
    Top,
    Choice,
    Message,
}

impl Wishes {
    pub(super) fn set(&mut self, wish: &str, text: &str) -> Taken {
        match wish {
            "answer" => self.text = Some(text.to_owned()),
            "answer_bytes" => self.bytes = Some(whole(text)?),
            "model" => self.model = Some(text.to_owned()),
            "finish_reason" => self.finish_reason = Some(text.to_owned()),
            "empty" => self.empty = truth(text)?,
            "content_parts" => self.content_parts = truth(text)?,
            "error" => self.error = Some(serde_json::from_str(text).map_err(|_| "expected JSON")?),
            "error_at" => self.error_at = place(text)?,
            "failed_attempts" => self.failed_attempts = whole(text)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn place(text: &str) -> Result<Place, &'static str> {
    match text {
        "top" => Ok(Place::Top),
        "choice" => Ok(Place::Choice),
        "message" => Ok(Place::Message),
        _ => Err("expected top, choice or message"),
    }
}
