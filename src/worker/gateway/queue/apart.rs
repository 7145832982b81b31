//! A round that cannot be written, though nobody's lock is in the way: what is in its way is found, set aside and
//! named, and everything else goes on.

use std::time::Instant;

use pgrx::warning;
use uuid::Uuid;

use super::round::{Failed, Take, call_of};
use super::{Asked, FAILURE_DELAY, Gateway, LOCK_DELAY, Lane};
use crate::openrouter::failure::{Failure, FailureKind};
use crate::pg::xact::{self, Aborted};
use crate::queue;

/// How a call has ended that cannot be committed, and why it cannot.
pub(super) struct Stuck {
    asked: Asked,
    why: String,
}

/// So many are tried again at a time.
const STUCK_AT_ONCE: usize = 10;

impl Gateway {
    /// Commits what a round could not: what has ended and what is to be taken out apart from each other.
    pub(super) fn commit_apart(
        &mut self,
        ended: Vec<Asked>,
        take: Option<&Take>,
        mut failed: Failed,
        now: Instant,
    ) {
        if !ended.is_empty() {
            self.commit_ended(ended, now);
            let Some(take) = take else { return };
            failed = match self.commit_round(&[], Some(take), true) {
                Ok(done) => return self.end_round(Vec::new(), done, now),
                Err(failed) => failed,
            };
        }
        self.take_fewer(failed, now);
    }

    /// Commits how calls have ended, and where that cannot be, each half of them.
    fn commit_ended(&mut self, mut ended: Vec<Asked>, now: Instant) {
        let mut committed = self.commit_round(&ended, None, true);
        if committed.as_ref().is_err_and(|failed| !failed.aborted.lock_not_available) {
            // What keeps the ledger from being written keeps nobody from the answer: the sweep books it later.
            committed = self.commit_round(&ended, None, false);
        }
        match committed {
            Ok(done) => self.end_round(ended, done, now),
            Err(failed) if failed.aborted.lock_not_available => {
                self.queue.ended.append(&mut ended);
                self.queue.not_before = Some(now + LOCK_DELAY);
            }
            Err(_) if ended.len() > 1 => {
                let half = ended.split_off(ended.len() / 2);
                self.commit_ended(ended, now);
                self.commit_ended(half, now);
            }
            Err(Failed { aborted: Aborted { message: why, .. }, .. }) => {
                for asked in ended {
                    warning!("hiems call {} is set aside: {why}", call_of(&asked.0));
                    self.queue.stuck.push_back(Stuck { asked, why: why.clone() });
                }
                self.queue.stuck_until = now + FAILURE_DELAY;
            }
        }
    }

    /// Tries again, if it is time, to commit some of what could not be.
    pub(super) fn commit_stuck(&mut self, now: Instant) {
        if self.queue.stuck.is_empty() || now < self.queue.stuck_until {
            return;
        }
        self.queue.stuck_until = now + FAILURE_DELAY;
        for _ in 0..self.queue.stuck.len().min(STUCK_AT_ONCE) {
            let Some(Stuck { asked, why }) = self.queue.stuck.pop_front() else { return };
            let one = vec![asked];
            match self.commit_round(&one, None, false) {
                Ok(done) => self.end_round(one, done, now),
                Err(Failed { aborted: Aborted { lock_not_available, message }, .. }) => {
                    let why = if lock_not_available { why } else { message };
                    let again = one.into_iter().map(|asked| Stuck { asked, why: why.clone() });
                    self.queue.stuck.extend(again);
                }
            }
        }
    }

    /// Something that was to be taken out cannot be journalled: fewer at once, until it is one call, which is set
    /// aside.
    fn take_fewer(&mut self, Failed { aborted, picked }: Failed, now: Instant) {
        let lane = &mut self.queue;
        lane.may_have_more = true;
        match picked[..] {
            _ if aborted.lock_not_available => lane.not_before = Some(now + LOCK_DELAY),
            [call] => self.set_aside(call, &aborted.message, now),
            [] => self.cannot_take(aborted.message, now),
            [..] => lane.at_once = picked.len() / 2,
        }
    }

    fn set_aside(&mut self, call: Uuid, why: &str, now: Instant) {
        let failure = Failure::new(FailureKind::Internal, "the gateway cannot journal the call")
            .detail(why)
            .hint("It is tried again now and then; hiems.cancel_prompt(id) takes it out.");
        let set_aside = xact::transaction(|| match queue::try_lock() {
            true => Ok(queue::set_aside(call, &failure)?),
            false => Err(Aborted::by_lock()),
        });
        match set_aside {
            Ok(()) => warning!("hiems call {call} is set aside: {why}"),
            Err(aborted) if aborted.lock_not_available => {
                self.queue.not_before = Some(now + LOCK_DELAY);
            }
            Err(_) => self.cannot_take(format!("call {call}: {why}"), now),
        }
    }

    fn cannot_take(&mut self, why: String, now: Instant) {
        warning!("the hiems gateway cannot work on its queue: {why}");
        self.queue.problem = Some(why);
        self.queue.not_before = Some(now + FAILURE_DELAY);
    }
}

impl Lane {
    /// The calls whose ends cannot be committed, and why.
    pub(in super::super) fn stuck(&self) -> impl ExactSizeIterator<Item = (Uuid, &str)> {
        self.stuck.iter().map(|stuck| (call_of(&stuck.asked.0), stuck.why.as_str()))
    }

    /// Why no call can be taken out.
    pub(in super::super) fn problem(&self) -> Option<String> {
        self.problem.clone()
    }
}
