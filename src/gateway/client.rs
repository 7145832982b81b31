//! Requests to the gateway over a connection that is kept from call to call.

use std::cell::RefCell;
use std::time::Instant;

use uuid::Uuid;
use zeroize::Zeroizing;

use super::connection::{Broken, Connection};
use super::protocol::{
    Reply, Request, SealRequest, SealedKey, Settlements, Status, StoredKey, Submit,
};
use super::start;
use crate::error::Error;
use crate::openrouter::key_info::KeyInfo;
use crate::pg::error_detail::ErrorDetail;

thread_local! {
    // Taken out during a call, so that the unwinding of a cancel closes it.
    static KEPT: RefCell<Option<Connection>> = const { RefCell::new(None) };
}

/// How a call has gone.
pub enum Submitted {
    Answered(Answered),
    /// Nothing was sent: this other call has the same idempotency key, and has ended.
    Replay(Uuid),
}

/// A settled call.
pub struct Answered {
    /// The ledger row, as JSON text; None where the gateway has to book it.
    pub entry: Option<String>,
    /// OpenRouter's body.
    pub body: Vec<u8>,
    /// True where `jsonb` would have refused it as it came.
    pub is_changed: bool,
}

/// How often a request that was surely not looked at is handed to the next gateway.
pub(super) const HANDOVERS: usize = 5;

/// While it lives, a cancel, a timeout and the end of the session name the call that is waited for.
pub fn detail_of(call: Uuid) -> ErrorDetail {
    ErrorDetail::new(
        format!("call {call}: if it was sent, it is finished and booked"),
        format!("SELECT hiems.await_prompt('{call}') gives its answer, for a while."),
    )
}

/// Makes a call and waits for its answer.
pub fn submit(submit: Submit, body: &[u8]) -> Result<Submitted, Error> {
    let call = submit.entry.id;
    let _detail = detail_of(call);
    let (mut connection, reply) = exchange(&Request::Submit(Box::new(submit)), body, None)
        .map_err(|lost| match lost {
            Lost::Before(error) => error,
            Lost::After | Lost::TimedOut => Error::GatewayLost { call },
        })?;
    // The caller no longer waits: from here on, its transaction alone decides the outcome. A gateway
    // that is gone by now has the call in its journal.
    let told = connection.send(&Request::Received, &[]);
    if told.is_ok() {
        KEPT.set(Some(connection));
    }
    match reply {
        (Reply::Answered { entry, is_changed }, body) => {
            Ok(Submitted::Answered(Answered { entry, body, is_changed }))
        }
        (Reply::Replay { call }, _) => Ok(Submitted::Replay(call)),
        (Reply::Failed { call, failure, .. }, _) => Err(Error::Call { failure, call: Some(call) }),
        (Reply::Refused(failure), _) => Err(Error::Call { failure, call: None }),
        _ => Err(another_question()),
    }
}

