//! One call on tokio's side: intent, HTTP, settlement. It runs to its end whatever the caller does: a
//! generation that is not streamed is billed in full. A stream is closed once its caller has left.

mod stream;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use reqwest::header::HeaderValue;
use tokio::sync::watch;

use super::events::{Event, Go, Hold};
use super::generation_ids::Came;
use super::server::{Flight, Queue, Rows, Shared, Slot};
use super::settlement::Settlement;
use crate::gateway::protocol::{Reply, Submit};
use crate::ledger::Entry;
use crate::openrouter::answer::HttpAnswer;
use crate::openrouter::client::{HttpError, OpenRouter};
use crate::openrouter::failure::{Failure, FailureKind};

/// A reply and its body.
pub type Answer = (Reply, Vec<u8>);

/// The part of the time for all attempts that there must be for another one: a quarter.
const LEAST_PART: u32 = 4;

/// How often it is looked whether a transaction that claims the same idempotency key is over.
const CLAIM_POLL: Duration = Duration::from_millis(20);

/// Runs a call, and settles it even if it panics. `gone` says true once the caller has left, or wants no
/// more of a stream. `rows`: where a stream's chunks go, each as it comes; the answer's body is empty then. `slot`:
/// is left as soon as OpenRouter has answered.
pub async fn run(
    shared: Arc<Shared>,
    submit: Submit,
    body: Bytes,
    gone: watch::Receiver<bool>,
    rows: Option<Rows>,
    slot: Option<Arc<Slot>>,
) -> Answer {
    let submit = Arc::new(submit);
    let call = admit(Arc::clone(&shared), Arc::clone(&submit), body, gone, rows, slot);
    match AssertUnwindSafe(call).catch_unwind().await {
        Ok(answer) => answer,
        Err(_) => {
            let failure = Failure::new(FailureKind::Internal, "the gateway failed during the call");
            settle(&shared, Settlement::lost(submit.entry.clone(), "internal", failure)).await
        }
    }
}

/// Has the intent committed, and sends the call.
async fn admit(
    shared: Arc<Shared>,
    submit: Arc<Submit>,
    body: Bytes,
    gone: watch::Receiver<bool>,
    rows: Option<Rows>,
    slot: Option<Arc<Slot>>,
) -> Answer {
    let call = submit.entry.id;
    let mut entry = submit.entry.clone();
    let openrouter = match shared.openrouter() {
        Ok(openrouter) => openrouter,
        Err(reason) => {
            let failure =
                Failure::new(FailureKind::Unavailable, "the gateway's settings are wrong");
            return refused(
                failure.detail(reason).hint("An admin sees in hiems.health() what to do."),
            );
        }
    };
    let charges_beyond_tokens = submit.charges_beyond_tokens;
    let keeps_answer = submit.keeps_answer || submit.idempotency.is_some();
    let (Go { authorization, created_at, place: _place }, _flight) =
        match admission(&shared, submit, gone.clone()).await {
            Ok(admitted) => admitted,
            Err(answer) => return answer,
        };
    if *gone.borrow() {
        shared.outbox.send(Event::Unsent { call });
        return refused(leaving());
    }
    entry.created_at = Some(created_at);
    let deadline = Instant::now() + openrouter.request_timeout();
    let call = Sending {
        shared,
        openrouter,
        authorization,
        body,
        charges_beyond_tokens,
        keeps_answer,
        deadline,
        gone,
        rows,
        slot,
    };
    call.run(entry).await
}

