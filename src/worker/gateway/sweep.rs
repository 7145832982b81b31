//! Books what callers left, and looks whether it is time to go.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use pgrx::spi::SpiResult;
use pgrx::warning;
use uuid::Uuid;

use super::{Gateway, TELLING};
use crate::contents;
use crate::idempotency;
use crate::ledger::{self, Look, Swept};
use crate::pg::xact::Aborted;
use crate::pg::{lock, session, xact};
use crate::queue;
use crate::realtime;
use crate::settings::{self, SwitchOff};
use crate::worker::journal::{self, ToLookUp};

/// How often old answers are looked for.
const PURGE_INTERVAL: Duration = Duration::from_secs(60);

/// How often the whole journal is looked at under load: the dead rows of what has passed through it are
/// many until the next vacuum.
const LOOK_AT_ALL: Duration = Duration::from_secs(5);

impl Gateway {
    /// Books what callers left. True if the gateway has to leave: the database is wanted by somebody,
    /// or the extension is gone.
    pub(super) fn sweep(&mut self) -> bool {
        let wanted = self.is_wanted();
        if !wanted {
            let is_quiet = self.shared.in_flight() == 0 && self.ended.is_empty();
            let is_time =
                is_quiet || self.last_look_at_all.elapsed() >= settings::interval(LOOK_AT_ALL);
            if self.looks_at_all || (self.unswept || self.on_their_way > 0) && is_time {
                self.book_all();
            } else {
                self.book_ended();
            }
            self.purge();
        }
        session::report_activity("idle");
        wanted
    }

    /// Books all that can be booked by then. True as [`Gateway::sweep`] says.
    pub(super) fn sweep_all(&mut self, deadline: Instant) -> bool {
        loop {
            let last = self.last_look_at_all;
            self.looks_at_all = true;
            let wanted = self.sweep();
            // Behind somebody's lock nothing is booked.
            let is_stuck = self.last_look_at_all == last;
            if wanted || is_stuck || !self.unswept || Instant::now() >= deadline {
                return wanted;
            }
        }
    }

    fn is_wanted(&self) -> bool {
        // While calls are in flight their callers hold the database anyway.
        let is_quiet = self.shared.in_flight() == 0 && self.is_written();
        let wanted = xact::transaction(|| -> SpiResult<bool> {
            Ok(is_quiet && lock::database_is_wanted() || journal::extension()?.is_none())
        });
        wanted.unwrap_or_else(|aborted| {
            if !aborted.lock_not_available {
                warning!("the hiems gateway cannot look after itself: {}", aborted.message);
            }
            false
        })
    }

    /// The calls that must not be booked yet.
    fn open_calls(&mut self) -> HashSet<Uuid> {
        // The open calls are looked at before the events: a caller's going is an event first, and
        // leaves the set after.
        let mut open: HashSet<Uuid> = self.shared.open_calls().into_iter().collect();
        self.commit_all();
        open.extend(self.shared.open_calls());
        // What the journal does not know yet of a call could change how it is booked.
        open.extend(self.batch.calls().chain(self.stuck.calls()));
        open
    }

    /// Books, and tells of, the calls that are known to have ended.
    pub(super) fn book_ended(&mut self) {
        self.next_telling = Instant::now() + TELLING;
        if self.ended.is_empty() || self.settings.switch_off == SwitchOff::Sweep {
            return;
        }
        // Looked at before the events, as the open ones are for all of them.
        let closed = self.shared.closed(self.ended.calls());
        if closed.is_empty() {
            return;
        }
        self.commit_all();
        let unwritten: HashSet<Uuid> = self.batch.calls().chain(self.stuck.calls()).collect();
        let chunk = self.chunk.size();
        let written = closed.into_iter().filter(|call| !unwritten.contains(call));
        let calls = self.ended.take_due(written, chunk);
        if calls.is_empty() {
            return;
        }
        match self.book(Look::At(&calls), calls.len()) {
            Ok(swept) => {
                // Those that were not due after all, and those that somebody took.
                self.looks_at_all |= swept.due.len() < calls.len();
                if calls.len() == chunk {
                    self.hurry();
                }
                self.done_with(&swept);
            }
            // The look at all says what is wrong.
            Err(_) => self.looks_at_all = true,
        }
    }

