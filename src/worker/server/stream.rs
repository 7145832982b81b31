//! One call, and its answer as it comes.

use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::sync::{Arc, OnceLock};

use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use super::{Connection, OpenCall, Shared, read, write};
use crate::gateway::protocol::{Reply, Request, Submit};
use crate::worker::call::{self, Answer};
use crate::worker::events::Event;

/// Where a stream's chunks go. What a slow reader has not taken waits here: it is no more than
/// `hiems.max_response_bytes`, and OpenRouter is not kept waiting.
pub struct Rows(UnboundedSender<Answer>);

impl Rows {
    /// Passes a chunk on: JSON that `jsonb` takes.
    pub fn send(&self, row: Vec<u8>) {
        // A caller that has left misses nothing.
        let _ = self.0.send((Reply::Delta, row));
    }
}

/// Makes a call, and passes its answer on, until the caller has all of it or wants no more. An error: the
/// caller has gone.
pub async fn serve(connection: &mut Connection, submit: Submit, body: Vec<u8>) -> io::Result<()> {
    let call = submit.entry.id;
    let _open = OpenCall::new(&connection.shared, call, &submit.entry.principal);
    let (has_gone, caller) = watch::channel(false);
    let (frames, mut replies) = unbounded_channel();
    let rows = Some(Rows(frames.clone()));
    let shared = Arc::clone(&connection.shared);
    let running = call::run(shared, submit, body.into(), caller, rows, None);
    tokio::spawn(async move {
        let answer = running.await;
        // It is settled: whoever has left, has left word of it.
        let _ = frames.send(answer);
    });
    let ended = OnceLock::new();
    let Connection { reader, writer, shared, .. } = connection;
    let said = tokio::select! {
        said = read(reader) => said,
        never = deliver(writer, &mut replies, &ended) => match never {},
    };
    if matches!(said, Ok((Request::Received, _))) && ended.get().is_some() {
        return Ok(());
    }
    if said.is_err() {
        shared.outbox.send(Event::CallerGone { call });
    }
    has_gone.send_replace(true);
    let is_answered = match ended.get() {
        Some(is_answered) => *is_answered,
        None => end_of(&mut replies).await,
    };
    leave_word(shared, call, said, is_answered)
}

/// Writes what comes, to the last reply; whether that is an answer is noted before. Does not end: what the
/// caller says, or its going, is the end.
async fn deliver(
    writer: &mut OwnedWriteHalf,
    replies: &mut UnboundedReceiver<Answer>,
    ended: &OnceLock<bool>,
) -> Infallible {
    while let Some((reply, body)) = replies.recv().await {
        if !matches!(reply, Reply::Delta) {
            let _ = ended.set(matches!(reply, Reply::Answered { .. }));
        }
        // Before a caller closes its end it may have said why: that is what is read.
        if write(writer, &reply, &body).await.is_err() {
            break;
        }
    }
    std::future::pending().await
}

/// Waits for the call's end: whether it was answered.
async fn end_of(replies: &mut UnboundedReceiver<Answer>) -> bool {
    while let Some((reply, _)) = replies.recv().await {
        if !matches!(reply, Reply::Delta) {
            return matches!(reply, Reply::Answered { .. });
        }
    }
    false
}

/// Has it noted how a call shall be booked whose caller did not take all of its answer. Before it leaves the
/// set of open calls: the sweep looks at the set first, then at events.
fn leave_word(
    shared: &Shared,
    call: Uuid,
    said: io::Result<(Request, Vec<u8>)>,
    is_answered: bool,
) -> io::Result<()> {
    match said? {
        (Request::Closed { xid, .. }, _) if is_answered => {
            // Nobody waits for its being written.
            let (done, _) = oneshot::channel();
            shared.outbox.send(Event::Defer { call, xid, done });
            Ok(())
        }
        (request, _) => {
            shared.outbox.send(Event::CallerGone { call });
            let is_closed = matches!(request, Request::Closed { .. });
            if is_closed { Ok(()) } else { Err(ErrorKind::InvalidData.into()) }
        }
    }
}
