//! A call's place among those of its batch that are under way at a time.

use std::sync::{Mutex, PoisonError};

use tokio::sync::OwnedSemaphorePermit;

/// Held until the call leaves it, or is over.
pub struct Slot(Mutex<Option<OwnedSemaphorePermit>>);

impl Slot {
    pub fn of(permit: OwnedSemaphorePermit) -> Slot {
        Slot(Mutex::new(Some(permit)))
    }

    /// The next call may begin.
    pub fn leave(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
