//! The calls that have ended and that the sweep has still to do with. Whose turn it is can be told from memory:
//! the journal is looked into only where there is something to book or to forget.

use std::collections::HashMap;

use uuid::Uuid;

use crate::pg::xact;

/// By call: its caller's transaction; None where it is made for none.
#[derive(Default)]
pub struct EndedCalls(HashMap<Uuid, Option<u64>>);

impl EndedCalls {
    pub fn add(&mut self, call: Uuid, caller_xid: Option<u64>) {
        self.0.insert(call, caller_xid);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets those that the sweep has done with.
    pub fn remove(&mut self, calls: &[Uuid]) {
        for call in calls {
            self.0.remove(call);
        }
    }

    /// The calls.
    pub fn calls(&self) -> impl Iterator<Item = Uuid> {
        self.0.keys().copied()
    }

    /// Takes out at most `limit` of these calls: those whose callers' transactions are over.
    pub fn take_due(&mut self, calls: impl Iterator<Item = Uuid>, limit: usize) -> Vec<Uuid> {
        let mut is_over = xact::over();
        let mut is_due = |call: &Uuid| match self.0.get(call) {
            Some(Some(xid)) => is_over(*xid),
            ended => ended.is_some(),
        };
        let due: Vec<Uuid> = calls.filter(&mut is_due).take(limit).collect();
        self.remove(&due);
        due
    }
}
