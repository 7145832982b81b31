//! `hiems.ledger_retention`: old rows leave the ledger, a few at a time, in the way of nothing else.

use std::ffi::CStr;
use std::time::{Duration, Instant};

use pgrx::warning;
use uuid::Uuid;

use super::Gateway;
use super::chunk::Chunk;
use crate::ledger::{self, Deleted};
use crate::pg::xact::Aborted;
use crate::pg::{lock, session, xact};
use crate::settings;
use crate::supabase;

/// How often old rows are looked for.
const INTERVAL: Duration = Duration::from_secs(60);
/// And behind somebody's lock.
const LOCK_DELAY: Duration = Duration::from_secs(1);
/// How long a row's lock is waited for.
const ROW_PATIENCE: &CStr = c"10ms";
/// How many rows go in a second while Supabase Realtime tells every subscriber of each.
const PUBLISHED_PER_SECOND: usize = 50;
/// How often it looks from the beginning: somebody may have inserted old rows, and calls end. Seldom: what has been
/// deleted since the last vacuum is in the way.
const FROM_THE_BEGINNING: Duration = Duration::from_secs(86_400);

pub(super) struct Retention {
    next: Instant,
    chunk: Chunk,
    /// True if there were more.
    is_behind: bool,
    /// Where the next look begins, and since when it has not been at the beginning.
    from: Option<String>,
    since: Instant,
}

impl Retention {
    pub fn new() -> Retention {
        let now = Instant::now();
        Retention { next: now, chunk: Chunk::new(), is_behind: false, from: None, since: now }
    }

    /// Looks from the beginning, as soon as it may: a reload must not make it faster.
    pub fn look_again(&mut self) {
        self.from = None;
        self.next = self.next.min(Instant::now() + Duration::from_secs(1));
    }

    /// When the gateway has to look again; None: not before its next tick.
    pub fn next(&self) -> Option<Instant> {
        self.is_behind.then_some(self.next)
    }
}

impl Gateway {
    /// Deletes some old rows, where it is time to.
    pub(super) fn delete_old_rows(&mut self) {
        let Some(retention) = self.settings.ledger_retention else {
            self.retention.is_behind = false;
            return;
        };
        if Instant::now() < self.retention.next {
            return;
        }
        // No generation's id waits for it.
        self.commit_all();
        // What an earlier gateway left may be of calls that are booked: until the journal has it, their rows stay.
        if !self.recovered {
            self.retention.next = Instant::now() + settings::interval(LOCK_DELAY);
            return;
        }
        let was_behind = std::mem::take(&mut self.retention.is_behind);
        let begun = Instant::now();
        self.retention.next = begun + settings::interval(INTERVAL);
        if !was_behind && self.retention.since.elapsed() >= FROM_THE_BEGINNING {
            self.retention.from = None;
            self.retention.since = begun;
        }
        match self.delete_some(retention) {
            Ok((Deleted { looked_at, next }, limit, pause)) => {
                let took = begun.elapsed();
                self.retention.chunk.took(looked_at, took);
                self.retention.from = next.or(self.retention.from.take());
                if looked_at == limit {
                    // As long for the calls as for this.
                    self.retention.is_behind = true;
                    self.retention.next = begun + (2 * took).max(pause);
                }
            }
            // It does not leave as idle behind a lock: there is more to delete.
            Err(aborted) if aborted.lock_not_available => {
                self.retention.is_behind = was_behind;
                self.retention.next = Instant::now() + settings::interval(LOCK_DELAY);
            }
            Err(aborted) => {
                warning!("the hiems gateway cannot delete old rows: {}", aborted.message);
            }
        }
    }

    /// What was deleted, how much it may have been, and how soon there may be more.
    fn delete_some(&self, retention: Duration) -> Result<(Deleted, usize, Duration), Aborted> {
        let Retention { chunk, from, .. } = &self.retention;
        let unwritten: Vec<Uuid> =
            self.batch.all_calls().union(&self.stuck.all_calls()).copied().collect();
        xact::transaction(|| {
            let is_free = ledger::try_lock()
                && lock::try_lock_for_reading(c"hiems_private", c"calls")
                && ledger::foreign_trigger().is_none();
            if !is_free {
                return Err(Aborted::by_lock());
            }
            xact::commit_without_waiting();
            // Somebody may have locked a row, such as by a foreign key: it is tried again later.
            session::set_locally(c"lock_timeout", ROW_PATIENCE);
            let (limit, pause) = match supabase::is_ledger_published()? {
                true => (chunk.size().min(PUBLISHED_PER_SECOND), Duration::from_secs(1)),
                false => (chunk.size(), Duration::ZERO),
            };
            let deleted = ledger::delete_old(retention, from.as_deref(), limit, &unwritten)?;
            Ok((deleted, limit, pause))
        })
    }
}
