//! The queue, on the main thread: one transaction commits how calls have ended and takes out the next ones.
//! Apart from the batch of synchronous calls: neither waits for what holds up the other.

mod apart;
mod pace;
mod round;

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use pgrx::warning;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::Gateway;
use crate::pg::xact;
use crate::queue;
use crate::worker::events::QueuedEnd;
use apart::Stuck;
use pace::Paces;

/// How a call has ended, and whom to tell when that is committed.
type Asked = (Box<QueuedEnd>, oneshot::Sender<()>);

/// The state of the queue's lane.
pub struct Lane {
    /// What has ended, and is to be committed.
    ended: Vec<Asked>,
    /// What cannot be committed, though nobody's lock is in the way: tried again now and then, in the way of
    /// nothing else.
    stuck: VecDeque<Stuck>,
    stuck_until: Instant,
    /// How many calls are taken out at once: fewer while one of them cannot be journalled, until it is found.
    at_once: usize,
    /// Why no call can be taken out.
    problem: Option<String>,
    /// Who waits for calls that have not been made yet, or are on their way.
    waiting: HashMap<Uuid, Vec<oneshot::Sender<()>>>,
    /// Calls on their way, and whose they are.
    in_flight: HashMap<Uuid, String>,
    paces: Paces,
    /// True if there may be calls that are ready.
    may_have_more: bool,
    /// True if any call is queued, as the last look saw it.
    pub(super) has_jobs: bool,
    /// When the next call's time comes.
    next_due: Option<Instant>,
    not_before: Option<Instant>,
}

/// How long to wait behind somebody's lock, and after another failure.
const LOCK_DELAY: Duration = Duration::from_millis(20);
const FAILURE_DELAY: Duration = Duration::from_secs(1);

impl Lane {
    pub(super) fn new() -> Lane {
        Lane {
            ended: Vec::new(),
            stuck: VecDeque::new(),
            stuck_until: Instant::now(),
            at_once: round::MOST_AT_ONCE,
            problem: None,
            waiting: HashMap::new(),
            in_flight: HashMap::new(),
            paces: Paces::default(),
            may_have_more: true,
            has_jobs: true,
            next_due: None,
            not_before: None,
        }
    }

    /// Takes note that the queue was changed.
    pub(super) fn wake(&mut self) {
        self.may_have_more = true;
        self.has_jobs = true;
    }

    /// Takes in how a call has ended, to be committed with the next round.
    pub(super) fn add(&mut self, ended: Box<QueuedEnd>, done: oneshot::Sender<()>, most: usize) {
        let (model, pace) = match &*ended {
            QueuedEnd::Settled { settlement, pace } => (&settlement.entry.model_requested, *pace),
            QueuedEnd::Back { back, pace } => (&back.job.entry.model_requested, *pace),
        };
        self.paces.ended(model, pace, most, Instant::now());
        self.may_have_more = true;
        self.ended.push((ended, done));
    }

    /// True if nothing of it is on its way.
    pub(super) fn is_empty(&self) -> bool {
        self.in_flight.is_empty() && self.ended.is_empty() && self.stuck.is_empty()
    }

    /// Until it has to be looked at, at the latest.
    pub(super) fn next(&self) -> Option<Instant> {
        let stuck = Some(self.stuck_until).filter(|_| !self.stuck.is_empty());
        let next = match self.not_before {
            None if !self.has_jobs => None,
            None if self.may_have_more => Some(Instant::now()),
            None => [self.next_due, self.paces.next_end_of_hold()].into_iter().flatten().min(),
            not_before => not_before,
        };
        [stuck, next].into_iter().flatten().min()
    }
}

impl Gateway {
    /// Has those wait on whose calls are queued or on their way; gives back the others.
    pub(super) fn hold_waiting(
        &mut self,
        asked: Vec<(Uuid, String, oneshot::Sender<()>)>,
    ) -> Vec<(Uuid, oneshot::Sender<()>)> {
        if asked.is_empty() {
            return Vec::new();
        }
        let calls: Vec<Uuid> = asked.iter().map(|(call, ..)| *call).collect();
        // Behind somebody's lock they are told at once, and look for themselves.
        let queued = xact::transaction(|| match queue::try_lock_for_reading() {
            true => Ok(queue::still_queued(&calls)?),
            false => Err(xact::Aborted::by_lock()),
        });
        let queued: HashMap<Uuid, String> = queued.unwrap_or_default().into_iter().collect();
        let lane = &mut self.queue;
        let mut others = Vec::new();
        for (call, principal, done) in asked {
            let of = queued.get(&call).or(lane.in_flight.get(&call));
            if of == Some(&principal) {
                lane.waiting.entry(call).or_default().push(done);
            } else {
                others.push((call, done));
            }
        }
        others
    }

    /// Looks after the queue now and then: whether there is any, when the next call's time comes, and who
    /// waits for what is not there any more.
    pub(super) fn look_after_queue(&mut self) {
        let looked = xact::transaction(|| match queue::try_lock_for_reading() {
            true => Ok((queue::is_any_queued()?, queue::until_next()?)),
            false => Err(xact::Aborted::by_lock()),
        });
        match looked {
            Ok((has_jobs, next)) => {
                self.queue.has_jobs = has_jobs;
                self.queue.may_have_more |= has_jobs;
                self.queue.next_due = next.map(|next| Instant::now() + next);
            }
            // Behind somebody's lock: nothing is taken out either.
            Err(aborted) if aborted.lock_not_available => return,
            Err(aborted) => warning!("hiems cannot look into its queue: {}", aborted.message),
        }
        self.queue.waiting.retain(|_, waiting| {
            waiting.retain(|done| !done.is_closed());
            !waiting.is_empty()
        });
        let asked: Vec<Uuid> = self.queue.waiting.keys().copied().collect();
        if asked.is_empty() {
            return;
        }
        // Somebody may have cancelled them.
        let Ok(queued) = xact::transaction(|| queue::still_queued(&asked)) else { return };
        let queued: HashSet<Uuid> = queued.into_iter().map(|(call, _)| call).collect();
        let lane = &mut self.queue;
        for call in asked {
            if !queued.contains(&call) && !lane.in_flight.contains_key(&call) {
                lane.tell(&call);
            }
        }
    }
}

impl Lane {
    /// Tells those who wait for a call that it has ended, and all of it is written.
    fn tell(&mut self, call: &Uuid) {
        for done in self.waiting.remove(call).into_iter().flatten() {
            // A backend that no longer waits needs no answer.
            let _ = done.send(());
        }
    }
}
