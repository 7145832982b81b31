//! Numbers that look random and can be had again.

use std::time::{SystemTime, UNIX_EPOCH};

/// SplitMix64: small, and good enough to choose by.
pub struct Random {
    pub seed: u64,
    state: u64,
}

impl Random {
    /// Another one each time, or that of `HIEMS_TEST_SEED`.
    pub fn new() -> Random {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_nanos() as u64;
        let given = std::env::var("HIEMS_TEST_SEED").ok();
        let seed = given.map_or(now, |seed| seed.parse().expect("HIEMS_TEST_SEED is a number"));
        Random::of(seed)
    }

    /// That of this seed.
    pub fn of(seed: u64) -> Random {
        Random { seed, state: seed }
    }

    /// Below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    /// True in so many of a hundred.
    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}

impl Default for Random {
    fn default() -> Random {
        Random::new()
    }
}