    fn book_all(&mut self) {
        let open: Vec<Uuid> = self.open_calls().into_iter().collect();
        if self.settings.switch_off == SwitchOff::Sweep || self.recover().is_err() {
            return;
        }
        let chunk = self.chunk.size();
        match self.book(Look::AllBut(&open), chunk) {
            Ok(swept) => self.take_swept(&swept, chunk),
            Err(aborted) if aborted.lock_not_available => {}
            Err(aborted) => {
                warning!("the hiems gateway cannot book finished calls: {}", aborted.message);
                self.sweep_one_by_one(&open);
            }
        }
    }

    /// There are more: at once, but for those who wait for something else.
    fn hurry(&mut self) {
        self.next_tick = Instant::now();
    }

    /// Books calls, and tells of them, in a transaction.
    fn book(&mut self, look: Look, limit: usize) -> Result<Swept, Aborted> {
        let (system, tells) = (self.system_identifier, self.settings.tells_usage);
        let warned = &mut self.warned_of_trigger;
        let begun = Instant::now();
        let swept = xact::transaction(|| {
            if !(ledger::try_lock() && journal::try_lock()) {
                return Err(Aborted::by_lock());
            }
            if let Some(name) = ledger::foreign_trigger() {
                if warned.as_ref() != Some(&name) {
                    warning!(
                        "hiems books nothing: the trigger {name:?} on its ledger is not its own"
                    );
                    *warned = Some(name);
                }
                return Err(Aborted::by_lock());
            }
            // Undone by a crash, it is all to be done once more, and the journal has it.
            xact::commit_without_waiting();
            let swept = ledger::book_finished(system, look, limit)?;
            realtime::tell(&swept.due, tells)?;
            Ok(swept)
        });
        if let Ok(swept) = &swept {
            self.chunk.took(swept.due.len(), begun.elapsed());
        }
        swept
    }

    fn done_with(&mut self, swept: &Swept) {
        self.ended.remove(&swept.due);
        for wanted in ToLookUp::many(swept.to_look_up.as_deref()) {
            self.look_ups.add(wanted);
        }
    }

    fn take_swept(&mut self, swept: &Swept, chunk: usize) {
        self.on_their_way = swept.left.unwrap_or_default();
        self.last_look_at_all = Instant::now();
        self.unswept = swept.due.len() >= chunk;
        self.looks_at_all = self.unswept;
        if self.unswept {
            self.hurry();
        }
        self.done_with(swept);
    }

    /// Forgets what has been kept for long enough, now and then.
    fn purge(&mut self) {
        if Instant::now() < self.next_purge {
            return;
        }
        self.next_purge = Instant::now() + settings::interval(PURGE_INTERVAL);
        let (answers, logs) = (self.settings.answer_retention, self.settings.content_retention);
        let purged = xact::transaction(|| -> SpiResult<()> {
            if contents::try_lock() && idempotency::try_lock() && journal::try_lock() {
                contents::purge(answers, logs)?;
                idempotency::purge(answers)?;
            }
            if queue::try_lock() {
                queue::purge(answers)?;
            }
            Ok(())
        });
        if let Err(aborted) = purged {
            warning!("the hiems gateway cannot forget old answers: {}", aborted.message);
        }
    }

    /// Where one call cannot be booked, the others must be.
    fn sweep_one_by_one(&mut self, open: &[Uuid]) {
        let Ok(settled) = xact::transaction(journal::settled) else { return };
        for call in settled.into_iter().filter(|call| !open.contains(call)) {
            match self.book(Look::At(&[call]), 1) {
                Ok(swept) => self.done_with(&swept),
                // It would be the same with all the others.
                Err(aborted) if aborted.lock_not_available => return,
                Err(aborted) => {
                    warning!("hiems call {call} cannot be booked: {}", aborted.message);
                }
            }
        }
    }
}
