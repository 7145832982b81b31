//! Booking in the caller's own transaction: what every form of call ends with that has one.

use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::error::{self, Error};
use crate::gateway;
use crate::ledger;
use crate::pg::{interrupts, wait, xact};

/// How long somebody's lock on the ledger is waited for before the gateway is asked to book.
const LEDGER_PATIENCE: Duration = Duration::from_millis(100);

/// True once the ledger can be written to. The wait can be cancelled.
fn lock_ledger() -> bool {
    let deadline = Instant::now() + LEDGER_PATIENCE;
    while !ledger::try_lock() {
        if Instant::now() > deadline {
            return false;
        }
        wait::wait_for_latch(Duration::from_millis(10));
        interrupts::check();
    }
    true
}

/// Books answered calls in this transaction. Each comes with its ledger row as the gateway settled it; None
/// where the gateway has to book it. An answer that was paid for does not wait for a VACUUM FULL of the ledger:
/// then the gateway books all of them.
pub fn book(calls: Vec<(Uuid, Option<String>)>) -> Result<(), Error> {
    let (settled, later): (Vec<_>, Vec<_>) =
        calls.into_iter().partition(|(_, entry)| entry.is_some());
    let later: Vec<Uuid> = later.into_iter().map(|(call, _)| call).collect();
    // A gateway that is gone by now has them in its journal: the next one books them.
    defer(later)?;
    if settled.is_empty()
        || !lock_ledger() && defer(settled.iter().map(|(call, _)| *call).collect())?
    {
        return Ok(());
    }
    write(settled)
}

/// Books as [`book`] does what can be booked at once; leaves the rest in `calls`, for the end.
pub fn book_meanwhile(calls: &mut Vec<(Uuid, Option<String>)>) -> Result<(), Error> {
    match ledger::try_lock() {
        true => write(calls.extract_if(.., |(_, entry)| entry.is_some()).collect()),
        false => Ok(()),
    }
}

/// Behind the ledger's lock.
fn write(settled: Vec<(Uuid, Option<String>)>) -> Result<(), Error> {
    refuse_trigger(settled.first().map(|(call, _)| *call))?;
    let settled: Vec<(Uuid, String)> =
        settled.into_iter().filter_map(|(call, entry)| Some((call, entry?))).collect();
    Ok(ledger::book(&settled)?)
}

/// Leaves the booking to the gateway. False where it could not be told.
fn defer(calls: Vec<Uuid>) -> Result<bool, Error> {
    if calls.is_empty() {
        return Ok(true);
    }
    let told = gateway::defer(calls.clone(), xact::innermost_xid())?;
    if told {
        // The gateway goes by its fate, and may be gone by then.
        xact::force_durable_commit();
        error::warn_deferred(&calls);
    }
    Ok(told)
}

/// Refuses where somebody's trigger is on the ledger: it would run with hiems's rights. To be asked before
/// anything is sent; `call` is what has been paid for.
pub fn refuse_trigger(call: Option<Uuid>) -> Result<(), Error> {
    ledger::foreign_trigger().map_or(Ok(()), |name| Err(Error::ForeignTrigger { name, call }))
}
