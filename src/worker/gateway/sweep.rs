//! Books what callers left, and looks whether it is time to go.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use pgrx::spi::SpiResult;
use pgrx::warning;
use uuid::Uuid;

use super::Gateway;
use crate::contents;
use crate::idempotency;
use crate::ledger::{self, Swept};
use crate::pg::{lock, session, xact};
use crate::queue;
use crate::settings::SwitchOff;
use crate::worker::journal::{self, ToLookUp};

/// How often old answers are looked for.
const PURGE_INTERVAL: Duration = Duration::from_secs(60);

/// How many calls are booked in one transaction: callers wait meanwhile.
const CHUNK: i64 = 250;

impl Gateway {
    /// Books what callers left. True if the gateway has to leave: the database is wanted by somebody,
    /// or the extension is gone.
    pub(super) fn sweep(&mut self) -> bool {
        // The open calls are looked at before the events: a caller's going is an event first, and
        // leaves the set after.
        let mut open = self.shared.open_calls();
        self.take_events();
        self.commit();
        open.extend(self.shared.open_calls());
        // What the journal does not know yet of a call could change how it is booked.
        open.extend(self.batch.calls().chain(self.stuck.calls()));
        let due = (self.unswept || self.on_their_way > 0)
            && self.settings.switch_off != SwitchOff::Sweep
            && self.recover().is_ok();
        let system = self.system_identifier;
        let warned = &mut self.warned_of_trigger;
        let swept = xact::transaction(|| -> SpiResult<(bool, Option<Swept>)> {
            // While calls are in flight their callers hold the database anyway.
            let wanted = open.is_empty() && lock::database_is_wanted();
            if wanted || journal::extension()?.is_none() {
                return Ok((true, None));
            }
            if due && !(ledger::try_lock() && journal::try_lock()) {
                return Ok((false, None));
            }
            if due && let Some(name) = ledger::foreign_trigger() {
                if warned.as_ref() != Some(&name) {
                    warning!(
                        "hiems books nothing: the trigger {name:?} on its ledger is not its own"
                    );
                    *warned = Some(name);
                }
                return Ok((false, None));
            }
            let swept =
                if due { Some(ledger::book_finished(system, &open, None, CHUNK)?) } else { None };
            Ok((false, swept))
        });
        let wanted = match swept {
            Ok((wanted, swept)) => {
                if let Some(swept) = swept {
                    self.take_swept(&swept);
                }
                wanted
            }
            Err(aborted) => {
                if !aborted.lock_not_available {
                    warning!("the hiems gateway cannot book finished calls: {}", aborted.message);
                    self.sweep_one_by_one(&open);
                }
                false
            }
        };
        if !wanted {
            self.purge();
        }
        session::report_activity("idle");
        wanted
    }

    fn take_swept(&mut self, swept: &Swept) {
        self.on_their_way = swept.left;
        self.unswept = swept.due >= CHUNK;
        if self.unswept {
            // There are more: at once, but for those who wait for something else.
            self.next_tick = Instant::now();
        }
        for wanted in ToLookUp::many(swept.to_look_up.as_deref()) {
            self.look_ups.add(wanted);
        }
    }

    /// Forgets what has been kept for long enough, now and then.
    fn purge(&mut self) {
        if Instant::now() < self.next_purge {
            return;
        }
        self.next_purge = Instant::now() + PURGE_INTERVAL;
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
        let system = self.system_identifier;
        let Ok(settled) = xact::transaction(journal::settled) else { return };
        let open: HashSet<Uuid> = open.iter().copied().collect();
        for call in settled.into_iter().filter(|call| !open.contains(call)) {
            let booked = xact::transaction(|| match ledger::try_lock() && journal::try_lock() {
                true => Ok(ledger::book_finished(system, &[], Some(call), 1)?),
                false => Err(xact::Aborted::by_lock()),
            });
            if let Err(aborted) = booked.map(|swept| self.take_swept(&swept)) {
                // It would be the same with all the others.
                if aborted.lock_not_available {
                    return;
                }
                warning!("hiems call {call} cannot be booked: {}", aborted.message);
            }
        }
    }
}
