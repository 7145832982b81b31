//! A call whose answer comes as it is generated.

use std::cell::Cell;

use uuid::Uuid;

use super::client::{self, Answered, Lost};
use super::connection::Connection;
use super::protocol::{Reply, Request, Submit};
use crate::error::Error;
use crate::openrouter::failure::{Failure, FailureKind};
use crate::pg::error_detail::ErrorDetail;
use crate::pg::{limits, xact};

type Received = (Reply, Vec<u8>);

/// How many streams a session may have open: each holds a connection and one of `hiems.max_in_flight`.
const MOST_OPEN: usize = 100;

thread_local! {
    static OPEN: Cell<usize> = const { Cell::new(0) };
}

/// One of the streams that are open, counted for as long as it lives.
pub struct Open(());

impl Open {
    /// The error: there are as many as a session may have (PT429).
    pub fn new() -> Result<Open, Error> {
        // Where the server's processes may have few files open, so may streams: the rest has to work, too.
        let most = MOST_OPEN.min(limits::wait_sets() / 2).max(1);
        let open = OPEN.get();
        if open >= most {
            let what = "too many streams are open in this session";
            let failure = Failure::new(FailureKind::RateLimited, what)
                .detail(format!("{open} are open, and no more may be"))
                .hint("Read some to their ends, or CLOSE their cursors.");
            return Err(Error::Call { failure, call: None });
        }
        OPEN.set(open + 1);
        Ok(Open(()))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        OPEN.set(OPEN.get().saturating_sub(1));
    }
}

/// A stream that has not ended. Dropped, it closes its connection, also by the unwinding of a cancel: the
/// gateway knows that its caller has gone.
pub struct Stream {
    connection: Connection,
    call: Uuid,
    /// The reply that told that the call was made.
    first: Option<Received>,
    _open: Open,
}

/// What comes next of a stream.
pub enum Next {
    /// A chunk; and the stream, which goes on.
    Row(Box<Stream>, Vec<u8>),
    /// All of it has come; the body is empty.
    End(Answered),
}

/// Makes a call, and waits for the first that comes of it.
pub fn stream(submit: Submit, body: &[u8], open: Open) -> Result<Stream, Error> {
    let call = submit.entry.id;
    let _detail = detail(call);
    let (connection, first) = client::exchange(&Request::Stream(Box::new(submit)), body, None)
        .map_err(|lost| match lost {
            Lost::Before(error) => error,
            Lost::After | Lost::TimedOut => Error::GatewayLost { call },
        })?;
    Ok(Stream { connection, call, first: Some(first), _open: open })
}

impl Stream {
    /// Waits for what comes next.
    pub fn next(mut self) -> Result<Next, Error> {
        let call = self.call;
        let received = match self.first.take() {
            Some(first) => first,
            None => {
                let _detail = detail(call);
                self.connection.receive(None).map_err(|_| Error::GatewayLost { call })?
            }
        };
        if let (Reply::Delta, chunk) = received {
            return Ok(Next::Row(Box::new(self), chunk));
        }
        // The caller no longer waits: from here on, its transaction alone decides the outcome.
        if self.connection.send(&Request::Received, &[]).is_ok() {
            client::keep(self.connection);
        }
        match received {
            (Reply::Answered { entry, is_changed, .. }, body) => {
                Ok(Next::End(Answered { entry, body, is_changed }))
            }
            (Reply::Failed { call, failure, .. }, _) => {
                Err(Error::Call { failure, call: Some(call) })
            }
            (Reply::Refused(failure), _) => Err(Error::Call { failure, call: None }),
            _ => Err(client::another_question()),
        }
    }

    /// Wants no more of it. What has been answered by now is booked if the transaction `xid` commits. Neither
    /// waits nor raises: it is said while PostgreSQL cleans up.
    pub fn close(mut self, xid: u64) {
        // What cannot be said is taken for the end of the stream.
        let _ = self.connection.try_send(&Request::Closed { calls: vec![self.call], xid });
        // The gateway goes by its fate.
        xact::force_durable_commit();
    }
}

/// While somebody waits: for a cancel, a timeout, the end of the session.
fn detail(call: Uuid) -> ErrorDetail {
    ErrorDetail::new(
        format!("call {call}: the stream is closed, and booked with what it did cost"),
        "Until its cost is known it is in hiems.calls.".to_owned(),
    )
}
