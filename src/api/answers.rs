//! Answers that their callers do not have, or not as they came.

use pgrx::datum::Interval;
use pgrx::prelude::*;
use uuid::Uuid;

use crate::access::{self, Level};
use crate::caller;
use crate::collect;
use crate::contents;
use crate::error::{Error, or_raise};
use crate::pg::arguments::Jsonb;
use crate::settings;

/// The answer to one of the caller's own calls, as it came from OpenRouter; it is kept for
/// `hiems.answer_retention` where it was changed to fit jsonb, cannot be read, or came after its caller
/// had gone. Raises 42501 without the level caller, PT404 where there is none, or it is another's.
#[pg_extern(schema = "hiems", volatile, parallel_unsafe)]
fn raw_answer(call: Option<pgrx::Uuid>) -> Option<Vec<u8>> {
    or_raise(find(call))
}

/// Waits for the end of one of the caller's own calls, whose caller was cancelled or has gone, and gives its
/// answer; see the function's comment (`sql/90_grants_comments.sql`).
#[pg_extern(schema = "hiems", volatile, parallel_unsafe)]
fn await_prompt(
    id: Option<pgrx::Uuid>,
    timeout: default!(Option<Interval>, "'7 seconds'"),
) -> Option<Jsonb> {
    or_raise(wait(id, timeout.map(|timeout| timeout.as_micros())))
}

fn find(call: Option<pgrx::Uuid>) -> Result<Option<Vec<u8>>, Error> {
    let Some((call, principal)) = own(call)? else { return Ok(None) };
    let answer = contents::read(call, &principal, settings::answer_retention())?;
    answer.map(Some).ok_or(Error::NoSuchAnswer(call))
}

fn wait(call: Option<pgrx::Uuid>, timeout: Option<i128>) -> Result<Option<Jsonb>, Error> {
    let Some((call, principal)) = own(call)? else { return Ok(None) };
    let timeout = timeout.map(|timeout| i64::try_from(timeout).unwrap_or(i64::MAX));
    let text = collect::answer(call, &principal, collect::deadline(timeout))?;
    Ok(Some(Jsonb(text)))
}

/// A call and whose it has to be.
fn own(call: Option<pgrx::Uuid>) -> Result<Option<(Uuid, String)>, Error> {
    access::require(Level::Caller)?;
    let Some(call) = call else { return Ok(None) };
    let call = Uuid::from_bytes(*call);
    // A token's session without a subject owns nothing.
    let principal = caller::current_principal()?.ok_or(Error::NoSuchAnswer(call))?;
    Ok(Some((call, principal)))
}
