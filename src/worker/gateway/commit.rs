//! Many calls to a commit; and what happens to them where the commit cannot be had.

use std::time::{Duration, Instant};

use pgrx::warning;

use super::Gateway;
use crate::pg::xact::{self, Aborted};
use crate::settings::SwitchOff;
use crate::worker::batch::{Batch, Committed, Conditions, Room};
use crate::worker::generation_ids::Kept;
use crate::worker::spill::retire_ids;

/// How long a generation's id waits: most calls have ended by then, and their settlements hold it. It is in the journal within
/// 10 ms, and durable with the next commit.
pub(super) const GENERATION_DELAY: Duration = Duration::from_millis(5);
/// Nobody waits for it: where there is no other commit soon it is made durable by itself.
pub(super) const DURABLE_WITHIN: Duration = Duration::from_millis(20);
/// How long to wait after a batch that somebody's lock held up, or that failed for another reason.
const LOCK_DELAY: Duration = Duration::from_millis(20);
const FAILURE_DELAY: Duration = Duration::from_secs(1);
/// How long callers wait behind somebody's lock on the journal before the spill takes its place.
const SPILL_AFTER: Duration = Duration::from_millis(100);

/// What was committed without waiting until it is durable.
pub(super) struct NotDurable {
    /// Up to where the log has it.
    up_to: u64,
    since: Instant,
    /// What the files hold as well until then.
    kept: Vec<Kept>,
}

impl NotDurable {
    fn new() -> NotDurable {
        NotDurable { up_to: 0, since: Instant::now(), kept: Vec::new() }
    }
}

/// What must hold for the calls of a batch to be sent; apart from `self`, whose other fields are borrowed
/// too.
macro_rules! conditions {
    ($gateway:expr, $rules:expr) => {{
        let settings = &$gateway.settings;
        let (most, share) = (settings.max_in_flight, settings.max_share);
        Conditions {
            room: Room::new(&$gateway.shared, most, share, $gateway.queue.has_jobs),
            keyring: &mut $gateway.keyring,
            system_identifier: $gateway.system_identifier,
            rules: $rules,
            is_recovered: $gateway.recovered,
            answer_retention: $gateway.settings.answer_retention,
            log_content: $gateway.settings.log_content,
            books: true,
            tells_usage: $gateway.settings.tells_usage,
            without_intents: $gateway.settings.switch_off == SwitchOff::Intent,
        }
    }};
}

impl Gateway {
    /// When what was committed without waiting has to be durable.
    pub(super) fn durable_by(&self) -> Option<Instant> {
        self.not_durable.as_ref().map(|of| of.since + DURABLE_WITHIN)
    }

    /// Makes what was committed without waiting durable, if no other commit has in its time.
    pub(super) fn make_durable(&mut self, within: Duration) {
        if let Some(of) = self.not_durable.take_if(|of| of.since.elapsed() >= within) {
            xact::make_durable(of.up_to);
        }
    }

    /// Commits the batch if it is due; what cannot be committed stays for the next time.
    pub(super) fn commit(&mut self) {
        self.commit_what_is_due(GENERATION_DELAY);
    }

    /// Before what may take some milliseconds: no generation's id waits for that.
    pub(super) fn commit_all(&mut self) {
        self.take_events();
        self.commit_what_is_due(Duration::ZERO);
    }

    fn commit_what_is_due(&mut self, delay: Duration) {
        let now = Instant::now();
        if self.not_before.is_some_and(|not_before| now < not_before) {
            return;
        }
        if now >= self.stuck_until {
            self.batch.prepend(std::mem::take(&mut self.stuck));
        } else if !self.stuck.is_empty() {
            // What comes of a call that is set aside waits with it.
            let mut later = self.batch.take_of(&self.stuck.all_calls());
            later.prepend(std::mem::take(&mut self.stuck));
            self.stuck = later;
        }
        self.not_before = None;
        let due = self.batch.oldest_generation().is_some_and(|since| now >= since + delay);
        if !self.batch.is_urgent() && !due {
            return;
        }
        let mut batch = std::mem::take(&mut self.batch);
        // Their turn comes.
        self.batch = batch.take_generations_after(now - delay);
        self.unswept = true;
        match self.commit_batch(batch) {
            Ok(()) => self.locked_since = None,
            Err(failed) if failed.1.lock_not_available => {
                self.batch.prepend(failed.0);
                self.wait_for_lock();
            }
            Err(failed) => self.commit_parts(*failed),
        }
        if self.has_spilled && !self.batch.is_in_spill() && !self.stuck.is_in_spill() {
            self.spill.clear();
            self.has_spilled = false;
        }
    }

