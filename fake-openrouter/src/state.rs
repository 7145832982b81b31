//! What all requests share.

use std::sync::atomic::{AtomicU64, Ordering};

use fastrand::Rng;

use crate::Config;
use crate::bill::Bill;
use crate::in_flight::InFlight;
use crate::storms::Storms;

/// Configuration, counters and the bill of one running fake.
pub(crate) struct State {
    pub(crate) config: Config,
    pub(crate) bill: Bill,
    pub(crate) in_flight: InFlight,
    pub(crate) storms: Storms,
    connections: AtomicU64,
    sequence: AtomicU64,
}

impl State {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            config,
            bill: Bill::default(),
            in_flight: InFlight::default(),
            storms: Storms::default(),
            connections: AtomicU64::new(0),
            sequence: AtomicU64::new(0),
        }
    }

    pub(crate) fn connection_accepted(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// The randomness of the next generation: fixed by the seed and its place in the order of
    /// arrival, and independent of what earlier requests drew.
    pub(crate) fn next_random(&self) -> Rng {
        let place = self.sequence.fetch_add(1, Ordering::Relaxed);
        let spread = place.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut random = Rng::with_seed(self.config.seed ^ spread);
        // The first draw of close seeds is close too.
        random.u64(..);
        random
    }
}
