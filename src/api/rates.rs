//! Exchange rates, and the zone that days are counted in.

use pgrx::datum::{AnyNumeric, Date};
use pgrx::prelude::*;

use crate::access::{self, Level};
use crate::error::{Error, or_raise};
use crate::{rates, settings};

/// Stores SEK per 1 unit of a currency (ISO 4217) for a day, and where the rate comes from. A call is
/// booked with the newest rate that is not after its day. Raises 42501 without the level admin, 22023
/// on arguments that are no rate.
#[pg_extern(schema = "hiems", volatile, parallel_unsafe)]
fn set_exchange_rate(
    currency: Option<String>,
    sek_per_unit: Option<AnyNumeric>,
    rate_date: Option<Date>,
    source: Option<String>,
) {
    or_raise(set(currency, sek_per_unit, rate_date, source));
}

/// The time zone of the days in views: `hiems.reporting_time_zone`, else the server's TimeZone.
#[pg_extern(schema = "hiems", stable, parallel_safe)]
pub fn reporting_time_zone() -> String {
    settings::reporting_time_zone()
}

fn set(
    currency: Option<String>,
    sek_per_unit: Option<AnyNumeric>,
    rate_date: Option<Date>,
    source: Option<String>,
) -> Result<(), Error> {
    access::require_to_change(Level::Admin)?;
    let (Some(currency), Some(sek_per_unit), Some(date), Some(source)) =
        (currency, sek_per_unit, rate_date, source)
    else {
        return Err(Error::InvalidArgument {
            message: "an exchange rate needs all its parts".to_owned(),
            detail: "One of currency, sek_per_unit, rate_date and source is NULL.".to_owned(),
            hint: String::new(),
        });
    };
    rates::set(&currency, sek_per_unit, date, &source)
}