    /// The batch is tried again soon. Callers do not wait for long: the spill is as durable as the journal.
    fn wait_for_lock(&mut self) {
        let now = Instant::now();
        let since = *self.locked_since.get_or_insert(now);
        self.not_before = Some(now + LOCK_DELAY);
        if now - since < SPILL_AFTER || !self.batch.is_worth_spilling() {
            return;
        }
        let rules = self.rules();
        let conditions = conditions!(self, &rules);
        let (batch, spill) = (&mut self.batch, &self.spill);
        // Also where the transaction fails: the file may have been written by then.
        self.has_spilled = true;
        let spilled = xact::transaction(retire_ids)
            .and_then(|()| xact::transaction(|| batch.spill(spill, conditions)));
        match spilled {
            Ok(spilled) => self.batch.tell_spilled(spilled),
            Err(aborted) => {
                warning!("hiems: {}", aborted.message);
                self.batch.forget_content();
            }
        }
    }

    /// Something in it cannot be written: it is looked for by halves, and set aside. The rest must not
    /// wait for it.
    fn commit_parts(&mut self, (batch, aborted): (Batch, Aborted)) {
        let halves = match batch.halves() {
            Ok(halves) => halves,
            Err(mut one) => {
                warning!("the hiems gateway cannot write its journal: {}", aborted.message);
                one.refuse_intents(&aborted.message);
                one.forget_content();
                self.stuck.prepend(*one);
                self.stuck_until = Instant::now() + FAILURE_DELAY;
                return;
            }
        };
        for half in halves {
            match self.commit_batch(half) {
                Ok(()) => {}
                Err(failed) if failed.1.lock_not_available => {
                    self.batch.prepend(failed.0);
                    self.wait_for_lock();
                }
                Err(failed) => self.commit_parts(*failed),
            }
        }
    }

    /// Writes a batch, and tells those who wait for it. An error gives it back.
    fn commit_batch(&mut self, mut batch: Batch) -> Result<(), Box<(Batch, Aborted)>> {
        if let Err(aborted) = self.recover() {
            return Err(Box::new((batch, aborted)));
        }
        let rules = self.rules();
        let conditions = conditions!(self, &rules);
        let is_urgent = batch.is_urgent();
        let mut written = xact::transaction(|| batch.write(conditions));
        if !is_urgent && written.is_ok() {
            let of = self.not_durable.get_or_insert_with(NotDurable::new);
            of.up_to = xact::last_commit();
            of.kept.extend(batch.take_kept());
        }
        if written.is_err() && batch.settles() {
            // What keeps the ledger from being written keeps nobody from the answer: the sweep books it later.
            let conditions = Conditions { books: false, ..conditions!(self, &rules) };
            written = xact::transaction(|| batch.write(conditions));
        }
        match written {
            Ok(committed) => {
                self.tell(batch, committed);
                Ok(())
            }
            Err(aborted) => Err(Box::new((batch, aborted))),
        }
    }

    fn tell(&mut self, batch: Batch, mut committed: Committed) {
        for wanted in std::mem::take(&mut committed.to_look_up) {
            self.look_ups.add(wanted);
        }
        for (call, caller_xid) in std::mem::take(&mut committed.ended) {
            self.ended.add(call, caller_xid);
        }
        for (call, token) in batch.costs_out_of_range() {
            warning!(
                "hiems call {call}: the cost {token} is out of range; it is booked as unknown"
            );
        }
        for call in batch.not_in_journal(&committed) {
            warning!("somebody has taken from the hiems journal {call}");
        }
        batch.tell(committed);
    }
}
