//! Many calls of one caller: so many at a time, and each reply goes out as its call ends.

use std::collections::{HashSet, VecDeque};
use std::io::{self, ErrorKind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::vec::IntoIter;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{Connection, OpenCall, Shared, Slot, read};
use crate::gateway::protocol::{self, Item, Many, Reply, Request};
use crate::worker::call;
use crate::worker::events::Event;

/// What the caller says, once it says something.
type Said<'s> = Pin<&'s mut (dyn Future<Output = Last> + Send)>;
type Last = io::Result<(Request, Vec<u8>)>;

/// Makes the calls, and waits until their replies were read. An error: the caller has gone, or wants no more.
pub async fn serve(connection: &mut Connection, many: Many, body: Vec<u8>) -> io::Result<()> {
    let shared = Arc::clone(&connection.shared);
    let Connection { reader, writer, .. } = connection;
    let mut said = pin!(read(reader));
    let mut batch = Batch::new(shared, many, body.into(), unread_bytes(writer));
    match batch.run(writer, said.as_mut()).await {
        // Another gateway makes what was not sent; what was has ended, and its replies were read.
        Ok((Request::Received, _)) if batch.is_leaving => Err(ErrorKind::ConnectionAborted.into()),
        Ok((Request::Received, _)) if batch.has_ended() => Ok(()),
        last => Err(batch.end(last).await),
    }
}

/// How much may have been written and not read.
fn unread_bytes(writer: &OwnedWriteHalf) -> u64 {
    let size = socket2::SockRef::from(writer.as_ref()).send_buffer_size();
    size.unwrap_or(1 << 20) as u64
}

/// Calls on their way to one caller.
struct Batch {
    shared: Arc<Shared>,
    /// What was not begun yet, and the rest of the bodies.
    pending: IntoIter<Item>,
    bodies: Bytes,
    /// One for each call that may be under way, and how many those are.
    slots: Arc<Semaphore>,
    max_concurrency: usize,
    stop_at_failure: bool,
    has_failed: bool,
    is_leaving: bool,
    /// Tells the calls once nobody waits for them.
    has_gone: watch::Sender<bool>,
    running: JoinSet<Ended>,
    under_way: HashSet<Uuid>,
    /// Calls whose replies may be unread yet, the oldest first; and those whose replies were read. None is
    /// booked before its caller has said what becomes of all of them.
    recent: VecDeque<Ended>,
    read: Vec<OpenCall>,
    written: u64,
    unread_bytes: u64,
}

struct Ended {
    position: i32,
    call: Uuid,
    principal: String,
    reply: Reply,
    body: Vec<u8>,
    open: OpenCall,
    /// Where it failed, no other call begins in its place before it is known whether any may.
    slot: Arc<Slot>,
    /// How much had been written when its reply had been.
    written: u64,
}

impl Batch {
    fn new(shared: Arc<Shared>, many: Many, bodies: Bytes, unread_bytes: u64) -> Batch {
        let max_concurrency = many.max_concurrency.clamp(1, Semaphore::MAX_PERMITS / 2);
        Batch {
            shared,
            pending: many.items.into_iter(),
            bodies,
            slots: Arc::new(Semaphore::new(max_concurrency)),
            max_concurrency,
            stop_at_failure: many.stop_at_failure,
            has_failed: false,
            is_leaving: false,
            has_gone: watch::channel(false).0,
            running: JoinSet::new(),
            under_way: HashSet::new(),
            recent: VecDeque::new(),
            read: Vec::new(),
            written: 0,
            unread_bytes,
        }
    }

    fn has_ended(&self) -> bool {
        self.pending.len() == 0 && self.running.is_empty()
    }

    /// Makes the calls and replies, until the caller says something, or is gone.
    async fn run(&mut self, writer: &mut OwnedWriteHalf, mut said: Said<'_>) -> Last {
        let shared = Arc::clone(&self.shared);
        while !self.has_failed {
            let may_begin = self.may_begin();
            if self.running.is_empty() && !may_begin {
                break;
            }
            let ended = tokio::select! {
                biased;
                said = &mut said => return said,
                () = shared.leaving(), if !self.is_leaving => {
                    self.is_leaving = true;
                    continue;
                }
                ended = self.running.join_next(), if !self.running.is_empty() => ended,
                Ok(slot) = Arc::clone(&self.slots).acquire_owned(), if may_begin => {
                    self.begin(slot)?;
                    continue;
                }
            };
            // A call settles itself even if it panics.
            let Some(Ok(ended)) = ended else { return Err(io::Error::other("a call was lost")) };
            self.under_way.remove(&ended.call);
            if matches!(ended.reply, Reply::Leaving) {
                self.is_leaving = true;
            } else if let Some(last) = self.reply(ended, writer, &mut said).await? {
                return last;
            }
        }
        if self.is_leaving && !self.has_failed {
            let leaving = protocol::encode(&Reply::Leaving, &[]).map_err(io::Error::other)?;
            // Whether it was read, the caller says.
            let _ = writer.write_all(&leaving).await;
        }
        said.await
    }

    /// True if another call may begin as soon as there is a slot. As many as have slots may have left theirs,
    /// and wait to be written.
    fn may_begin(&self) -> bool {
        !self.is_leaving && self.pending.len() > 0 && self.running.len() < 2 * self.max_concurrency
    }

    /// Begins the next call.
    fn begin(&mut self, slot: OwnedSemaphorePermit) -> io::Result<()> {
        let Some(Item { position, submit, length }) = self.pending.next() else { return Ok(()) };
        if length > self.bodies.len() {
            return Err(ErrorKind::InvalidData.into());
        }
        let body = self.bodies.split_to(length);
        let (call, principal) = (submit.entry.id, submit.entry.principal.clone());
        let keeps_answer = submit.keeps_answer || submit.idempotency.is_some();
        let (shared, gone) = (Arc::clone(&self.shared), self.has_gone.subscribe());
        let open = OpenCall::new(&shared, call, &principal);
        let slot = Arc::new(Slot::of(slot));
        self.under_way.insert(call);
        self.running.spawn(async move {
            let leaves = Some(Arc::clone(&slot));
            let (reply, body) = call::run(shared, submit, body, gone, None, leaves).await;
            // What is kept anyway, and what has no answer, nobody need wait for any longer: least of all
            // another call of this batch with the same idempotency key.
            if keeps_answer || !matches!(reply, Reply::Answered { .. }) {
                open.end();
            }
            Ended { position, call, principal, reply, body, open, slot, written: 0 }
        });
        Ok(())
    }

    /// Writes a reply; no call begins meanwhile, so that a slow reader fills no memory. What the caller
    /// says meanwhile.
    async fn reply(
        &mut self,
        mut ended: Ended,
        writer: &mut OwnedWriteHalf,
        said: &mut Said<'_>,
    ) -> io::Result<Option<Last>> {
        if self.stop_at_failure && matches!(ended.reply, Reply::Failed { .. } | Reply::Refused(_)) {
            self.has_failed = true;
            // Nothing more is sent, not even what has been begun.
            self.has_gone.send_replace(true);
        }
        let reply = std::mem::replace(&mut ended.reply, Reply::Ended);
        let is_answered = matches!(reply, Reply::Answered { .. });
        let item = Reply::Item { position: ended.position, reply: Box::new(reply) };
        let frame = protocol::encode(&item, &ended.body).map_err(io::Error::other)?;
        if let Reply::Item { reply, .. } = item {
            ended.reply = *reply;
        }
        if !is_answered {
            ended.body = Vec::new();
        }
        if !self.has_failed {
            ended.slot.leave();
        }
        self.written += frame.len() as u64;
        ended.written = self.written;
        self.recent.push_back(ended);
        let last = tokio::select! {
            written = writer.write_all(&frame) => match written {
                Ok(()) => None,
                // Its last words may have come.
                Err(_) => Some(said.await),
            },
            last = &mut *said => Some(last),
        };
        if last.is_none() {
            self.forget_read();
        }
        Ok(last)
    }

    /// Lets go of answers that have been read: they lie further back than the socket holds.
    fn forget_read(&mut self) {
        while let Some(first) = self.recent.front()
            && first.written + self.unread_bytes < self.written
        {
            if let Some(Ended { open, .. }) = self.recent.pop_front() {
                open.end();
                self.read.push(open);
            }
        }
    }

    /// The caller has gone, or wants no more. What it says that it has, it may commit; all else is booked as
    /// cancelled, and the answers that it may not have read are kept for it. What is under way is finished.
    async fn end(mut self, last: Last) -> io::Error {
        self.has_gone.send_replace(true);
        let (error, had, xid) = match last {
            Ok((Request::Closed { calls, xid }, _)) => {
                (ErrorKind::ConnectionAborted.into(), calls.into_iter().collect(), xid)
            }
            Ok(_) => (ErrorKind::InvalidData.into(), HashSet::new(), 0),
            Err(error) => (error, HashSet::new(), 0),
        };
        // All of it before they leave the set: the sweep looks at the set first, then at events.
        for call in &had {
            // Nobody waits to be told.
            let (done, _) = oneshot::channel();
            self.shared.outbox.send(Event::Defer { call: *call, xid, done });
        }
        let ended = self.read.iter().map(OpenCall::id).chain(self.recent.iter().map(|e| e.call));
        for call in ended.chain(self.under_way.iter().copied()).filter(|call| !had.contains(call)) {
            self.shared.outbox.send(Event::CallerGone { call });
        }
        for ended in self.recent.drain(..).filter(|ended| !had.contains(&ended.call)) {
            undelivered(&self.shared, ended);
        }
        self.read.clear();
        while let Some(ended) = self.running.join_next().await {
            if let Ok(ended) = ended {
                undelivered(&self.shared, ended);
            }
        }
        error
    }
}

/// Has an answer kept that its caller may not have; then the call leaves the set.
fn undelivered(shared: &Shared, ended: Ended) {
    let Ended { call, principal, reply, body: answer, open, .. } = ended;
    if matches!(reply, Reply::Answered { .. }) {
        shared.outbox.send(Event::Undelivered { call, principal, answer });
    }
    drop(open);
}