/// Has a call admitted and journalled. The error: it is not sent, or another call has its idempotency key,
/// and has ended. One that failed unbilled has set the key free. One of a batch waits for room.
async fn admission(
    shared: &Arc<Shared>,
    submit: Arc<Submit>,
    mut gone: watch::Receiver<bool>,
) -> Result<(Go, Flight), Answer> {
    let mut looked_at = None;
    let mut queue = Queue::default();
    let principal = &submit.entry.principal;
    loop {
        let flight = Flight::new(shared);
        let asked = Arc::clone(&submit);
        let is_patient = submit.batch.is_some();
        let taken = match shared.outbox.ask(|done| Event::Intent { submit: asked, done }).await {
            Some(Ok(go)) => return Ok((go, flight)),
            Some(Err(Hold::Refused(failure))) => return Err(refused(failure)),
            Some(Err(Hold::Full { .. })) if is_patient => {
                drop(flight);
                tokio::select! {
                    () = queue.wait(shared, principal) => continue,
                    _ = gone.wait_for(|gone| *gone) => return Err(refused(leaving())),
                    // Another gateway may make it.
                    () = shared.leaving() => return Err((Reply::Leaving, Vec::new())),
                }
            }
            Some(Err(Hold::Full { by_share })) => return Err(refused(too_many(by_share))),
            Some(Err(Hold::Taken(call))) => call,
            Some(Err(Hold::Claimed)) => tokio::select! {
                () = tokio::time::sleep(CLAIM_POLL) => continue,
                _ = gone.wait_for(|gone| *gone) => return Err(refused(leaving())),
                () = shared.leaving() => return Err(refused(leaving())),
            },
            None => return Err(refused(leaving())),
        };
        // What it waits for now is not room.
        drop(flight);
        queue = Queue::default();
        if looked_at == Some(taken) && !shared.is_open(taken) {
            return Err((Reply::Replay { call: taken }, Vec::new()));
        }
        // Once all of it is written, it has the key still, or has set it free.
        let written = async {
            let principal = submit.entry.principal.clone();
            shared.until_ended(taken, &principal).await;
            shared.outbox.ask(|done| Event::Written { call: taken, principal, done }).await
        };
        tokio::select! {
            _ = written => looked_at = Some(taken),
            _ = gone.wait_for(|gone| *gone) => return Err(refused(leaving())),
        }
    }
}

/// A call whose intent is durable, and which is sent once.
pub struct Once {
    pub entry: Entry,
    pub body: Bytes,
    pub authorization: HeaderValue,
    pub charges_beyond_tokens: bool,
}

/// Sends a call once. The error: no connection, nothing was sent.
pub async fn once(
    shared: &Arc<Shared>,
    openrouter: &OpenRouter,
    once: Once,
) -> Result<Settlement, String> {
    let (_, gone) = watch::channel(false);
    let sending = Sending {
        shared: Arc::clone(shared),
        openrouter: openrouter.clone(),
        authorization: once.authorization,
        body: once.body,
        charges_beyond_tokens: once.charges_beyond_tokens,
        keeps_answer: true,
        deadline: Instant::now() + openrouter.request_timeout(),
        gone,
        rows: None,
        slot: None,
    };
    sending.attempt(&once.entry).await
}

/// A call whose intent is durable.
struct Sending {
    shared: Arc<Shared>,
    openrouter: OpenRouter,
    authorization: HeaderValue,
    body: Bytes,
    charges_beyond_tokens: bool,
    /// True where the answer may be asked for a second time.
    keeps_answer: bool,
    /// The end of the caller's time, for all attempts together.
    deadline: Instant,
    gone: watch::Receiver<bool>,
    /// Where the chunks of a stream go; None: the answer is not streamed.
    rows: Option<Rows>,
    slot: Option<Arc<Slot>>,
}

impl Sending {
    /// Sends it, and again where it was refused before anything was billed; settles it.
    async fn run(mut self, mut entry: Entry) -> Answer {
        let call = entry.id;
        let mut earlier: Option<Settlement> = None;
        loop {
            let attempt = match &self.rows {
                Some(rows) => self.attempt_stream(&entry, rows).await,
                None => self.attempt(&entry).await,
            };
            let settlement = match (attempt, earlier) {
                (Ok(settlement), _) => settlement,
                // What came before stands.
                (Err(_), Some(settlement)) => return settle(&self.shared, settlement).await,
                (Err(what), None) => {
                    self.shared.outbox.send(Event::Unsent { call });
                    return refused(unreachable(what));
                }
            };
            if !self.may_send_again(&settlement).await {
                if settlement.result.is_ok()
                    && let Some(slot) = &self.slot
                {
                    slot.leave();
                }
                return settle(&self.shared, settlement).await;
            }
            entry.attempts += 1;
            let attempts = entry.attempts;
            let is_journalled = self
                .shared
                .outbox
                .ask(|done| Event::Again { call, attempts, done })
                .await
                .is_some();
            // The journal may have taken its time.
            if !(is_journalled && self.is_time_for_another(self.time_left())) {
                return settle(&self.shared, settlement).await;
            }
            earlier = Some(settlement);
        }
    }

    /// Sends it once. The error: no connection, nothing was sent.
    async fn attempt(&self, entry: &Entry) -> Result<Settlement, String> {
        let mut entry = entry.clone();
        let started = Instant::now();
        let http = self
            .openrouter
            .chat(self.authorization.clone(), self.body.clone(), self.time_left(), |id| {
                self.note_generation(&mut entry, id);
            })
            .await;
        self.settled(entry, started, http)
    }

