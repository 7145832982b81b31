//! Waiting on a condition.

use std::time::{Duration, Instant};

/// How long a test waits for what happens at once on a machine with nothing else to do: long enough for one
/// that is busy with ten tests and a compiler.
pub const SOON: Duration = Duration::from_secs(60);

/// Asks again and again until `condition` holds; panics with `what` at the deadline.
pub fn wait_until(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + deadline;
    while !condition() {
        assert!(Instant::now() < end, "not within {deadline:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
