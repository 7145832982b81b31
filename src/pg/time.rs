//! Points in time.

use pgrx::datum::TimestampWithTimeZone;

/// From 1970, where Unix begins to count, to 2000, where PostgreSQL does.
const EPOCH: i64 = 946_684_800_000_000;

/// A `timestamptz`; None where it is out of range.
pub fn from_unix_microseconds(microseconds: i64) -> Option<TimestampWithTimeZone> {
    TimestampWithTimeZone::try_from(microseconds.checked_sub(EPOCH)?).ok()
}
