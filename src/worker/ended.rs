//! The calls that have ended and that the sweep has still to do with. Whose turn it is can be told from memory:
//! the journal is looked into only where there is something to book or to forget.

use std::collections::{HashMap, HashSet};

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

    /// Takes out at most `limit` calls that are not `open` and whose callers' transactions are over.
    pub fn take_due(&mut self, open: &HashSet<Uuid>, limit: usize) -> Vec<Uuid> {
        // One look at each transaction, which may have made many calls.
        let mut is_over: HashMap<u64, bool> = HashMap::new();
        let mut is_due = |call: &Uuid, xid: &Option<u64>| {
            !open.contains(call)
                && xid.is_none_or(|xid| *is_over.entry(xid).or_insert_with(|| xact::is_over(xid)))
        };
        self.0.extract_if(|call, xid| is_due(call, xid)).take(limit).map(|(call, _)| call).collect()
    }
}
