//! One call, and its answer as it comes.

use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::io::AsyncWriteExt;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{Notify, oneshot, watch};
use uuid::Uuid;

use super::{Connection, OpenCall, Shared, read, write};
use crate::gateway::protocol::{self, Reply, Request, Submit};
use crate::worker::call::{self, Answer};
use crate::worker::events::Event;

/// What a slow reader has not taken yet: no more than `hiems.max_response_bytes`, and OpenRouter is not kept waiting. As
/// it will be written, in one piece: a chunk of some octets takes little more than them.
#[derive(Default)]
struct Unread {
    waiting: Mutex<Waiting>,
    came: Notify,
}

#[derive(Default)]
struct Waiting {
    frames: Vec<u8>,
    end: Option<Answer>,
    /// True once nothing more comes.
    is_over: bool,
}

impl Unread {
    fn add(&self, add: impl FnOnce(&mut Waiting)) {
        add(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        self.came.notify_one();
    }

    /// All that has come since, and waits for some; None: nothing more comes.
    async fn take(&self) -> Option<(Vec<u8>, Option<Answer>)> {
        loop {
            {
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                if !waiting.frames.is_empty() || waiting.end.is_some() {
                    return Some((std::mem::take(&mut waiting.frames), waiting.end.take()));
                }
                if waiting.is_over {
                    return None;
                }
            }
            self.came.notified().await;
        }
    }
}

/// Where a stream's chunks go.
pub struct Rows(Arc<Unread>);

impl Rows {
    /// Passes a chunk on: JSON that `jsonb` takes.
    pub fn send(&self, row: Vec<u8>) {
        // Answers are smaller than frames may be.
        let Ok(frame) = protocol::encode(&Reply::Delta, &row) else { return };
        self.0.add(|waiting| waiting.frames.extend_from_slice(&frame));
    }
}

/// Where its end goes. Nothing comes behind it.
struct End(Arc<Unread>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.add(|waiting| waiting.is_over = true);
    }
}

/// Makes a call, and passes its answer on, until the caller has all of it or wants no more. An error: the
/// caller has gone.
pub async fn serve(connection: &mut Connection, submit: Submit, body: Vec<u8>) -> io::Result<()> {
    let call = submit.entry.id;
    let _open = OpenCall::new(&connection.shared, call, &submit.entry.principal);
    let (has_gone, caller) = watch::channel(false);
    let unread = Arc::new(Unread::default());
    let (rows, end) = (Some(Rows(Arc::clone(&unread))), End(Arc::clone(&unread)));
    let shared = Arc::clone(&connection.shared);
    let running = call::run(shared, submit, body.into(), caller, rows, None);
    tokio::spawn(async move {
        let answer = running.await;
        // It is settled: whoever has left, has left word of it.
        end.0.add(|waiting| waiting.end = Some(answer));
    });
    let ended = OnceLock::new();
    let Connection { reader, writer, shared, .. } = connection;
    let said = tokio::select! {
        said = read(reader) => said,
        never = deliver(writer, &unread, &ended) => match never {},
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
        None => end_of(&unread).await,
    };
    leave_word(shared, call, said, is_answered)
}

/// Writes what comes, to the last reply; whether that is an answer is noted before. Does not end: what the
/// caller says, or its going, is the end.
async fn deliver(
    writer: &mut OwnedWriteHalf,
    unread: &Unread,
    ended: &OnceLock<bool>,
) -> Infallible {
    while let Some((frames, end)) = unread.take().await {
        if let Some((reply, _)) = &end {
            let _ = ended.set(matches!(reply, Reply::Answered { .. }));
        }
        // Before a caller closes its end it may have said why: that is what is read.
        if writer.write_all(&frames).await.is_err() {
            break;
        }
        drop(frames);
        if let Some((reply, body)) = end
            && write(writer, &reply, &body).await.is_err()
        {
            break;
        }
    }
    std::future::pending().await
}

/// Waits for the call's end: whether it was answered.
async fn end_of(unread: &Unread) -> bool {
    while let Some((_, end)) = unread.take().await {
        if let Some((reply, _)) = end {
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
