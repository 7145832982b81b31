//! Generations to be looked up at OpenRouter, and when. In memory: what is to be looked up stands in the
//! journal, and the next gateway begins anew.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use uuid::Uuid;

use super::journal::ToLookUp;
use crate::gateway::protocol::Settlements;
use crate::ledger::Compared;
use crate::openrouter::failure::Failure;
use crate::settings;

/// When a generation is asked for first: half a second after its end is often too soon.
const FIRST: Duration = Duration::from_secs(1);
/// Each wait is twice the one before, up to this.
const LONGEST: Duration = Duration::from_secs(300);
/// How long an error that is taken for free is doubted: OpenRouter has no record of most of them.
const DOUBT: Duration = Duration::from_secs(15);
/// How many are asked for at once.
const AT_ONCE: usize = 16;

/// The schedule.
#[derive(Default)]
pub struct LookUps {
    pending: HashMap<Uuid, Pending>,
    /// Those that are not being asked for just now, by when they are due.
    queue: BTreeSet<(Instant, Uuid)>,
    askers: Vec<Asker>,
}

struct Pending {
    generation_id: String,
    key_name: String,
    /// How often it was asked for in vain.
    attempts: u32,
    since: Instant,
    due: Instant,
    is_free: bool,
}

impl Pending {
    /// How long it is asked for.
    fn limit(&self, timeout: Duration) -> Duration {
        if self.is_free { settings::interval(DOUBT).min(timeout) } else { timeout }
    }
}

/// Somebody who waits until all that was pending has been asked for.
struct Asker {
    waits_for: HashSet<Uuid>,
    so_far: Settlements,
    done: Asked,
}

/// Where somebody who asked for a settlement is told of it.
pub type Asked = oneshot::Sender<Result<Settlements, Failure>>;

/// What has come of looking a generation up, once it is written.
#[derive(Clone, Copy)]
pub enum Found {
    /// The cost of a call that waited to be booked.
    Settled,
    /// What a booked row should be.
    Compared(Compared),
    /// Nothing yet, or never.
    Nothing,
}

impl LookUps {
    /// Takes a generation in; one that is there already stays as it is.
    pub fn add(&mut self, wanted: ToLookUp) {
        let (call, now) = (wanted.call, Instant::now());
        let due = now + settings::interval(FIRST);
        self.pending.entry(call).or_insert_with(|| {
            self.queue.insert((due, call));
            let ToLookUp { generation_id, key_name, is_free, .. } = wanted;
            let age = Duration::from_secs(wanted.age_seconds);
            let since = now.checked_sub(age).unwrap_or(now);
            Pending { generation_id, key_name, attempts: 0, since, due, is_free }
        });
    }

    /// Those that it is time to ask for; they count as asked from here on.
    pub fn take_due(&mut self) -> Vec<ToLookUp> {
        let now = Instant::now();
        let asked = self.pending.len() - self.queue.len();
        let mut due = Vec::new();
        while asked + due.len() < AT_ONCE
            && let Some(first) = self.queue.first().copied().filter(|(when, _)| *when <= now)
        {
            self.queue.remove(&first);
            if let Some(pending) = self.pending.get(&first.1) {
                due.push(ToLookUp {
                    call: first.1,
                    generation_id: pending.generation_id.clone(),
                    key_name: pending.key_name.clone(),
                    is_free: pending.is_free,
                    age_seconds: 0,
                });
            }
        }
        due
    }

    /// True if this one has been asked for in vain for longer than that, or is not doubted any more.
    pub fn is_given_up(&self, call: Uuid, timeout: Duration) -> bool {
        self.pending
            .get(&call)
            .is_some_and(|pending| pending.since.elapsed() >= pending.limit(timeout))
    }

    /// True if this one is booked as free: that nothing is found is no news.
    pub fn is_free(&self, call: Uuid) -> bool {
        self.pending.get(&call).is_some_and(|pending| pending.is_free)
    }

    /// Puts one off that was not found; `after` is when OpenRouter wants to be asked again. It is asked for
    /// once more before it is given up.
    pub fn put_off(&mut self, call: Uuid, after: Option<Duration>, timeout: Duration) {
        if let Some(pending) = self.pending.get_mut(&call) {
            let doubled = settings::interval(FIRST)
                .saturating_mul(1 << pending.attempts.min(16))
                .min(LONGEST);
            let wait = after.unwrap_or_default().min(LONGEST).max(doubled);
            let left = pending.limit(timeout).saturating_sub(pending.since.elapsed());
            pending.attempts += 1;
            pending.due = Instant::now() + if left.is_zero() { wait } else { wait.min(left) };
            self.queue.insert((pending.due, call));
        }
        self.tell(call, Found::Nothing);
    }

    /// Forgets one that is done with.
    pub fn end(&mut self, call: Uuid, found: Found) {
        if let Some(pending) = self.pending.remove(&call) {
            self.queue.remove(&(pending.due, call));
        }
        self.tell(call, found);
    }

    /// Asks for all at once, and tells what has come of it.
    pub fn ask_now(&mut self, done: Asked) {
        let now = Instant::now();
        for (_, call) in std::mem::take(&mut self.queue) {
            if let Some(pending) = self.pending.get_mut(&call) {
                pending.due = now;
                self.queue.insert((now, call));
            }
        }
        let waits_for = self.pending.keys().copied().collect();
        self.askers.push(Asker { waits_for, so_far: Settlements::default(), done });
        self.tell_those_who_wait_for_nothing();
    }

    fn tell(&mut self, call: Uuid, found: Found) {
        for asker in &mut self.askers {
            if asker.waits_for.remove(&call) {
                let so_far = &mut asker.so_far;
                *match found {
                    Found::Settled | Found::Compared(Compared::Settled) => &mut so_far.settled,
                    Found::Compared(Compared::Corrected) => &mut so_far.corrected,
                    Found::Compared(Compared::Confirmed) => &mut so_far.confirmed,
                    Found::Nothing => &mut so_far.unknown,
                } += 1;
            }
        }
        self.tell_those_who_wait_for_nothing();
    }

    fn tell_those_who_wait_for_nothing(&mut self) {
        for asker in self.askers.extract_if(.., |asker| asker.waits_for.is_empty()) {
            // A backend that no longer waits needs no answer.
            let _ = asker.done.send(Ok(asker.so_far));
        }
    }
}
