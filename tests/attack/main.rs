//! Attacks that can be made again and again: every function is given hostile arguments by every kind of role, and
//! with stand-ins for PostgreSQL's own functions in
//! their search_path too, and an upstream answers with garbage. Nothing may crash, nothing may end in an internal error, no process may
//! grow without bound, and afterwards the ledger is the fake's bill. `make attack` takes minutes; the short form
//! in `make test` takes seconds.

mod arguments;
mod catalogue;
mod functions;
mod planted;
mod upstream;

use std::time::{Duration, Instant};

/// How long each attack goes on: ATTACK_SECONDS, or a few seconds.
fn length() -> Duration {
    let given = std::env::var("ATTACK_SECONDS").ok();
    Duration::from_secs(given.map_or(6, |seconds| seconds.parse().expect("ATTACK_SECONDS")))
}

/// Does it again and again until its time is over; how often.
fn repeat(mut attack: impl FnMut()) -> usize {
    let begun = Instant::now();
    let mut times = 0;
    while begun.elapsed() < length() {
        attack();
        times += 1;
    }
    times
}

/// What a server's log must not say.
const CRASHES: [&str; 4] = [
    "was terminated by signal",
    "terminating any other active server processes",
    "PANIC:",
    "panicked at",
];

/// Fails where a process of the server has crashed.
fn assert_no_crash(log: &str) {
    let found: Vec<&str> =
        log.lines().filter(|line| CRASHES.iter().any(|crash| line.contains(crash))).collect();
    assert!(found.is_empty(), "{found:#?}");
}
