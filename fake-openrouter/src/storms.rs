//! Counts the requests of a kind, so that the first of them can be refused.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many requests of each kind have come.
#[derive(Default)]
pub(crate) struct Storms(Mutex<HashMap<String, u64>>);

impl Storms {
    /// The place of a new request among those of its kind, from 1.
    pub(crate) fn turn(&self, kind: &str) -> u64 {
        let mut counts = self.lock();
        let count = counts.entry(kind.to_owned()).or_default();
        *count += 1;
        *count
    }

    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