    /// Has the generation's id kept and journalled, where it has come.
    fn note_generation(&self, entry: &mut Entry, id: Option<String>) {
        if let Some(id) = id {
            let came = Came { id: entry.id, attempts: entry.attempts, generation_id: id.clone() };
            let kept = self.shared.generation_ids.keep(&came);
            self.shared.outbox.send(Event::Generation { came, kept, since: Instant::now() });
            entry.generation_id = Some(id);
        }
    }

    /// How an attempt ended that gave a whole answer, or none. The error: no connection, nothing was sent.
    fn settled(
        &self,
        mut entry: Entry,
        started: Instant,
        http: Result<HttpAnswer, HttpError>,
    ) -> Result<Settlement, String> {
        if let Err(HttpError::NotSent(what)) = http {
            self.shared.set_last_contact(Err(what.clone()));
            return Err(what);
        }
        self.shared.set_last_contact(Ok(()));
        if let Ok(HttpAnswer { clock_skew: Some(seconds), .. }) = &http {
            self.shared.set_clock_skew(*seconds);
        }
        entry.latency_ms = i64::try_from(started.elapsed().as_millis()).ok();
        let mut settlement = Settlement::new(entry, http, self.charges_beyond_tokens);
        settlement.content.request = self.body.clone();
        settlement.content.is_wanted |= *self.gone.borrow() || self.keeps_answer;
        Ok(settlement)
    }

    /// True once it is time for the next attempt. False where there is none to be: it may have been
    /// billed, or the caller's time or patience is over before.
    async fn may_send_again(&mut self, settlement: &Settlement) -> bool {
        let Some(again) = settlement.again else { return false };
        let attempts = u32::try_from(settlement.entry.attempts).unwrap_or(u32::MAX);
        let wait = again.wait(attempts, fastrand::f64());
        let time_left = self.time_left().saturating_sub(wait);
        if attempts >= self.openrouter.max_attempts() || !self.is_time_for_another(time_left) {
            return false;
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => true,
            _ = self.gone.wait_for(|gone| *gone) => false,
            () = self.shared.leaving() => false,
        }
    }

    /// An attempt that would be cut off is not made: it may be billed all the same.
    fn is_time_for_another(&self, time_left: Duration) -> bool {
        time_left >= self.openrouter.request_timeout() / LEAST_PART
    }

    fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// Commits the settlement, then says how it went. A call that cannot be told any more is in the
/// journal.
async fn settle(shared: &Shared, mut settlement: Settlement) -> Answer {
    let call = settlement.entry.id;
    let is_changed = settlement.is_changed();
    let result = std::mem::replace(&mut settlement.result, Ok(Vec::new()));
    let settlement = Box::new(settlement);
    match (shared.outbox.ask(|done| Event::Settle { settlement, done }).await, result) {
        (Some(entry), Ok(body)) => (Reply::Answered { entry, is_changed }, body),
        (Some(entry), Err(failure)) => (Reply::Failed { call, failure, entry }, Vec::new()),
        (None, _) => (Reply::Failed { call, failure: not_recorded(), entry: None }, Vec::new()),
    }
}

fn refused(failure: Failure) -> Answer {
    (Reply::Refused(failure), Vec::new())
}

pub fn unreachable(what: String) -> Failure {
    Failure::new(FailureKind::Unavailable, "OpenRouter cannot be reached")
        .detail(what)
        .hint("Nothing was sent. Look at hiems.base_url.")
}

/// Sent, perhaps billed: nothing that a client would take for leave to try again.
fn not_recorded() -> Failure {
    Failure::new(FailureKind::BadUpstream, "the outcome of the call is not known")
        .detail("the gateway had to leave before it could record it")
}

fn too_many(by_share: bool) -> Failure {
    let failure = Failure::new(FailureKind::RateLimited, "too many calls are in flight");
    match by_share {
        true => failure
            .detail("what is left of hiems.max_in_flight is for other callers; try again in 1 s")
            .hint("A superuser can raise hiems.max_in_flight or hiems.max_share."),
        false => failure
            .detail("hiems.max_in_flight is reached; try again in 1 s")
            .hint("A superuser can raise hiems.max_in_flight."),
    }
}

fn leaving() -> Failure {
    Failure::new(FailureKind::Unavailable, "the gateway is leaving").hint("Try again.")
}

/// An entry as it stands in the journal before anything is sent.
pub fn intended(entry: &Entry, created_at: &str) -> Entry {
    Entry { created_at: Some(created_at.to_owned()), ..entry.clone() }
}
