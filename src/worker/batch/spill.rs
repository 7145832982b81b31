//! What of a batch is made durable in the spill, while the journal is locked.

use std::collections::HashMap;

use uuid::Uuid;

use super::ending::{Caller, Ending};
use super::keys::take_keys;
use super::{Batch, Conditions, Content};
use crate::pg::xact::Aborted;
use crate::rates;
use crate::worker::events::Admission;
use crate::worker::journal::{self, Ended, Intent};
use crate::worker::spill::{Record, Spill};

/// What has been made durable in the spill, to be told.
pub struct Spilled {
    go: Vec<Admission>,
    intents: Vec<Intent>,
    rows: HashMap<Uuid, String>,
}

impl Batch {
    /// Where the journal is locked: makes durable in the spill what callers wait for. Once this transaction
    /// is committed, [`Batch::tell_spilled`] tells them.
    pub fn spill(&self, spill: &Spill, conditions: Conditions) -> Result<Spilled, Aborted> {
        let rules = conditions.rules;
        self.keep_content(!conditions.answer_retention.is_zero(), conditions.log_content)?;
        let (go, intents) = self.admit(conditions)?;
        take_keys(&intents)?;
        let waiting: Vec<Ended> = self
            .settlements
            .iter()
            .filter(|ending| !ending.is_durable())
            .map(|ending| ending.settlement.ended())
            .collect();
        // Where the rates are locked, too, the ledger's rows come later.
        let rows: HashMap<Uuid, String> = match !waiting.is_empty() && rates::try_lock() {
            true => journal::ledger_rows(&waiting, &rules.time_zone)?.into_iter().collect(),
            false => HashMap::new(),
        };
        let generations = self.generations.iter();
        let records: Vec<Record> = intents
            .iter()
            .map(|intent| Record::Intent(Box::new(intent.clone())))
            .chain(generations.map(|(call, of)| Record::Generation(*call, of.id.clone())))
            .chain(
                self.deferred
                    .iter()
                    .filter(|(_, _, done)| done.is_some())
                    .map(|(call, xid, _)| Record::Deferred(*call, *xid)),
            )
            .chain(waiting.iter().map(|of| Record::Ended(of.state, Box::new(of.entry.clone()))))
            .chain(self.gone.iter().map(|call| Record::CallerGone(*call)))
            .chain(self.unsent.iter().map(|call| Record::Unsent(*call)))
            .collect();
        if !records.is_empty() {
            spill.append(&records).map_err(|error| Aborted {
                lock_not_available: false,
                message: format!("the spill cannot be written: {error}"),
            })?;
        }
        Ok(Spilled { go, intents, rows })
    }

    /// Tells those who wait that their part is durable. It all stays in the batch, for the journal; but not
    /// what went over the wire, which would fill the memory while a lock is held for long.
    pub fn tell_spilled(&mut self, spilled: Spilled) {
        let Spilled { go, mut intents, mut rows } = spilled;
        self.undelivered.clear();
        self.spilled.append(&mut intents);
        let generations = std::mem::take(&mut self.generations).into_iter();
        self.spilled_generations
            .extend(generations.map(|(call, generation)| (call, generation.id)));
        self.spilled_gone.append(&mut self.gone);
        self.spilled_unsent.append(&mut self.unsent);
        for ((_, done), go) in self.intents.drain(..).zip(go) {
            let _ = done.send(go);
        }
        for ending in &mut self.settlements {
            if let Caller::Waits(done) = std::mem::replace(&mut ending.caller, Caller::Spilled) {
                let _ = done.send(rows.remove(&ending.settlement.entry.id));
                ending.settlement.content = Content::default();
            }
        }
        for done in self.deferred.iter_mut().filter_map(|(_, _, done)| done.take()) {
            let _ = done.send(());
        }
        // The answer that they have stands: nothing is sent again while its number cannot be written.
        self.again.clear();
    }

    /// True if there is something that the spill can make durable, for a caller that waits or for the
    /// next gateway.
    pub fn is_worth_spilling(&self) -> bool {
        !self.intents.is_empty()
            || !self.generations.is_empty()
            || !self.again.is_empty()
            || self.settlements.iter().any(|ending| !ending.is_durable())
            || self.deferred.iter().any(|(_, _, done)| done.is_some())
            || !self.gone.is_empty()
            || !self.unsent.is_empty()
    }

    /// True if something of it is in the spill, too.
    pub fn is_in_spill(&self) -> bool {
        !self.spilled.is_empty()
            || !self.spilled_generations.is_empty()
            || self.settlements.iter().any(Ending::is_durable)
            || self.deferred.iter().any(|(_, _, done)| done.is_none())
            || !self.spilled_gone.is_empty()
            || !self.spilled_unsent.is_empty()
    }
}
