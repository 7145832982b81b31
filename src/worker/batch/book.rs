//! Calls that are made for no transaction: they are booked in the commit that settles them, so that the row is
//! there when the caller has its answer.

use std::collections::HashSet;

use pgrx::spi::SpiResult;
use uuid::Uuid;

use super::Batch;
use crate::ledger::{self, Look};
use crate::realtime;
use crate::worker::journal::ToLookUp;

/// What has come of booking settled calls.
#[derive(Default)]
pub struct Booked {
    /// Generations that are to be looked up.
    pub to_look_up: Vec<ToLookUp>,
    /// What is left to the sweep.
    pub left: Vec<Uuid>,
}

/// Books settled calls that are made for no transaction, and tells listeners if `tells`. Behind somebody's lock
/// on the ledger, or a trigger of somebody else's, it is left to the sweep.
pub fn book(system_identifier: i64, settled: &[Uuid], tells: bool) -> SpiResult<Booked> {
    if settled.is_empty() {
        return Ok(Booked::default());
    }
    if !ledger::try_lock() || ledger::foreign_trigger().is_some() {
        return Ok(Booked { to_look_up: Vec::new(), left: settled.to_vec() });
    }
    let swept = ledger::book_finished(system_identifier, Look::At(settled), settled.len())?;
    realtime::tell(&swept.due, tells)?;
    let due: HashSet<Uuid> = swept.due.into_iter().collect();
    Ok(Booked {
        to_look_up: ToLookUp::many(swept.to_look_up.as_deref()),
        left: settled.iter().filter(|call| !due.contains(call)).copied().collect(),
    })
}

impl Batch {
    /// True if calls may be booked in its commit.
    pub fn settles(&self) -> bool {
        !self.settlements.is_empty()
    }
}
