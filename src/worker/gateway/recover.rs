//! What an earlier gateway left: calls in flight in the journal, the ids of their generations, and, where the
//! journal was locked, the spill.

use std::collections::HashSet;

use pgrx::warning;
use uuid::Uuid;

use super::Gateway;
use crate::pg::xact::{self, Aborted};
use crate::worker::generation_ids::Inherited;
use crate::worker::journal;
use crate::worker::spill::Line;

impl Gateway {
    /// Writes what an earlier gateway left to the journal, before anything else is written there.
    pub(super) fn recover(&mut self) -> Result<(), Aborted> {
        if self.recovered {
            return Ok(());
        }
        let lines = self.spill.inherited()?;
        let lines: Vec<&Line> = lines.iter().collect();
        match self.replay(&lines) {
            Ok(()) => {}
            Err(aborted) if aborted.lock_not_available => return Err(aborted),
            Err(_) => self.replay_one_by_one(&lines)?,
        }
        // Before any call of this gateway's own is in the journal.
        let look_up = self.rules().look_up;
        if let Some(Inherited { came, .. }) = &self.inherited_ids {
            transaction(|| journal::set_left_generations(came))?;
        }
        transaction(|| journal::recover(look_up))?;
        let wanted = xact::transaction(journal::to_look_ups)?;
        self.spill.forget_inherited();
        self.inherited_ids = None;
        self.recovered = true;
        for wanted in wanted {
            self.look_ups.add(wanted);
        }
        Ok(())
    }

    fn replay(&self, lines: &[&Line]) -> Result<(), Aborted> {
        if lines.is_empty() {
            return Ok(());
        }
        let rules = self.rules();
        transaction(|| {
            for line in lines {
                match &line.record {
                    Some(record) => record.write(self.system_identifier, &rules)?,
                    None => return Err(unreadable()),
                }
            }
            Ok::<_, Aborted>(())
        })
    }

    /// What cannot be written, and all that follows of the same call, is set aside: no other call waits
    /// for it, and nothing is thrown away.
    fn replay_one_by_one(&self, lines: &[&Line]) -> Result<(), Aborted> {
        let mut calls: HashSet<Uuid> = HashSet::new();
        let mut failed: Vec<&Line> = Vec::new();
        for line in lines {
            let call = line.record.as_ref().map(|record| record.call());
            if call.is_some_and(|call| calls.contains(&call)) {
                failed.push(line);
                continue;
            }
            if let Err(aborted) = self.replay(&[line]) {
                if aborted.lock_not_available {
                    return Err(aborted);
                }
                let of = call.map(|call| format!(" of call {call}")).unwrap_or_default();
                warning!(
                    "a line{of} in the hiems spill is set aside in hiems_calls.*.failed: {}",
                    aborted.message
                );
                calls.extend(call);
                failed.push(line);
            }
        }
        self.spill.set_aside(&failed).map_err(|error| Aborted {
            lock_not_available: false,
            message: format!("the spill's failed lines cannot be set aside: {error}"),
        })
    }
}

/// A transaction that writes to the journal, if nobody's lock is in the way.
fn transaction<E>(body: impl FnOnce() -> Result<(), E>) -> Result<(), Aborted>
where
    Aborted: From<E>,
{
    xact::transaction(|| match journal::try_lock() {
        true => body().map_err(Aborted::from),
        false => Err(Aborted::by_lock()),
    })
}

fn unreadable() -> Aborted {
    Aborted { lock_not_available: false, message: "it cannot be read".to_owned() }
}
