//! How many calls are booked in one transaction: as many as take some milliseconds on this machine, since
//! callers wait meanwhile.

use std::time::Duration;

const FEWEST: usize = 10;
const MOST: usize = 250;
const LONG: Duration = Duration::from_millis(12);

pub struct Chunk(usize);

impl Chunk {
    pub fn new() -> Chunk {
        Chunk(4 * FEWEST)
    }

    pub fn size(&self) -> usize {
        self.0
    }

    /// What a transaction took that had so many in it.
    pub fn took(&mut self, count: usize, time: Duration) {
        if time > LONG {
            self.0 = (count.min(self.0) / 2).max(FEWEST);
        } else if time < LONG / 2 && count >= self.0 {
            self.0 = (self.0 * 3 / 2).min(MOST);
        }
    }
}
