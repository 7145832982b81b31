//! How a stream ended.

use super::{Content, Settlement, State, fill};
use crate::ledger::Entry;
use crate::openrouter::client::HttpError;
use crate::openrouter::failure::{Failure, FailureKind, Head};
use crate::openrouter::stream::Transcript;

/// What ended it.
pub enum End {
    /// OpenRouter did.
    Whole,
    /// It broke off.
    Broken(HttpError),
    /// Its caller wants no more of it: the connection was closed.
    Closed,
}

impl Settlement {
    /// From what was heard of a stream; its chunks are with the caller already. Where its usage has come, so
    /// has all that matters. An answer that is whole and says nothing of its cost is one all the same, as
    /// without a stream; one that stops in the middle is not.
    pub fn of_stream(mut entry: Entry, transcript: Transcript, end: End) -> Settlement {
        entry.http_status = Some(200);
        let is_whole = transcript.is_whole();
        let has_usage = transcript.answer.usage.is_some();
        let is_changed = transcript.answer.changed;
        let is_unreadable = transcript.unreadable.is_some();
        let failed = transcript.answer.is_failed();
        let failed = failed.then(|| transcript.answer.error_answer(Head::of_stream(), None));
        let (_, cost_out_of_range) = fill(&mut entry, transcript.answer);
        let answered = |state, entry, result| Settlement {
            state,
            entry,
            result,
            cost_out_of_range,
            again: None,
            content: Content { is_changed, ..Content::default() },
        };
        let is_closed = matches!(end, End::Closed);
        let mut settlement = match (failed, transcript.unreadable, end) {
            (Some(error), ..) => {
                entry.error_code = Some(error.error_code);
                answered(State::Failed, entry, Err(error.failure))
            }
            (None, _, End::Closed) if !has_usage => {
                let failure = Failure::new(FailureKind::BadUpstream, "the stream was closed");
                // Without an error code: nothing went wrong, and OpenRouter's record says what it did cost.
                answered(State::Unknown, entry, Err(failure))
            }
            (None, Some(why), _) => {
                entry.error_code = Some("unreadable_answer".to_owned());
                answered(State::Failed, entry, Err(Failure::unreadable(why)))
            }
            (None, None, End::Broken(error)) if !has_usage => {
                Settlement::new(entry, Err(error), false)
            }
            (None, None, End::Whole) if !is_whole => Settlement::lost(
                entry,
                "stream_cut",
                Failure::new(FailureKind::BadUpstream, "the stream ended in the middle"),
            ),
            (None, None, _) => answered(State::Answered, entry, Ok(Vec::new())),
        };
        // Of a stream that fails its caller may lose the rows: the statement is undone.
        let is_lost = settlement.result.is_err() && !is_closed;
        settlement.content.is_wanted = is_changed || is_unreadable || is_lost;
        settlement
    }
}
