//! What all requests share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use fastrand::Rng;
use serde_json::{Map, Value};

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
    wishes: Mutex<Map<String, Value>>,
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
            wishes: Mutex::default(),
            connections: AtomicU64::new(0),
            sequence: AtomicU64::new(0),
        }
    }

    /// What all requests wish for.
    pub(crate) fn wishes(&self) -> Map<String, Value> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_wishes(&self, wishes: Map<String, Value>) {
        *self.wishes.lock().unwrap_or_else(PoisonError::into_inner) = wishes;
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
