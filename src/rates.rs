//! Exchange rates to SEK. The only writer of `hiems_private.exchange_rates`.

use pgrx::datum::{AnyNumeric, Date};

use crate::error::Error;
use crate::pg::{lock, spi};

const SET: &str = "
    INSERT INTO hiems_private.exchange_rates (currency, rate_date, sek_per_unit, source)
    VALUES ($1, $2, $3, $4)
    ON CONFLICT (currency, rate_date) DO UPDATE
    SET sek_per_unit = excluded.sek_per_unit, source = excluded.source, stored_at = now()";

/// The longest name of a source, in octets.
const MAX_SOURCE: usize = 512;

/// True once this transaction may read the rates: nobody's lock is in the way.
pub fn try_lock() -> bool {
    lock::try_lock_for_reading(c"hiems_private", c"exchange_rates")
}

/// Stores the rate of a day; a rate of that day is replaced. Rows already booked keep theirs.
pub fn set(
    currency: &str,
    sek_per_unit: AnyNumeric,
    date: Date,
    source: &str,
) -> Result<(), Error> {
    let bad = |message: &str, detail: String| Error::InvalidArgument {
        message: message.to_owned(),
        detail,
        hint:
            "Example: SELECT hiems.set_exchange_rate('USD', 10.4521, '2026-11-24', 'Riksbanken')."
                .to_owned(),
    };
    if currency.len() != 3 || !currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err(bad(
            "the currency is not an ISO 4217 code",
            format!("\"{currency}\" is not three upper-case letters."),
        ));
    }
    if currency == "SEK" {
        return Err(bad("a krona is a krona", "SEK per 1 SEK is 1.".to_owned()));
    }
    if date.is_infinity() || date.is_neg_infinity() {
        return Err(bad("the day is not a day", format!("A rate is of a day, not of {date}.")));
    }
    // NaN sorts above every number, so it fails here as infinity does.
    let too_large = AnyNumeric::from(1_000_000_000_i64);
    if sek_per_unit <= AnyNumeric::from(0_i64) || sek_per_unit >= too_large {
        return Err(bad(
            "the rate is not a positive number",
            format!("{sek_per_unit} is not SEK per 1 {currency}."),
        ));
    }
    if source.trim().is_empty() {
        return Err(bad("the source is empty", "A rate says where it comes from.".to_owned()));
    }
    // It goes into each ledger row that the rate applies to.
    if source.len() > MAX_SOURCE {
        let detail = format!("It has {} octets, and may have {MAX_SOURCE}.", source.len());
        return Err(bad("the source is too long", detail));
    }
    let arguments = [currency.into(), date.into(), sek_per_unit.into(), source.into()];
    Ok(spi::execute(SET, &arguments)?)
}
