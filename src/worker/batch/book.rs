//! Calls that are made for no transaction: they are booked in the commit that settles them, so that the row is
//! there when the caller has its answer.

use pgrx::spi::SpiResult;
use uuid::Uuid;

use super::Batch;
use crate::ledger;
use crate::worker::journal::ToLookUp;

/// Books settled calls; gives the generations that are to be looked up. Behind somebody's lock on the ledger, or
/// a trigger of somebody else's, it is left to the sweep.
pub fn book(system_identifier: i64, settled: &[Uuid]) -> SpiResult<Vec<ToLookUp>> {
    // Where somebody's trigger is on the ledger the sweep says so.
    if settled.is_empty() || !ledger::try_lock() || ledger::foreign_trigger().is_some() {
        return Ok(Vec::new());
    }
    Ok(ToLookUp::many(ledger::book_settled(system_identifier, settled)?.as_deref()))
}

impl Batch {
    /// True if calls may be booked in its commit.
    pub fn settles(&self) -> bool {
        !self.settlements.is_empty()
    }
}
