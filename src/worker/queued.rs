//! One call out of the queue on tokio's side: sent once. What was surely not billed goes back into the queue
//! with a wait; a wait here would be lost with the gateway.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderValue;

use super::call::{self, Once};
use super::events::{Event, Pace, QueuedEnd};
use super::server::{Flight, OpenCall, Place, Shared};
use super::settlement::Settlement;
use crate::openrouter::failure::{Failure, FailureKind};
use crate::openrouter::retry::Again;
use crate::queue::{Job, PutBack};

/// Makes a call whose intent is durable, and has its end committed; even if its task panics.
pub async fn run(
    under_way: (OpenCall, Flight, Place),
    shared: Arc<Shared>,
    job: Job,
    authorization: HeaderValue,
) {
    let entry = job.entry.clone();
    let task = tokio::spawn(send(Arc::clone(&shared), job, authorization));
    let ended = task.await.unwrap_or_else(|_| {
        let failure = Failure::new(FailureKind::Internal, "the gateway failed during the call");
        let settlement = Settlement::lost(entry, "internal", failure);
        QueuedEnd::Settled { settlement, pace: Pace::Taken }
    });
    let ended = Box::new(ended);
    // It waits for the commit: until then it is open, so that nobody takes it for written.
    shared.outbox.ask(|done| Event::Queued { ended, done }).await;
    drop(under_way);
}

async fn send(shared: Arc<Shared>, job: Job, authorization: HeaderValue) -> QueuedEnd {
    let at_once = Again { after: None };
    let openrouter = match shared.openrouter() {
        Ok(openrouter) => openrouter,
        Err(reason) => {
            let failure =
                Failure::new(FailureKind::Unavailable, "the gateway's settings are wrong");
            return back(job, failure.detail(reason), at_once, Pace::Unreachable);
        }
    };
    let once = Once {
        entry: job.entry.clone(),
        body: job.body.clone().into(),
        authorization,
        charges_beyond_tokens: job.charges_beyond_tokens,
    };
    match call::once(&shared, &openrouter, once).await {
        Ok(settlement) => {
            let pace = match settlement.again {
                // A 503 may be of this one request: no provider has what it asks for.
                Some(_) if settlement.entry.http_status != Some(429) => {
                    Pace::Refused(Duration::ZERO)
                }
                Some(again) => Pace::Refused(again.after.unwrap_or(FIRST_WAIT)),
                None => Pace::Taken,
            };
            match (settlement.again, &settlement.result) {
                (Some(again), Err(failure)) if job.entry.attempts < job.max_attempts => {
                    back(job, failure.clone(), again, pace)
                }
                _ => QueuedEnd::Settled { settlement, pace },
            }
        }
        Err(what) => back(job, call::unreachable(what), at_once, Pace::Unreachable),
    }
}

fn back(job: Job, failure: Failure, again: Again, pace: Pace) -> QueuedEnd {
    let attempts = u32::try_from(job.entry.attempts).unwrap_or(u32::MAX);
    let wait = (job.entry.attempts < job.max_attempts)
        .then(|| again.wait_within(FIRST_WAIT, LONGEST_WAIT, attempts, fastrand::f64()));
    QueuedEnd::Back { back: PutBack { job, wait, failure }, pace }
}

// Longer than where somebody waits: an outage may take its time.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(600);
