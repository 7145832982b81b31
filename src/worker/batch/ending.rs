//! Calls that have ended, and what the log is told of them.

use uuid::Uuid;

use super::{Asked, Batch, Committed};
use crate::worker::events::LedgerRow;
use crate::worker::settlement::Settlement;

/// A call that has ended.
pub struct Ending {
    pub settlement: Box<Settlement>,
    pub caller: Caller,
}

/// What its caller knows.
pub enum Caller {
    /// It is told when this is durable.
    Waits(Asked<LedgerRow>),
    /// It has been told, and this is in the spill.
    Spilled,
}

impl Ending {
    /// True where it is in the spill.
    pub fn is_durable(&self) -> bool {
        matches!(self.caller, Caller::Spilled)
    }
}

impl Batch {
    /// What is not durable yet of calls that have ended: for the log, if it never will be.
    pub fn unwritten(&self) -> impl Iterator<Item = String> {
        let lost = self.settlements.iter().filter(|ending| !ending.is_durable());
        lost.map(|ending| describe(&ending.settlement))
    }

    /// The calls that have ended and were not found in the journal.
    pub fn not_in_journal(&self, committed: &Committed) -> impl Iterator<Item = String> {
        self.settlements
            .iter()
            .filter(|ending| !committed.entries.contains_key(&ending.settlement.entry.id))
            .map(|ending| describe(&ending.settlement))
    }

    /// Costs that no `numeric` should take.
    pub fn costs_out_of_range(&self) -> impl Iterator<Item = (Uuid, &str)> {
        self.settlements
            .iter()
            .map(|ending| &ending.settlement)
            .filter_map(|s| Some((s.entry.id, s.cost_out_of_range.as_deref()?)))
    }
}

fn describe(settlement: &Settlement) -> String {
    let entry = &settlement.entry;
    let cost = entry.cost_usd.as_ref().map_or("unknown", |cost| cost.as_str());
    let generation = entry.generation_id.as_deref().unwrap_or("unknown");
    format!("call {}: generation {generation}, cost {cost} USD", entry.id)
}
