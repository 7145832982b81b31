//! The streamed call: a row per chunk, as it comes.

use pgrx::iter::SetOfIterator;
use pgrx::prelude::*;
use uuid::Uuid;

use crate::booking;
use crate::error::{self, Error, or_raise};
use crate::gateway::{self, Answered, Next, Open, Stream};
use crate::pg::arguments::Jsonb;
use crate::pg::{client, xact};
use crate::prompt::{self, Prompt};

/// Calls a model through OpenRouter and returns the chunks of its answer while it is generated; books the
/// call in the caller's transaction with the last one. What each argument is and which errors there are
/// stands in the function's comment (`sql/90_grants_comments.sql`).
#[pg_extern(schema = "hiems", volatile, parallel_unsafe, cost = 100000)]
#[allow(clippy::too_many_arguments)] // the SQL signature
fn stream_prompt(
    model: Option<String>,
    messages: Option<Jsonb>,
    user: default!(Option<String>, "NULL"),
    use_case: default!(Option<String>, "NULL"),
    session_id: default!(Option<String>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
    options: default!(Option<Jsonb>, "NULL"),
) -> SetOfIterator<'static, Jsonb> {
    let prompt = Prompt::new(model, messages, user, use_case, session_id, metadata, options);
    let rows = or_raise(start(Prompt { is_streamed: true, ..prompt }));
    SetOfIterator::new(rows)
}

/// The rows of one call. PostgreSQL keeps it from row to row, and drops it with the last one, or where it
/// wants no more: by LIMIT, CLOSE, the end of a portal or of the transaction.
struct Rows {
    /// None once it has ended. Taken out during each wait, so that the unwinding of a cancel closes it.
    stream: Option<Stream>,
    /// The first row, so that what fails before it is raised before there is anything to drop.
    first: Option<Jsonb>,
    call: Uuid,
    /// The innermost transaction of the call's start.
    xid: u64,
}

/// Makes the call, and waits for its first row.
fn start(prompt: Prompt) -> Result<Rows, Error> {
    prompt::check_transaction()?;
    let open = Open::new()?;
    let (mut submit, body) = prompt.prepare()?;
    // Before the bill, and again behind it: the call takes its time.
    booking::refuse_trigger(None)?;
    // Last, so that a refused call takes no transaction id.
    submit.xid = Some(xact::top_level_xid());
    let (call, xid) = (submit.entry.id, xact::innermost_xid());
    let stream = gateway::stream(submit, body.as_bytes(), open)?;
    let mut rows = Rows { stream: Some(stream), first: None, call, xid };
    rows.first = rows.wait()?;
    Ok(rows)
}

impl Rows {
    /// Waits for the next row; books the call where there is none.
    fn wait(&mut self) -> Result<Option<Jsonb>, Error> {
        let Some(stream) = self.stream.take() else { return Ok(None) };
        // A cursor's client has asked for so many rows; another's would wait until they fill a buffer.
        client::flush();
        match stream.next()? {
            Next::Row(stream, chunk) => {
                self.stream = Some(*stream);
                // The gateway has made it fit; UTF-8 it is by then.
                Ok(Some(Jsonb(String::from_utf8_lossy(&chunk).into_owned())))
            }
            Next::End(Answered { entry, is_changed, .. }) => {
                booking::book(vec![(self.call, entry)])?;
                if is_changed {
                    error::warn_changed(self.call);
                }
                Ok(None)
            }
        }
    }
}

impl Iterator for Rows {
    type Item = Jsonb;

    fn next(&mut self) -> Option<Jsonb> {
        match self.first.take() {
            Some(first) => Some(first),
            None => or_raise(self.wait()),
        }
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        // In a transaction that is rolled back it goes like a cancelled caller: the connection closes.
        if let Some(stream) = self.stream.take().filter(|_| xact::is_under_way()) {
            stream.close(self.xid);
        }
    }
}