/// Leaves the booking of answered calls to the gateway, since the ledger is locked: they are booked if
/// the transaction `xid` commits. False where the gateway cannot be told.
pub fn defer(calls: Vec<Uuid>, xid: u64) -> Result<bool, Error> {
    // One that leaves meanwhile has handed the calls on to the next. Said twice, it is the same.
    match exchange(&Request::Defer { calls, xid }, &[], None) {
        Ok((connection, (Reply::Deferred, _))) => {
            KEPT.set(Some(connection));
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// Has the gateway stay, started where there is none, until this transaction has ended.
pub fn stay() -> Result<(), Error> {
    match ask(&Request::Enqueued, &[])? {
        Reply::Staying => Ok(()),
        _ => Err(another_question()),
    }
}

/// Has the gateway look into the queue. Neither waits nor raises: where it cannot be told it looks by itself
/// soon.
pub fn wake() {
    if let Some(mut connection) = KEPT.take().filter(Connection::is_fresh)
        && connection.try_send(&Request::Wake).is_ok()
    {
        KEPT.set(Some(connection));
    }
}

/// Waits until a call has ended, and what there is of it is written; at most until `deadline`.
pub fn wait_for(call: Uuid, principal: &str, deadline: Option<Instant>) -> Result<(), Error> {
    let request = Request::Await { call, principal: principal.to_owned() };
    loop {
        match exchange(&request, &[], deadline) {
            Ok((connection, (Reply::Ended, _))) => {
                KEPT.set(Some(connection));
                return Ok(());
            }
            Ok(_) => return Err(another_question()),
            Err(Lost::Before(error)) => return Err(error),
            Err(Lost::TimedOut) => return Err(Error::NotEnded(call)),
            // It went away: the next one knows.
            Err(Lost::After) => {}
        }
    }
}

/// The principal of a role, an OID and a name, which the gateway has written down.
pub fn take_principal(role: u32, name: &str) -> Result<String, Error> {
    match ask(&Request::TakePrincipal { role, name: name.to_owned() }, &[])? {
        Reply::Principal(principal) => Ok(principal),
        _ => Err(another_question()),
    }
}

/// How the gateway is, and whether it can open these keys; starts it where there is none.
pub fn status(keys: Vec<StoredKey>) -> Result<Status, Error> {
    match ask(&Request::Status(keys), &[])? {
        Reply::Status(status) => Ok(status),
        _ => Err(another_question()),
    }
}

/// Has everything of unknown cost looked up at OpenRouter, and waits for it.
pub fn settle_now() -> Result<Settlements, Error> {
    match ask(&Request::SettleNow, &[])? {
        Reply::SettledNow(settlements) => Ok(settlements),
        _ => Err(another_question()),
    }
}

/// Has a key sealed, which goes no further than the gateway's memory; gives its fingerprint, too.
pub fn seal(request: SealRequest, key: Zeroizing<String>) -> Result<(SealedKey, String), Error> {
    match ask(&Request::Seal(request), key.as_bytes())? {
        Reply::Sealed { key, fingerprint } => Ok((key, fingerprint)),
        _ => Err(another_question()),
    }
}

/// What OpenRouter says of a key.
pub fn check(key: StoredKey) -> Result<KeyInfo, Error> {
    match ask(&Request::Check(key), &[])? {
        Reply::Checked(info) => Ok(*info),
        _ => Err(another_question()),
    }
}

/// Has keys sealed anew; gives them in the same order.
pub fn reseal(keys: Vec<StoredKey>) -> Result<Vec<SealedKey>, Error> {
    resealed(keys.len(), &Request::Reseal(keys))
}

/// Has keys sealed for this database that were sealed for another; gives them in the same order.
pub fn adopt(keys: Vec<StoredKey>) -> Result<Vec<SealedKey>, Error> {
    resealed(keys.len(), &Request::Adopt(keys))
}

fn resealed(count: usize, request: &Request) -> Result<Vec<SealedKey>, Error> {
    match ask(request, &[])? {
        Reply::Resealed(sealed) if sealed.len() == count => Ok(sealed),
        Reply::NoNewMasterKey => Err(Error::NoNewMasterKey),
        _ => Err(another_question()),
    }
}

/// Asks what changes nothing where the gateway goes away meanwhile.
fn ask(request: &Request, body: &[u8]) -> Result<Reply, Error> {
    let (connection, reply) = exchange(request, body, None).map_err(|lost| match lost {
        Lost::Before(error) => error,
        Lost::After | Lost::TimedOut => Error::GatewayDown { detail: "It went away.".to_owned() },
    })?;
    KEPT.set(Some(connection));
    match reply {
        (Reply::Refused(failure), _) => Err(Error::Call { failure, call: None }),
        (reply, _) => Ok(reply),
    }
}

pub(super) fn another_question() -> Error {
    Error::Internal("the gateway gave an answer to another question".to_owned())
}

/// The connection of the call before, or a new one.
pub(super) fn connect() -> Result<Connection, Error> {
    match KEPT.take().filter(Connection::is_fresh) {
        Some(connection) => Ok(connection),
        None => start::connect(),
    }
}

/// Keeps a connection on which nothing is open, for the next call.
pub(super) fn keep(connection: Connection) {
    KEPT.set(Some(connection));
}

/// A frame of more than 1 GB.
pub(super) fn too_large(what: String) -> Error {
    Error::InvalidArgument {
        message: "the request is too large".to_owned(),
        detail: what,
        hint: String::new(),
    }
}

pub(super) enum Lost {
    /// Surely not looked at.
    Before(Error),
    /// Perhaps.
    After,
    /// No reply in time.
    TimedOut,
}

pub(super) type Exchanged = (Connection, (Reply, Vec<u8>));

/// Sends a request, and waits for the first reply.
pub(super) fn exchange(
    request: &Request,
    body: &[u8],
    deadline: Option<Instant>,
) -> Result<Exchanged, Lost> {
    for _ in 0..HANDOVERS {
        let mut connection = connect().map_err(Lost::Before)?;
        // A gateway that leaves says so before it closes, and then reads nothing more: what it says
        // stands in the stream even if the sending fails.
        let sent = connection.send(request, body);
        if let Err(Broken::Garbled(what)) = sent {
            return Err(Lost::Before(too_large(what)));
        }
        match connection.receive(deadline) {
            Ok((Reply::Leaving, _)) => continue,
            Ok(reply) => return Ok((connection, reply)),
            Err(Broken::TimedOut) => return Err(Lost::TimedOut),
            Err(_) if sent.is_err() => continue,
            Err(_) => return Err(Lost::After),
        }
    }
    Err(Lost::Before(Error::GatewayDown { detail: "It leaves again and again.".to_owned() }))
}
