//! Wishes for what the answer tells of its usage. The bill does not follow them.

use serde_json::value::RawValue;

use super::{Taken, truth};

#[derive(Debug, Default)]
pub(crate) struct Wishes {
    pub(crate) no_usage: bool,
    pub(crate) no_is_byok: bool,
    pub(crate) usage: Option<Box<RawValue>>,
}

impl Wishes {
    pub(super) fn set(&mut self, wish: &str, text: &str) -> Taken {
        match wish {
            "no_usage" => self.no_usage = truth(text)?,
            "no_is_byok" => self.no_is_byok = truth(text)?,
            "usage" => self.usage = Some(serde_json::from_str(text).map_err(|_| "expected JSON")?),
            _ => return Ok(false),
        }
        Ok(true)
    }
}
