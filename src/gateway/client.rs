//! Requests to the gateway over a connection that is kept from call to call.

use std::cell::RefCell;

use uuid::Uuid;
use zeroize::Zeroizing;

use super::connection::{Broken, Connection};
use super::protocol::{Reply, Request, SealRequest, SealedKey, Submit};
use super::start;
use crate::error::Error;

thread_local! {
    // Taken out during a call, so that the unwinding of a cancel closes it.
    static KEPT: RefCell<Option<Connection>> = const { RefCell::new(None) };
}

/// A settled call.
pub struct Answered {
    /// The ledger row, as JSON text.
    pub entry: String,
    /// OpenRouter's body.
    pub body: Vec<u8>,
}

/// How often a request that was surely not looked at is handed to the next gateway.
const HANDOVERS: usize = 5;

/// Makes a call and waits for its answer.
pub fn submit(submit: Submit, body: &[u8]) -> Result<Answered, Error> {
    let call = submit.entry.id;
    let (mut connection, reply) =
        exchange(&Request::Submit(Box::new(submit)), body).map_err(|lost| match lost {
            Lost::Before(error) => error,
            Lost::After => Error::GatewayLost { call },
        })?;
    // The caller no longer waits: from here on, its transaction alone decides the outcome. A gateway
    // that is gone by now has the call in its journal.
    let told = connection.send(&Request::Received, &[]);
    if told.is_ok() {
        KEPT.set(Some(connection));
    }
    match reply {
        (Reply::Answered { entry }, body) => Ok(Answered { entry, body }),
        (Reply::Failed { call, failure }, _) => Err(Error::Call { failure, call: Some(call) }),
        (Reply::Refused(failure), _) => Err(Error::Call { failure, call: None }),
        _ => Err(Error::Internal("the gateway gave an answer to another question".to_owned())),
    }
}

/// Leaves the booking of an answered call to the gateway, since the ledger is locked: it is booked if
/// the transaction `xid` commits. False where the gateway cannot be told.
pub fn defer(call: Uuid, xid: u64) -> Result<bool, Error> {
    // The connection of the call: a gateway that is gone has nothing to be told.
    let Some(mut connection) = KEPT.take() else { return Ok(false) };
    let told = connection
        .send(&Request::Defer { call, xid }, &[])
        .and_then(|()| connection.receive())
        .is_ok_and(|(reply, _)| matches!(reply, Reply::Deferred));
    if told {
        KEPT.set(Some(connection));
    }
    Ok(told)
}

/// Has a key sealed; it goes no further than the gateway's memory.
pub fn seal(request: &SealRequest, key: Zeroizing<String>) -> Result<SealedKey, Error> {
    let request = Request::Seal(request.clone());
    let (connection, reply) = exchange(&request, key.as_bytes()).map_err(|lost| match lost {
        Lost::Before(error) => error,
        Lost::After => Error::GatewayDown { detail: "It went away.".to_owned() },
    })?;
    KEPT.set(Some(connection));
    match reply {
        (Reply::Sealed(sealed), _) => Ok(sealed),
        (Reply::Refused(failure), _) => Err(Error::Call { failure, call: None }),
        _ => Err(Error::Internal("the gateway gave an answer to another question".to_owned())),
    }
}

enum Lost {
    /// Surely not looked at.
    Before(Error),
    /// Perhaps.
    After,
}

type Exchanged = (Connection, (Reply, Vec<u8>));

fn exchange(request: &Request, body: &[u8]) -> Result<Exchanged, Lost> {
    for _ in 0..HANDOVERS {
        let kept = KEPT.take().filter(Connection::is_fresh);
        let mut connection = match kept {
            Some(connection) => connection,
            None => start::connect().map_err(Lost::Before)?,
        };
        // A gateway that leaves says so before it closes, and then reads nothing more: what it says
        // stands in the stream even if the sending fails.
        let sent = connection.send(request, body);
        if let Err(Broken::Garbled(what)) = sent {
            return Err(Lost::Before(Error::InvalidArgument {
                message: "the request is too large".to_owned(),
                detail: what,
                hint: String::new(),
            }));
        }
        match connection.receive() {
            Ok((Reply::Leaving, _)) => continue,
            Ok(reply) => return Ok((connection, reply)),
            Err(_) if sent.is_err() => continue,
            Err(_) => return Err(Lost::After),
        }
    }
    Err(Lost::Before(Error::GatewayDown { detail: "It leaves again and again.".to_owned() }))
}
