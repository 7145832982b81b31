//! Dates as OpenRouter writes them, and the UTC day, week and month of a moment.

use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{Duration, OffsetDateTime, Time};

const ISO: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]+00:00");

/// `2026-08-18T09:30:00.123456+00:00`.
pub(crate) fn iso(moment: OffsetDateTime) -> String {
    moment.format(ISO).unwrap_or_default()
}

const DATE: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]");

/// The UTC day of a Unix time: `2026-08-18`.
pub(crate) fn day(seconds: i64) -> String {
    let moment = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    moment.format(DATE).unwrap_or_default()
}

/// The last 30 completed UTC days before a Unix time, the latest first.
pub(crate) fn completed_days(now: i64) -> Vec<String> {
    (1..=30).map(|ago| day(now - ago * 86_400)).collect()
}

/// Unix seconds at which the current UTC day, week (from Monday) and month began.
pub(crate) struct Periods {
    pub(crate) day: i64,
    pub(crate) week: i64,
    pub(crate) month: i64,
}

impl Periods {
    pub(crate) fn at(now: OffsetDateTime) -> Self {
        let day = now.replace_time(Time::MIDNIGHT);
        let week = day - Duration::days(i64::from(now.weekday().number_days_from_monday()));
        let month = day - Duration::days(i64::from(now.day()) - 1);
        Self {
            day: day.unix_timestamp(),
            week: week.unix_timestamp(),
            month: month.unix_timestamp(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thirty_days_are_over_and_today_is_not() {
        let days = completed_days(1_772_323_200);
        assert_eq!(day(1_772_323_200), "2026-03-01");
        assert_eq!((days.len(), &*days[0], &*days[29]), (30, "2026-02-28", "2026-01-30"));
    }
}
