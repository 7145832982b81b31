//! The calls whose callers have been told how they ended, and that the journal has as in flight: until their callers'
//! transactions are over, or for a while.

use std::collections::HashMap;
use std::time::Instant;

use uuid::Uuid;

use super::events::First;
use super::generation_ids::Kept;
use crate::ledger::Entry;
use crate::pg::xact;

/// How a call ended.
pub struct Told {
    pub entry: Box<Entry>,
    pub first: First,
    pub since: Instant,
    /// What keeps it in the file.
    pub kept: Kept,
}

#[derive(Default)]
pub struct ToldCalls(HashMap<Uuid, Told>);

impl ToldCalls {
    pub fn add(&mut self, told: Told) {
        self.0.insert(told.entry.id, told);
    }

    pub fn remove(&mut self, call: Uuid) -> Option<Told> {
        self.0.remove(&call)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn calls(&self) -> impl Iterator<Item = Uuid> {
        self.0.keys().copied()
    }

    /// Since when the oldest has been told.
    pub fn oldest(&self) -> Option<Instant> {
        self.0.values().map(|told| told.since).min()
    }

    /// Takes out those whose callers' transactions are over.
    pub fn take_over(&mut self) -> Vec<Told> {
        let mut is_over = xact::over();
        self.take(|told| is_over(told.first.xid))
    }

    /// Takes out those that were told by then.
    pub fn take_since(&mut self, moment: Instant) -> Vec<Told> {
        self.take(|told| told.since <= moment)
    }

    fn take(&mut self, mut which: impl FnMut(&Told) -> bool) -> Vec<Told> {
        self.0.extract_if(|_, told| which(told)).map(|(_, told)| told).collect()
    }
}
