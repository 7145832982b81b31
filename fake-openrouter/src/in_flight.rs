//! Counts chat requests that are not finished.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The counter. A request is in flight while any clone of its [`Flight`] lives.
#[derive(Default)]
pub(crate) struct InFlight(Arc<AtomicUsize>, AtomicUsize);

impl InFlight {
    pub(crate) fn enter(&self) -> Flight {
        let now = self.0.fetch_add(1, Ordering::SeqCst) + 1;
        self.1.fetch_max(now, Ordering::SeqCst);
        Flight(Arc::new(Entered(self.0.clone())))
    }

    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// The most that there were at a time.
    pub(crate) fn most(&self) -> usize {
        self.1.load(Ordering::SeqCst)
    }
}

/// Held by the connection and by the generation, which may outlive it.
#[derive(Clone)]
pub(crate) struct Flight(#[allow(dead_code, reason = "held for its drop")] Arc<Entered>);

struct Entered(Arc<AtomicUsize>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
