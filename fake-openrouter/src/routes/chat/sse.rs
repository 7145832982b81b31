//! Sends a streamed answer event by event, and stops or goes on when its client leaves.

use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::yield_now;

use super::pause;
use super::reply::{GENERATION_ID, value};
use crate::answer::{Script, stream as script};
use crate::connection::Shears;
use crate::control::Control;
use crate::fault::Fault;
use crate::generate::Outcome;
use crate::in_flight::Flight;
use crate::order::Order;
use crate::state::State;

/// Providers that do not stop, and bill, when a client leaves.
const RUN_ON: [&str; 9] = [
    "Alibaba",
    "Amazon Bedrock",
    "Google",
    "Google AI Studio",
    "Groq",
    "Mistral",
    "Nebius",
    "Perplexity",
    "SambaNova",
];

/// A stream that is about to start.
pub(super) struct Performance(Script);

/// What the client is sent, as it comes.
pub(super) struct Events {
    id: String,
    receiver: UnboundedReceiver<Bytes>,
}

impl Performance {
    pub(super) fn prepare(outcome: &Outcome, control: &Control) -> serde_json::Result<Self> {
        script(outcome, control).map(Self)
    }

    /// Generates at the wished pace, bills, and ends early if the client leaves and the provider
    /// stops then.
    pub(super) fn start(
        self,
        state: Arc<State>,
        flight: Flight,
        outcome: Outcome,
        order: Order,
    ) -> Events {
        let (sender, receiver) = unbounded_channel();
        let id = outcome.generation.id.clone();
        tokio::spawn(async move {
            let runs_on = order.control.streaming.runs_on;
            let runs_on =
                runs_on.unwrap_or_else(|| RUN_ON.contains(&outcome.generation.provider.as_str()));
            let transport = &order.control.transport;
            let packing =
                transport.packed.then(|| Packing::new(Vec::new(), Compression::default()));
            let stage =
                Stage { sender, runs_on, fault: transport.fault, packing: Mutex::new(packing) };
            if let Some(before) = &transport.before {
                stage.send(before.clone());
            }
            let before =
                transport.header_delay + transport.delay.unwrap_or(state.config.default_delay);
            match stage.perform(self.0, before, order.control.streaming.chunk_delay).await {
                Played::Text { closing } => {
                    state.bill.finish(outcome.generation);
                    for event in closing.into_iter().chain(order.control.transport.after.clone()) {
                        stage.send(event);
                    }
                    stage.end();
                }
                Played::Left { tokens } => {
                    state.bill.finish(outcome.cancelled(&order.control, tokens));
                }
            }
            drop(flight);
        });
        Events { id, receiver }
    }
}

/// Where the events come from.
struct Stage {
    sender: UnboundedSender<Bytes>,
    runs_on: bool,
    fault: Option<Fault>,
    packing: Mutex<Option<Packing>>,
}

/// A stream that is packed, event by event.
type Packing = GzEncoder<Vec<u8>>;

/// How far a generation came.
enum Played {
    /// To its end; what is left to send.
    Text { closing: Vec<String> },
    /// The client left after so many tokens.
    Left { tokens: u64 },
}

impl Stage {
    async fn perform(&self, script: Script, before: Duration, between: Duration) -> Played {
        for event in script.opening {
            self.send(event);
        }
        let mut tokens = 0;
        if !self.waits(before).await {
            return Played::Left { tokens };
        }
        for piece in script.text {
            if !self.waits(between).await {
                return Played::Left { tokens };
            }
            tokens = piece.tokens;
            self.send(piece.event);
        }
        Played::Text { closing: script.closing }
    }

    /// Lets time pass; false as soon as there is no reason to go on.
    async fn waits(&self, duration: Duration) -> bool {
        if self.runs_on {
            pause(duration).await;
            return true;
        }
        tokio::select! {
            () = self.sender.closed() => false,
            () = pause(duration) => true,
        }
    }

    fn send(&self, event: String) {
        let event = match self.fault {
            Some(fault @ (Fault::Nul | Fault::NotUtf8 | Fault::Surrogates)) => fault.spoil(event),
            _ => event.into_bytes(),
        };
        let event = match &mut *self.packing.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(packing) => {
                // Writing to memory does not fail.
                let _ = packing.write_all(&event).and_then(|()| packing.flush());
                std::mem::take(packing.get_mut())
            }
            None => event,
        };
        // Nobody receives it when the client has left.
        let _ = self.sender.send(event.into());
    }

    /// Sends what a packed stream ends with.
    fn end(&self) {
        let packing = self.packing.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(end) = packing.and_then(|packing| packing.finish().ok()) {
            let _ = self.sender.send(end.into());
        }
    }
}

struct Delivery {
    state: Arc<State>,
    events: Events,
    shears: Shears,
    fault: Option<Fault>,
    /// Events that were sent.
    sent: usize,
    over: bool,
    _flight: Flight,
}

/// Events after which a stream with the fault `cut_chunked` is cut.
const CUT_AFTER: usize = 5;

/// The 200 response; its body ends with the events.
pub(super) fn respond(
    state: Arc<State>,
    flight: Flight,
    events: Events,
    shears: Shears,
    fault: Option<Fault>,
) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (GENERATION_ID, value(&events.id)),
    ];
    let delivery = Delivery { state, events, shears, fault, sent: 0, over: false, _flight: flight };
    (headers, Body::from_stream(stream::unfold(delivery, Delivery::next))).into_response()
}

impl Delivery {
    async fn next(mut self) -> Option<(io::Result<Bytes>, Self)> {
        if self.over {
            return None;
        }
        if self.sent == 1 {
            // The connection writes to the socket when its body has nothing ready.
            yield_now().await;
            self.state.bill.id_sent(&self.events.id);
            if self.fault == Some(Fault::ResetAfterHeaders) {
                self.shears.reset();
                return self.broken(ErrorKind::ConnectionReset).await;
            }
        }
        if self.sent == CUT_AFTER && self.fault == Some(Fault::CutChunked) {
            return self.broken(ErrorKind::UnexpectedEof).await;
        }
        match self.events.receiver.recv().await {
            Some(event) => {
                self.sent += 1;
                Some((Ok(event), self))
            }
            None => {
                self.state.bill.delivered(&self.events.id);
                None
            }
        }
    }

    /// The end of a connection that has written what it was given.
    async fn broken(mut self, kind: ErrorKind) -> Option<(io::Result<Bytes>, Self)> {
        yield_now().await;
        self.over = true;
        Some((Err(kind.into()), self))
    }
}
