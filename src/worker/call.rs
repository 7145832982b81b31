//! One call on tokio's side: intent, HTTP, settlement. It runs to its end whatever the caller does: a
//! generation that is not streamed is billed in full.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use secrecy::{ExposeSecret, SecretSlice};

use super::events::{Event, Go};
use super::server::Shared;
use super::settlement::Settlement;
use crate::gateway::protocol::{Reply, Submit};
use crate::ledger::Entry;
use crate::openrouter::client::HttpError;
use crate::openrouter::failure::{Failure, FailureKind};

/// A reply and its body.
pub type Answer = (Reply, Vec<u8>);

/// Runs a call, and settles it even if its task panics. `gone` is set when the caller leaves.
pub async fn run(
    shared: Arc<Shared>,
    submit: Submit,
    body: Vec<u8>,
    gone: Arc<AtomicBool>,
) -> Answer {
    let entry = submit.entry.clone();
    let task = tokio::spawn(attempt(Arc::clone(&shared), submit, body, gone));
    match task.await {
        Ok(answer) => answer,
        Err(_) => {
            let failure = Failure::new(FailureKind::Internal, "the gateway failed during the call");
            settle(&shared, Settlement::lost(entry, "internal", failure)).await
        }
    }
}

async fn attempt(
    shared: Arc<Shared>,
    submit: Submit,
    body: Vec<u8>,
    gone: Arc<AtomicBool>,
) -> Answer {
    let call = submit.entry.id;
    let mut entry = submit.entry.clone();
    let openrouter = match shared.openrouter() {
        Ok(openrouter) => openrouter,
        Err(reason) => {
            let failure =
                Failure::new(FailureKind::Unavailable, "the gateway's settings are wrong");
            return refused(failure.detail(reason));
        }
    };
    let charges_beyond_tokens = submit.charges_beyond_tokens;
    let submit = Box::new(submit);
    let admitted = shared.outbox.ask(|done| Event::Intent { submit, done }).await;
    let Go { authorization, created_at } = match admitted {
        Some(Ok(go)) => go,
        Some(Err(failure)) => return refused(failure),
        None => return refused(leaving()),
    };
    if gone.load(Ordering::Acquire) {
        shared.outbox.send(Event::Unsent { call });
        return refused(leaving());
    }
    entry.created_at = Some(created_at);
    let started = Instant::now();
    let outbox = shared.outbox.clone();
    let mut generation_id = None;
    let key = SecretSlice::from(authorization.as_bytes().to_vec());
    let mut http = openrouter
        .chat(authorization, body, |id| {
            if let Some(id) = id {
                outbox.send(Event::Generation { call, generation_id: id.clone() });
                generation_id = Some(id);
            }
        })
        .await;
    if let Err(HttpError::NotSent(what)) = http {
        shared.outbox.send(Event::Unsent { call });
        let failure = Failure::new(FailureKind::Unavailable, "OpenRouter cannot be reached");
        return refused(failure.detail(what).hint("Nothing was sent. Look at hiems.base_url."));
    }
    if let Ok(answer) = &mut http {
        blot_out(&mut answer.body, &key);
    }
    entry.latency_ms = i64::try_from(started.elapsed().as_millis()).ok();
    entry.generation_id = generation_id;
    settle(&shared, Settlement::new(entry, http, charges_beyond_tokens)).await
}

/// Commits the settlement, then says how it went. A call that cannot be told any more is in the
/// journal.
async fn settle(shared: &Shared, mut settlement: Settlement) -> Answer {
    let call = settlement.entry.id;
    let result = std::mem::replace(&mut settlement.result, Ok(Vec::new()));
    let settlement = Box::new(settlement);
    match (shared.outbox.ask(|done| Event::Settle { settlement, done }).await, result) {
        (Some(entry), Ok(body)) => (Reply::Answered { entry }, body),
        (Some(_), Err(failure)) => (Reply::Failed { call, failure }, Vec::new()),
        (None, _) => (Reply::Failed { call, failure: not_recorded() }, Vec::new()),
    }
}

/// Some errors repeat the key that was sent: it goes no further than this.
fn blot_out(body: &mut [u8], authorization: &SecretSlice<u8>) {
    let authorization = authorization.expose_secret();
    let key = authorization.strip_prefix(b"Bearer ").unwrap_or(authorization);
    let mut from = 0;
    while let Some(at) = memchr::memmem::find(&body[from..], key) {
        body[from + at..from + at + key.len()].fill(b'*');
        from += at + key.len();
    }
}

fn refused(failure: Failure) -> Answer {
    (Reply::Refused(failure), Vec::new())
}

/// Sent, perhaps billed: nothing that a client would take for leave to try again.
fn not_recorded() -> Failure {
    Failure::new(FailureKind::BadUpstream, "the outcome of the call is not known")
        .detail("the gateway had to leave before it could record it")
}

fn leaving() -> Failure {
    Failure::new(FailureKind::Unavailable, "the gateway is leaving").hint("Try again.")
}

/// An entry as it stands in the journal before anything is sent.
pub fn intended(entry: &Entry, created_at: &str) -> Entry {
    Entry { created_at: Some(created_at.to_owned()), ..entry.clone() }
}
