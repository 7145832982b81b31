//! What tokio's threads ask of the main thread, and how they wake it.

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use reqwest::header::HeaderValue;
use secrecy::SecretString;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::generation_ids::{Came, Kept};
use super::look_ups::Asked;
use super::server::Place;
use super::settlement::Settlement;
use crate::gateway::protocol::{Reply, SealRequest, Status, StoredKey, Submit};
use crate::openrouter::failure::Failure;
use crate::openrouter::generation::LookUp;
use crate::queue::PutBack;

/// Whether a call may be sent.
pub type Admission = Result<Go, Hold>;

/// Why a call is not sent.
#[derive(Clone)]
pub enum Hold {
    Refused(Failure),
    /// `hiems.max_in_flight` is reached; `by_share`: what is left is for other principals.
    Full {
        by_share: bool,
    },
    /// This other call has its idempotency key.
    Taken(Uuid),
    /// A transaction that is not over yet claims its idempotency key.
    Claimed,
}

/// A settled call's ledger row as JSON text; None where it cannot be told yet, since the rates are locked.
pub type LedgerRow = Option<String>;

/// A piece of work for the main thread.
pub enum Event {
    /// Admit a call and commit its intent; then it may be sent.
    Intent { submit: Arc<Submit>, done: oneshot::Sender<Admission> },
    /// The generation's id has come with the headers, at that time.
    Generation { came: Came, kept: Kept, since: Instant },
    /// Commit how a call ended.
    Settle { settlement: Box<Settlement>, done: oneshot::Sender<LedgerRow> },
    /// Commit that a call is about to be sent again, `attempts` times in all.
    Again { call: Uuid, attempts: i32, done: oneshot::Sender<()> },
    /// Nothing was sent: forget the intent.
    Unsent { call: Uuid },
    /// The caller leaves the booking to the sweep: the ledger is locked.
    Defer { call: Uuid, xid: u64, done: oneshot::Sender<()> },
    /// The caller went before it had read the answer.
    CallerGone { call: Uuid },
    /// An answer that its caller went without: to be kept for it.
    Undelivered { call: Uuid, principal: String, answer: Vec<u8> },
    /// Say when nothing of this call waits to be written, and it is not in the queue as this principal's.
    Written { call: Uuid, principal: String, done: oneshot::Sender<()> },
    /// Write down which principal this role has, an OID and a name.
    Principal { role: u32, name: String, done: oneshot::Sender<Result<String, Failure>> },
    /// How the gateway is, and whether it can open these keys.
    Status { keys: Vec<StoredKey>, done: oneshot::Sender<Status> },
    /// What OpenRouter's record of a generation says.
    LookedUp { call: Uuid, found: LookUp },
    /// Look everything of unknown cost up now.
    SettleNow { done: Asked },
    /// Look into the queue: somebody has changed it.
    Wake,
    /// How a call out of the queue has ended.
    Queued { ended: Box<QueuedEnd>, done: oneshot::Sender<()> },
    /// Something to do with keys.
    Key(KeyEvent),
}

/// What the end of a call says of the pace that its model can be called at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// The provider took it, whatever came of it.
    Taken,
    /// It has no room, or limits the rate of calls; how long the model is to be left alone.
    Refused(Duration),
    /// OpenRouter cannot be reached.
    Unreachable,
}

/// How a call out of the queue has ended.
pub enum QueuedEnd {
    /// It reached OpenRouter.
    Settled { settlement: Settlement, pace: Pace },
    /// It was surely not billed, and may be made again.
    Back { back: PutBack, pace: Pace },
}

/// A piece of work with keys. Their plaintext does not leave the gateway.
pub enum KeyEvent {
    /// Seal a key.
    Seal { request: SealRequest, key: SecretString, done: oneshot::Sender<Result<Reply, Failure>> },
    /// Open a key; gives the `Authorization` header, marked sensitive.
    Open { key: StoredKey, done: oneshot::Sender<Result<HeaderValue, Failure>> },
    /// Seal keys with a new master key; or, where it `adopts` them, those of other databases for this one.
    Reseal { keys: Vec<StoredKey>, adopts: bool, done: oneshot::Sender<Result<Reply, Failure>> },
}

/// A call may be sent.
pub struct Go {
    /// The `Authorization` header, marked sensitive.
    pub authorization: HeaderValue,
    /// When the call was made, for the ledger.
    pub created_at: String,
    /// Its place of `hiems.max_in_flight`, given back when this goes.
    pub place: Place,
}

/// The sending end, for tokio's threads.
#[derive(Clone)]
pub struct Outbox {
    events: mpsc::Sender<Event>,
    bell: Arc<Bell>,
}

/// The main thread's end.
pub struct Inbox {
    events: mpsc::Receiver<Event>,
    bell: Arc<Bell>,
    ear: UnixStream,
}

struct Bell {
    rung: AtomicBool,
    wire: UnixStream,
}

impl Bell {
    fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            // A full pipe has woken it already.
            let _ = (&self.wire).write(&[1]);
        }
    }
}

/// Both ends.
pub fn channel() -> std::io::Result<(Outbox, Inbox)> {
    let (wire, ear) = UnixStream::pair()?;
    wire.set_nonblocking(true)?;
    ear.set_nonblocking(true)?;
    let bell = Arc::new(Bell { rung: AtomicBool::new(false), wire });
    let (sender, receiver) = mpsc::channel();
    Ok((Outbox { events: sender, bell: Arc::clone(&bell) }, Inbox { events: receiver, bell, ear }))
}

impl Outbox {
    /// Hands an event over and wakes the main thread.
    pub fn send(&self, event: Event) {
        // The receiver lives as long as the runtime.
        if self.events.send(event).is_ok() {
            self.bell.ring();
        }
    }

    /// Hands over an event that is answered. None: the main thread has gone.
    pub async fn ask<T>(&self, event: impl FnOnce(oneshot::Sender<T>) -> Event) -> Option<T> {
        let (done, answer) = oneshot::channel();
        self.send(event(done));
        answer.await.ok()
    }
}

impl Inbox {
    /// Becomes readable when there is an event.
    pub fn descriptor(&self) -> RawFd {
        self.ear.as_raw_fd()
    }

    /// Everything that has come.
    pub fn take(&self) -> Vec<Event> {
        let mut bytes = [0; 64];
        while matches!((&self.ear).read(&mut bytes), Ok(read) if read > 0) {}
        // A swap, not a store: what is sent after it rings again, what was sent before is seen below.
        self.bell.rung.swap(false, Ordering::AcqRel);
        self.events.try_iter().collect()
    }
}
