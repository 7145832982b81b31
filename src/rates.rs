//! Exchange rates to SEK. The only writer of `hiems_private.exchange_rates`.

use std::collections::HashMap;

use pgrx::datum::{AnyNumeric, Date};
use pgrx::spi::SpiResult;
use serde::{Deserialize, Serialize};
use serde_json::Number;

use crate::error::Error;
use crate::pg::{lock, spi};

const SET: &str = "
    INSERT INTO hiems_private.exchange_rates (currency, rate_date, sek_per_unit, source)
    VALUES ($1, $2, $3, $4)
    ON CONFLICT (currency, rate_date) DO UPDATE
    SET sek_per_unit = excluded.sek_per_unit, source = excluded.source, stored_at = now()";

// The newest rate that is not after the day.
const APPLYING: &str = "
    SELECT sek_per_unit::text, to_json(rate_date)::text, to_json(source)::text
    FROM hiems_private.exchange_rates
    WHERE currency = 'USD' AND rate_date <= ($1::timestamptz AT TIME ZONE $2)::date
    ORDER BY rate_date DESC
    LIMIT 1";

/// The longest name of a source, in octets.
const MAX_SOURCE: usize = 512;

/// True once this transaction may read the rates: nobody's lock is in the way.
pub fn try_lock() -> bool {
    lock::try_lock_for_reading(c"hiems_private", c"exchange_rates")
}

/// Rates of US dollars by when a call was made, as they are in one transaction. Behind [`try_lock`].
pub struct Rates<'a> {
    time_zone: &'a str,
    /// By the minute: no day begins within one.
    known: HashMap<String, Option<Rate>>,
}

/// The rate that applies to a call.
#[derive(Clone, Serialize, Deserialize)]
pub struct Rate {
    /// As `numeric` writes it.
    sek_per_unit: String,
    /// The fields of the ledger that hold it, as JSON.
    fields: String,
}

impl<'a> Rates<'a> {
    pub fn new(time_zone: &'a str) -> Rates<'a> {
        Rates { time_zone, known: HashMap::new() }
    }

    /// The rate for a moment, as RFC 3339 writes it in UTC; None where there is none.
    pub fn at(&mut self, created_at: &str) -> SpiResult<Option<&Rate>> {
        let minute = created_at.get(..16).unwrap_or(created_at);
        if !self.known.contains_key(minute) {
            let rate = applying(created_at, self.time_zone)?;
            self.known.insert(minute.to_owned(), rate);
        }
        Ok(self.known.get(minute).and_then(Option::as_ref))
    }
}

impl Rate {
    /// Adds to a ledger row, as JSON text, this rate and the cost in SEK. PostgreSQL's arithmetic: for the main thread
    /// of a process.
    pub fn add_to(&self, row: &mut String, cost_usd: Option<&Number>) {
        let numeric = |text: &str| AnyNumeric::try_from(text).ok();
        let cost_sek = cost_usd
            .and_then(|cost| numeric(cost.as_str()))
            .zip(numeric(&self.sek_per_unit))
            .map(|(cost, sek_per_unit)| format!(r#","cost_sek":{}"#, cost * sek_per_unit));
        // Before the end of an object that is not empty.
        row.pop();
        row.push_str(&cost_sek.unwrap_or_default());
        row.push_str(&self.fields);
        row.push('}');
    }
}

fn applying(created_at: &str, time_zone: &str) -> SpiResult<Option<Rate>> {
    let found = spi::read(APPLYING, &[created_at.into(), time_zone.into()], |row| {
        let texts = row.get::<String>(2)?.zip(row.get::<String>(3)?);
        Ok(row.get::<String>(1)?.zip(texts).map(|(sek_per_unit, (date, source))| Rate {
            fields: format!(
                r#","usd_sek_rate":{sek_per_unit},"rate_date":{date},"rate_source":{source}"#
            ),
            sek_per_unit,
        }))
    })?;
    Ok(found.into_iter().flatten().next())
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
