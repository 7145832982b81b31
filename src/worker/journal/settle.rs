//! How calls ended: into the journal, with the rate of each call's day.

use std::collections::HashMap;

use pgrx::spi::SpiResult;
use uuid::Uuid;

use super::{SETTLE, ToLookUp, to_look_up};
use crate::ledger::{CostSource, Entry};
use crate::pg::spi;
use crate::rates::Rates;
use crate::rows::{self, ids, json};
use crate::worker::settlement::State;

/// How a call ended.
pub struct Ended<'a> {
    pub state: State,
    pub entry: &'a Entry,
}

/// What a settlement goes by.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The zone of the day that decides the exchange rate.
    pub time_zone: String,
    /// Whether OpenRouter is asked for what a generation of unknown cost did cost.
    pub look_up: bool,
    /// Whether it is asked for every generation's cost.
    pub look_up_all: bool,
}

/// What the journal says of a settled call.
pub struct Settled {
    pub call: Uuid,
    /// Its ledger row to be, as JSON text.
    pub entry: String,
    /// Set where it is not booked before its generation was looked up.
    pub to_look_up: Option<ToLookUp>,
    /// The caller's transaction.
    pub caller_xid: Option<u64>,
}

/// Writes how calls ended. In the order of `ended`, but for those that are not in the journal.
pub fn settle(ended: &[Ended], rules: &Rules) -> SpiResult<Vec<Settled>> {
    if ended.is_empty() {
        return Ok(Vec::new());
    }
    let mut rates = Rates::new(&rules.time_zone);
    let entries: Vec<String> =
        ended.iter().map(|ended| row(ended, &mut rates)).collect::<SpiResult<_>>()?;
    let each = |text: fn(&Ended) -> Option<String>| ended.iter().map(text).collect::<Vec<_>>();
    let calls: Vec<Uuid> = ended.iter().map(|ended| ended.entry.id).collect();
    let look_ups: Vec<bool> = ended.iter().map(|ended| is_looked_up(ended.entry, rules)).collect();
    let arguments = [
        ids(&calls).into(),
        each(|ended| Some(ended.state.name().to_owned())).into(),
        each(|ended| ended.entry.generation_id.clone()).into(),
        entries.iter().map(String::as_str).collect::<Vec<_>>().into(),
        look_ups.into(),
    ];
    let mut found: Vec<Option<Settled>> = ended.iter().map(|_| None).collect();
    let places: HashMap<Uuid, usize> = calls.iter().copied().zip(0..).collect();
    spi::query(SETTLE, &arguments, |row| {
        let call = row.get::<pgrx::Uuid>(1)?.map(rows::call);
        let Some((call, place)) = call.and_then(|call| Some((call, *places.get(&call)?))) else {
            return Ok(());
        };
        let entry = row.get::<String>(2)?.unwrap_or_else(|| entries[place].clone());
        let to_look_up = match row.get::<bool>(4)? {
            Some(true) => {
                to_look_up(call, row.get(3)?, Some(ended[place].entry.key_name.clone()), false)
            }
            _ => None,
        };
        let caller_xid = row.get::<String>(5)?.and_then(|xid| xid.parse().ok());
        found[place] = Some(Settled { call, entry, to_look_up, caller_xid });
        Ok(())
    })?;
    Ok(found.into_iter().flatten().collect())
}

fn is_looked_up(entry: &Entry, rules: &Rules) -> bool {
    match entry.cost_source {
        CostSource::Unknown | CostSource::NotBilled => rules.look_up,
        CostSource::Billed => rules.look_up && rules.look_up_all,
        CostSource::Settled => false,
    }
}

/// Each call's ledger row as JSON text, without writing: where the journal is locked.
pub fn ledger_rows(ended: &[Ended], time_zone: &str) -> SpiResult<Vec<(Uuid, String)>> {
    let mut rates = Rates::new(time_zone);
    ended.iter().map(|ended| Ok((ended.entry.id, row(ended, &mut rates)?))).collect()
}

/// A ledger row as JSON text, with its cost in SEK where there is a rate.
fn row(ended: &Ended, rates: &mut Rates) -> SpiResult<String> {
    let mut row = json(ended.entry);
    let rate = match &ended.entry.created_at {
        Some(created_at) => rates.at(created_at)?,
        None => None,
    };
    if let Some(rate) = rate {
        rate.add_to(&mut row, ended.entry.cost_usd.as_ref());
    }
    Ok(row)
}
