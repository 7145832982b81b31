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
