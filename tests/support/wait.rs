//! Waiting on a condition.

use std::time::{Duration, Instant};

/// Asks again and again until `condition` holds; panics with `what` at the deadline.
pub fn wait_until(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + deadline;
    while !condition() {
        assert!(Instant::now() < end, "not within {deadline:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
