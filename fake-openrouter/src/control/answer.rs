//! Wishes for what the answer says.

use super::{Taken, truth, whole};

#[derive(Debug, Default)]
pub(crate) struct Wishes {
    pub(crate) text: Option<String>,
    pub(crate) bytes: Option<u64>,
    pub(crate) model: Option<String>,
    pub(crate) finish_reason: Option<String>,
    pub(crate) empty: bool,
    pub(crate) failed_attempts: u64,
}

impl Wishes {
    pub(super) fn set(&mut self, wish: &str, text: &str) -> Taken {
        match wish {
            "answer" => self.text = Some(text.to_owned()),
            "answer_bytes" => self.bytes = Some(whole(text)?),
            "model" => self.model = Some(text.to_owned()),
            "finish_reason" => self.finish_reason = Some(text.to_owned()),
            "empty" => self.empty = truth(text)?,
            "failed_attempts" => self.failed_attempts = whole(text)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}
