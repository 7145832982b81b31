//! One call and one reply.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use tokio::sync::watch;

use super::{Connection, OpenCall, gone};
use crate::gateway::protocol::{Reply, Request, Submit};
use crate::worker::call;
use crate::worker::events::Event;

/// Makes a call, and waits until its reply was read. An error: the caller has gone.
pub async fn serve(connection: &mut Connection, submit: Submit, body: Vec<u8>) -> io::Result<()> {
    let call = submit.entry.id;
    let _open = OpenCall::new(&connection.shared, call, &submit.entry.principal);
    let told = make(connection, submit, body).await;
    if told.is_err() {
        // Before it leaves the set: the sweep looks at the set first, then at events.
        connection.shared.outbox.send(Event::CallerGone { call });
    }
    told
}

/// Makes a call, replies, and waits until the reply was read. An error: the caller has gone.
async fn make(connection: &mut Connection, submit: Submit, body: Vec<u8>) -> io::Result<()> {
    let id = submit.entry.id;
    let principal = submit.entry.principal.clone();
    let (has_gone, caller) = watch::channel(false);
    let shared = Arc::clone(&connection.shared);
    let mut call = std::pin::pin!(call::run(shared, submit, body.into(), caller, None, None));
    let (reply, body) = tokio::select! {
        answer = &mut call => answer,
        left = gone(&mut connection.reader) => {
            has_gone.send_replace(true);
            connection.shared.outbox.send(Event::CallerGone { call: id });
            let (reply, answer) = call.await;
            if matches!(reply, Reply::Answered { .. }) {
                connection.shared.outbox.send(Event::Undelivered { call: id, principal, answer });
            }
            return Err(left);
        }
    };
    let read = match connection.reply(&reply, &body).await {
        Ok(()) => connection.read().await,
        Err(error) => Err(error),
    };
    if read.is_err() && matches!(reply, Reply::Answered { .. }) {
        connection.shared.outbox.send(Event::Undelivered { call: id, principal, answer: body });
    }
    match read? {
        (Request::Received, _) => Ok(()),
        _ => Err(ErrorKind::InvalidData.into()),
    }
}
