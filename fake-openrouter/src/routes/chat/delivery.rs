//! Sends an answer piece by piece and notes how far it got.
//!
//! Headers and a heartbeat go out at once, the JSON when the generation is done. A caller that
//! keeps the id from the headers can find out later what a lost answer cost. What takes no time goes out whole.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use axum::response::{IntoResponse, Response};
use fastrand::Rng;
use futures_util::stream;
use tokio::sync::oneshot;
use tokio::task::yield_now;

use super::pause;
use super::reply::Reply;
use crate::bill::Generation;
use crate::connection::Shears;
use crate::fault::Fault;
use crate::in_flight::Flight;
use crate::state::State;

/// OpenRouter keeps waiting clients awake with blank lines before the JSON.
const HEARTBEAT: &str = "\n         ";

/// A slow body comes in so many pieces a second, or in one for each byte.
const PIECES_PER_SECOND: u64 = 20;

struct Delivery {
    state: Arc<State>,
    id: String,
    heartbeat: String,
    body: Bytes,
    bytes_per_second: Option<u64>,
    fault: Option<Fault>,
    ready: oneshot::Receiver<()>,
    shears: Shears,
    stage: Stage,
    _flight: Flight,
}

enum Stage {
    Whole,
    Heartbeat,
    Wait,
    Text,
    End,
}

/// Lets the generation run to its end and bills it; says so after `duration`.
pub(super) fn start(
    state: Arc<State>,
    flight: Flight,
    generation: Generation,
    duration: Duration,
) -> oneshot::Receiver<()> {
    let (ready, receiver) = oneshot::channel();
    if duration.is_zero() {
        state.bill.finish(generation);
        let _ = ready.send(());
        return receiver;
    }
    tokio::spawn(async move {
        pause(duration).await;
        state.bill.finish(generation);
        drop(flight);
        // Nobody receives it when the client has left.
        let _ = ready.send(());
    });
    receiver
}

/// The response; its body follows when the generation is `ready`.
pub(super) fn respond(
    state: Arc<State>,
    flight: Flight,
    id: String,
    reply: Reply,
    mut ready: oneshot::Receiver<()>,
    shears: Shears,
    random: &mut Rng,
) -> Response {
    let mut headers = reply.headers;
    // Errors come without, and so do packed bodies, which nothing may stand before.
    let is_plain = !headers.contains_key(CONTENT_ENCODING);
    let beats = if reply.status.is_success() && is_plain { random.usize(1..=4) } else { 0 };
    let mut heartbeat = HEARTBEAT.repeat(beats);
    let mut body = Bytes::from(reply.body);
    let is_whole =
        reply.fault.is_none() && reply.bytes_per_second.is_none() && ready.try_recv().is_ok();
    if is_whole {
        body = Bytes::from([heartbeat.as_bytes(), &body].concat());
        heartbeat.clear();
        headers.insert(CONTENT_LENGTH, body.len().into());
    }
    if reply.fault == Some(Fault::CutLength) {
        headers.insert(CONTENT_LENGTH, (heartbeat.len() + body.len()).into());
    }
    if let Some(Fault::CutLength | Fault::CutChunked) = reply.fault {
        body.truncate(body.len() / 2);
    }
    let delivery = Delivery {
        state,
        id,
        heartbeat,
        body,
        bytes_per_second: reply.bytes_per_second,
        fault: reply.fault,
        ready,
        shears,
        stage: if is_whole { Stage::Whole } else { Stage::Heartbeat },
        _flight: flight,
    };
    let body = Body::from_stream(stream::unfold(delivery, Delivery::next));
    (reply.status, headers, body).into_response()
}

impl Delivery {
    /// The next piece. The connection asks for it when it has taken the one before.
    async fn next(mut self) -> Option<(io::Result<Bytes>, Self)> {
        if let Stage::Whole = self.stage {
            self.stage = Stage::End;
            self.state.bill.id_sent(&self.id);
            self.state.bill.delivered(&self.id);
            return Some((Ok(self.piece().await), self));
        }
        if let Stage::Heartbeat = self.stage {
            self.stage = Stage::Wait;
            let heartbeat = std::mem::take(&mut self.heartbeat);
            return Some((Ok(heartbeat.into()), self));
        }
        if let Stage::Wait = self.stage {
            // The connection writes to the socket when its body has nothing ready.
            yield_now().await;
            self.state.bill.id_sent(&self.id);
            if (&mut self.ready).await.is_err() {
                return self.broken(ErrorKind::Other).await;
            }
            if self.fault == Some(Fault::ResetAfterHeaders) {
                self.shears.reset();
                return self.broken(ErrorKind::ConnectionReset).await;
            }
            self.stage = Stage::Text;
        }
        if let Stage::End = self.stage {
            return None;
        }
        if !self.body.is_empty() {
            return Some((Ok(self.piece().await), self));
        }
        match self.fault {
            Some(Fault::CutChunked) => self.broken(ErrorKind::UnexpectedEof).await,
            // The server sees for itself that Content-Length was more than that.
            Some(Fault::CutLength) => {
                yield_now().await;
                None
            }
            _ => {
                self.state.bill.delivered(&self.id);
                None
            }
        }
    }

    /// All of the text, or as much as is due of a slow one.
    async fn piece(&mut self) -> Bytes {
        let Some(rate) = self.bytes_per_second else {
            return std::mem::take(&mut self.body);
        };
        let size = (rate / PIECES_PER_SECOND).max(1);
        pause(Duration::from_micros(size * 1_000_000 / rate)).await;
        self.body.split_to(self.body.len().min(size as usize))
    }

    /// The end of a connection that has written what it was given.
    async fn broken(mut self, kind: ErrorKind) -> Option<(io::Result<Bytes>, Self)> {
        yield_now().await;
        self.stage = Stage::End;
        Some((Err(kind.into()), self))
    }
}
