//! Finds the gateway of this database, or starts it: many first calls at once start exactly one.

use std::time::{Duration, Instant};

use super::connection::{Broken, Connection};
use super::protocol::Files;
use crate::error::Error;
use crate::pg::lock::StartLock;
use crate::pg::{background, identity, interrupts, process, wait};

/// A start takes some 20 ms; a leaving gateway may have to be waited for.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// How many gateways one caller starts. A gateway may be told to end, by an administrator or by
/// DROP DATABASE, before it is ready; one that cannot start at all is not tried for long.
const STARTS: usize = 3;
const POLL: Duration = Duration::from_millis(2);

/// A connection to this database's gateway.
pub fn connect() -> Result<Connection, Error> {
    let files = Files::of_database(identity::database_oid());
    if let Found::Ready(connection) = look(&files)? {
        return Ok(connection);
    }
    let _one_at_a_time = StartLock::acquire();
    match look(&files)? {
        Found::Ready(connection) => return Ok(connection),
        // It finishes what is in flight; the new one waits for that.
        Found::Older(Some(pid)) => process::ask_to_end(pid),
        Found::Older(None) | Found::Nobody => {}
    }
    for _ in 0..STARTS {
        if let Some(connection) = start(&files)? {
            return Ok(connection);
        }
    }
    Err(Error::GatewayDown { detail: "It ended at once.".to_owned() })
}

/// Starts a gateway and waits until one is ready. None where the started one has ended before that.
fn start(files: &Files) -> Result<Option<Connection>, Error> {
    let started = background::start_gateway().ok_or(Error::NoWorkerSlot)?;
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        // Asked before the look: a gateway that finds another one at work ends at once.
        let has_ended = started.has_ended();
        if let Found::Ready(connection) = look(files)? {
            return Ok(Some(connection));
        }
        if has_ended {
            return Ok(None);
        }
        if Instant::now() > deadline {
            return Err(Error::GatewayDown { detail: "It is not ready.".to_owned() });
        }
        wait::wait_for_latch(POLL);
        interrupts::check();
    }
}

enum Found {
    Ready(Connection),
    Nobody,
    /// One from before a library upgrade, and its process.
    Older(Option<i32>),
}

fn look(files: &Files) -> Result<Found, Error> {
    match Connection::open(&files.socket) {
        Ok(connection) => Ok(Found::Ready(connection)),
        Err(Broken::Closed | Broken::TimedOut) => Ok(Found::Nobody),
        Err(Broken::Older(pid)) => Ok(Found::Older(pid)),
        Err(Broken::Newer) => Err(Error::GatewayVersion),
        Err(Broken::Garbled(what)) => Err(Error::Internal(what)),
    }
}
