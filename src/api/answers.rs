//! Answers that their callers do not have as they came.

use pgrx::prelude::*;

use crate::access::{self, Level};
use crate::caller;
use crate::contents;
use crate::error::{Error, or_raise};
use crate::settings;

/// The answer to one of the caller's own calls, as it came from OpenRouter; it is kept for
/// `hiems.answer_retention` where it was changed to fit jsonb, cannot be read, or came after its caller
/// had gone. Raises 42501 without the level caller, PT404 where there is none, or it is another's.
#[pg_extern(schema = "hiems", volatile, parallel_unsafe)]
fn raw_answer(call: Option<pgrx::Uuid>) -> Option<Vec<u8>> {
    or_raise(find(call))
}

fn find(call: Option<pgrx::Uuid>) -> Result<Option<Vec<u8>>, Error> {
    access::require(Level::Caller)?;
    let Some(call) = call else { return Ok(None) };
    let call = uuid::Uuid::from_bytes(*call);
    // A token's session without a subject owns nothing.
    let principal = caller::current_principal().ok_or(Error::NoSuchAnswer(call))?;
    let answer = contents::read(call, &principal, settings::answer_retention())?;
    answer.map(Some).ok_or(Error::NoSuchAnswer(call))
}
