//! When a call that was surely not billed is sent again.
//!
//! Only a 429 or 503 that came before anything was generated, and only within the caller's time: the
//! Retry-After header rules, or X-RateLimit-Reset; else the wait doubles from half a second.
//! Source: OpenRouter's "Errors and debugging", "Limits" (openrouter.ai/docs).

use std::time::Duration;

/// OpenRouter would take the call later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Again {
    /// How long it wants to be left alone, where it says so: at most [`LONGEST_ASKED`].
    pub after: Option<Duration>,
}

/// What a provider asks for is honoured up to here: one header must not stop a model's queue for years.
pub const LONGEST_ASKED: Duration = Duration::from_secs(3_600);

/// The seconds that a Retry-After header names, a fraction rounded up; None where it is no number. A wait is
/// no money: a float does.
pub fn seconds(header: &str) -> Option<u64> {
    let text = header.trim();
    let rounded = || {
        let seconds = text.parse::<f64>().ok()?;
        (seconds.is_finite() && seconds >= 0.0).then(|| seconds.ceil() as u64)
    };
    text.parse().ok().or_else(rounded)
}

/// The seconds from `now` until the time that an X-RateLimit-Reset header names, rounded up; both are milliseconds
/// since the epoch. None where that time is over, or the header is no such number.
pub fn seconds_until(reset: &str, now: i64) -> Option<u64> {
    let left = reset.trim().parse::<i64>().ok()?.checked_sub(now)?;
    u64::try_from(left).ok().filter(|left| *left > 0).map(|left| left.div_ceil(1_000))
}

const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(8);

impl Again {
    /// How long to wait before the next attempt, `attempts` having been made. `spread` (0 to 1) keeps
    /// callers that were refused together from coming back together: up to a quarter more.
    pub fn wait(self, attempts: u32, spread: f64) -> Duration {
        self.wait_within(FIRST_WAIT, LONGEST_WAIT, attempts, spread)
    }

    /// As [`Again::wait`], where the wait doubles from `first` to `longest`.
    pub fn wait_within(
        self,
        first: Duration,
        longest: Duration,
        attempts: u32,
        spread: f64,
    ) -> Duration {
        let wait = self.after.unwrap_or_else(|| {
            let doubled = 1_u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
            first.saturating_mul(doubled).min(longest)
        });
        wait.saturating_add(wait.min(longest).mul_f64(spread.clamp(0.0, 1.0) / 4.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_and_ends_at_its_longest() {
        let waits: Vec<u128> =
            (1..=6).map(|n| Again { after: None }.wait(n, 0.0).as_millis()).collect();
        assert_eq!(waits, [500, 1_000, 2_000, 4_000, 8_000, 8_000]);
        assert_eq!(Again { after: None }.wait(u32::MAX, 1.0), Duration::from_secs(10));
    }

    #[test]
    fn a_fraction_of_a_second_is_rounded_up() {
        let read = ["3", " 7 ", "0.2", "1.5", "2.0"].map(seconds);
        assert_eq!(read, [Some(3), Some(7), Some(1), Some(2), Some(2)]);
        for text in ["", "soon", "-1", "NaN", "inf", "Tue, 01 Dec 2026 01:00:00 GMT"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn a_limit_is_waited_for_until_it_is_reset() {
        let now = 1_787_220_000_000;
        assert_eq!(seconds_until("1787220000001", now), Some(1));
        assert_eq!(seconds_until("1787241600000", now), Some(21_600));
        for reset in ["1787220000000", "1787219999999", "60", "-1", "soon", ""] {
            assert_eq!(seconds_until(reset, now), None, "{reset}");
        }
    }

    #[test]
    fn what_the_provider_asks_for_is_never_cut_short() {
        let again = Again { after: Some(Duration::from_secs(60)) };
        assert_eq!(again.wait(1, 0.0), Duration::from_secs(60));
        assert_eq!(again.wait(3, 1.0), Duration::from_secs(62));
        let forever = Again { after: Some(Duration::MAX) };
        assert_eq!(forever.wait(1, 1.0), Duration::MAX);
    }
}
