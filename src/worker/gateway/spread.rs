//! How many of the calls that wait to be sent go into one commit.
//!
//! Calls that are sent at the same moment are answered at the same moment, and their callers want processors, the
//! disk and the next call all at once: sessions that call in a loop fall into step, and nothing brings them out of it
//! again. So amid calls, as long as there is time for a commit for each, a few that wait have one each; of many that
//! wait at once a quarter goes into the next one.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How many calls tell how many there are in a second.
const REMEMBERED: usize = 64;
/// Calls that have come more slowly than so many in this time are no loop.
const RECENT: Duration = Duration::from_secs(1);
const PART: usize = 4;
/// A commit counts for so much in what commits take.
const WEIGHT: f64 = 1.0 / 16.0;

pub struct Spread {
    /// When the last calls were committed.
    calls: VecDeque<Instant>,
    /// What a commit takes, in seconds.
    commit: f64,
}

impl Spread {
    pub fn new() -> Spread {
        Spread { calls: VecDeque::with_capacity(REMEMBERED), commit: 1e-3 }
    }

    /// How many of these calls go into the next commit.
    pub fn share(&self, waiting: usize, now: Instant) -> usize {
        let Some(first) = self.calls.front() else { return waiting };
        let time = now.duration_since(*first);
        let commits = (self.calls.len() + waiting) as f64 * self.commit;
        if time < RECENT && commits < time.as_secs_f64() {
            (waiting / PART).max(1).min(waiting)
        } else {
            waiting
        }
    }

    /// So many calls were committed at that moment, which took so long.
    pub fn took(&mut self, calls: usize, at: Instant, time: Duration) {
        self.calls.extend(std::iter::repeat_n(at, calls));
        let too_many = self.calls.len().saturating_sub(REMEMBERED);
        self.calls.drain(..too_many);
        self.commit += (time.as_secs_f64() - self.commit) * WEIGHT;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After a hundred commits of so many calls, which took 2 ms each, one every so many ms; and when the next would be.
    fn after(calls: usize, milliseconds: u64) -> (Spread, Instant) {
        let mut spread = Spread::new();
        let mut now = Instant::now();
        for _ in 0..100 {
            spread.took(calls, now, Duration::from_millis(2));
            now += Duration::from_millis(milliseconds);
        }
        (spread, now)
    }

    #[test]
    fn with_time_for_it_a_few_have_a_commit_each() {
        let (spread, now) = after(2, 6);
        assert_eq!([0, 1, 2, 3, 7].map(|waiting| spread.share(waiting, now)), [0, 1, 1, 1, 1]);
    }

    #[test]
    fn of_many_at_once_a_quarter_is_sent() {
        let (spread, now) = after(2, 6);
        assert_eq!([8, 12, 32].map(|waiting| spread.share(waiting, now)), [2, 3, 8]);
    }

    #[test]
    fn without_time_for_it_all_are_sent() {
        let (spread, now) = after(4, 6);
        assert_eq!([1, 2, 32].map(|waiting| spread.share(waiting, now)), [1, 2, 32]);
    }

    #[test]
    fn after_a_pause_all_are_sent() {
        let (spread, now) = after(2, 6);
        assert_eq!(spread.share(4, now + Duration::from_secs(1)), 4);
    }

    #[test]
    fn the_first_ones_are_sent_all_at_once() {
        assert_eq!(Spread::new().share(32, Instant::now()), 32);
    }
}
