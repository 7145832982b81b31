//! What tokio's tasks and the main thread share: the calls that are under way, the client, what is known of
//! OpenRouter.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use super::flights::Flights;
use crate::openrouter::client::OpenRouter;
use crate::worker::events::{Event, Outbox};
use crate::worker::generation_ids::GenerationIds;

type Open = HashMap<Uuid, Opened>;

/// A call whose caller may still be reading.
struct Opened {
    /// Whose it is.
    principal: String,
    /// Who waits for its end; None: it has ended.
    waiting: Option<Vec<oneshot::Sender<()>>>,
}

/// What tokio's tasks and the main thread share.
pub struct Shared {
    pub outbox: Outbox,
    pub generation_ids: Arc<GenerationIds>,
    openrouter: RwLock<Result<OpenRouter, String>>,
    /// Calls whose callers have not read their replies yet, and have not gone; and who waits for the end of
    /// each.
    open: Mutex<Open>,
    pub flights: Flights,
    connections: AtomicUsize,
    /// Connections whose transactions change the queue.
    enqueuing: AtomicUsize,
    /// OpenRouter's clock less this one's, in seconds, at the last answer.
    clock_skew: AtomicI64,
    /// How the last attempt to reach it went.
    last_contact: Mutex<Option<Result<(), String>>>,
    /// True once the gateway leaves.
    leaving: watch::Receiver<bool>,
}

impl Shared {
    /// Before anything has come.
    pub fn new(
        outbox: Outbox,
        openrouter: Result<OpenRouter, String>,
        generation_ids: Arc<GenerationIds>,
        leaving: watch::Receiver<bool>,
    ) -> Shared {
        Shared {
            outbox,
            generation_ids,
            leaving,
            clock_skew: AtomicI64::new(i64::MIN),
            last_contact: Mutex::default(),
            openrouter: RwLock::new(openrouter),
            open: Mutex::default(),
            flights: Flights::default(),
            connections: AtomicUsize::new(0),
            enqueuing: AtomicUsize::new(0),
        }
    }

    /// The client, or what is wrong with its settings.
    pub fn openrouter(&self) -> Result<OpenRouter, String> {
        self.openrouter.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A new client, after a reload.
    pub fn set_openrouter(&self, openrouter: Result<OpenRouter, String>) {
        *self.openrouter.write().unwrap_or_else(PoisonError::into_inner) = openrouter;
    }

    /// The calls whose callers may still be reading.
    pub fn open_calls(&self) -> Vec<Uuid> {
        self.open_set(|open| open.keys().copied().collect())
    }

    /// Those of these calls whose callers read no more.
    pub fn closed(&self, calls: impl Iterator<Item = Uuid>) -> Vec<Uuid> {
        self.open_set(|open| calls.filter(|call| !open.contains_key(call)).collect())
    }

    /// Waits until the caller of one of `principal`'s calls has its answer, or has gone and the call has ended.
    /// Another's is as if it were not there.
    pub async fn until_ended(&self, call: Uuid, principal: &str) {
        let (sender, ended) = oneshot::channel();
        let is_open = self.open_set(|open| {
            let opened = open.get_mut(&call).filter(|opened| opened.principal == principal);
            match opened.and_then(|opened| opened.waiting.as_mut()) {
                Some(waiting) => {
                    waiting.push(sender);
                    true
                }
                None => false,
            }
        });
        if is_open {
            // Rung, or dropped with the call: it has ended.
            let _ = ended.await;
        }
    }

    /// True while a call is under way, or its caller reads the answer.
    pub fn is_open(&self, call: Uuid) -> bool {
        self.open_set(|open| open.get(&call).is_some_and(|opened| opened.waiting.is_some()))
    }

    /// True while a call is under way, or any caller may still be reading.
    pub fn is_busy(&self) -> bool {
        self.in_flight() > 0 || self.open_set(|open| !open.is_empty())
    }

    /// How many calls are under way, or ask to be.
    pub fn in_flight(&self) -> usize {
        self.flights.count()
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Acquire)
    }

    /// True while a transaction changes the queue.
    pub fn is_enqueuing(&self) -> bool {
        self.enqueuing.load(Ordering::Acquire) > 0
    }

    /// Takes note of OpenRouter's clock.
    pub fn set_clock_skew(&self, seconds: i64) {
        self.clock_skew.store(seconds, Ordering::Release);
    }

    /// Takes note of whether OpenRouter could be reached.
    pub fn set_last_contact(&self, contact: Result<(), String>) {
        *self.last_contact.lock().unwrap_or_else(PoisonError::into_inner) = Some(contact);
    }

    /// How the last attempt to reach OpenRouter went; None before the first.
    pub fn last_contact(&self) -> Option<Result<(), String>> {
        self.last_contact.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// OpenRouter's clock less this one's, in seconds; None before the first answer.
    pub fn clock_skew(&self) -> Option<i64> {
        Some(self.clock_skew.load(Ordering::Acquire)).filter(|seconds| *seconds != i64::MIN)
    }

    /// Until the gateway leaves.
    pub async fn leaving(&self) {
        // The sender lives as long as the gateway: without it, it has left.
        let _ = self.leaving.clone().wait_for(|leaving| *leaving).await;
    }

    fn open_set<R>(&self, work: impl FnOnce(&mut Open) -> R) -> R {
        work(&mut self.open.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A call whose caller may still be reading, in the set for as long as it lives.
pub struct OpenCall(Arc<Shared>, Uuid);

impl OpenCall {
    /// Of a call of `principal`'s.
    pub fn new(shared: &Arc<Shared>, call: Uuid, principal: &str) -> OpenCall {
        let opened = Opened { principal: principal.to_owned(), waiting: Some(Vec::new()) };
        shared.open_set(|open| open.insert(call, opened));
        OpenCall(Arc::clone(shared), call)
    }

    /// The call.
    pub fn id(&self) -> Uuid {
        self.1
    }

    /// It has ended, and who waits for that need not wait until its caller has read the answer.
    pub fn end(&self) {
        // With them goes what they wait for.
        self.0.open_set(|open| open.get_mut(&self.1).and_then(|opened| opened.waiting.take()));
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        // With it go those who wait.
        self.0.open_set(|open| open.remove(&self.1));
    }
}

/// A connection that is open, counted for as long as it lives.
pub struct Counted(Arc<Shared>);

impl Counted {
    pub fn new(shared: &Arc<Shared>) -> Counted {
        shared.connections.fetch_add(1, Ordering::AcqRel);
        Counted(Arc::clone(shared))
    }

    pub fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.0)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A transaction that changes the queue: the gateway stays for it, and looks into the queue at its end.
pub struct Enqueuing(Arc<Shared>);

impl Enqueuing {
    pub fn new(shared: &Arc<Shared>) -> Enqueuing {
        shared.enqueuing.fetch_add(1, Ordering::AcqRel);
        Enqueuing(Arc::clone(shared))
    }
}

impl Drop for Enqueuing {
    fn drop(&mut self) {
        self.0.enqueuing.fetch_sub(1, Ordering::AcqRel);
        self.0.outbox.send(Event::Wake);
    }
}
