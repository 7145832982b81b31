//! Sends an answer piece by piece and notes how far it got.
//!
//! Headers and a heartbeat go out at once, the JSON when the generation is done. A caller that
//! keeps the id from the headers can find out later what a lost answer cost.

use std::io;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use fastrand::Rng;
use futures_util::stream;
use tokio::sync::oneshot;
use tokio::task::yield_now;

use crate::in_flight::Flight;
use crate::state::State;

/// OpenRouter keeps waiting clients awake with blank lines before the JSON.
const HEARTBEAT: &str = "\n         ";

const GENERATION_ID: &str = "x-generation-id";

struct Delivery {
    state: Arc<State>,
    id: String,
    text: oneshot::Receiver<String>,
    heartbeat: String,
    stage: Stage,
    _flight: Flight,
}

enum Stage {
    Heartbeat,
    Text,
    End,
}

/// The 200 response; its body ends when `text` has come and gone.
pub(super) fn respond(
    state: Arc<State>,
    flight: Flight,
    id: String,
    text: oneshot::Receiver<String>,
    random: &mut Rng,
) -> Response {
    let headers =
        [(CONTENT_TYPE.as_str(), "application/json".to_owned()), (GENERATION_ID, id.clone())];
    let delivery = Delivery {
        state,
        id,
        text,
        heartbeat: HEARTBEAT.repeat(random.usize(1..=4)),
        stage: Stage::Heartbeat,
        _flight: flight,
    };
    (headers, Body::from_stream(stream::unfold(delivery, Delivery::next))).into_response()
}

impl Delivery {
    /// The next piece. The connection asks for it when it has taken the one before.
    async fn next(mut self) -> Option<(io::Result<Bytes>, Self)> {
        match self.stage {
            Stage::Heartbeat => {
                self.stage = Stage::Text;
                let heartbeat = std::mem::take(&mut self.heartbeat);
                Some((Ok(heartbeat.into()), self))
            }
            Stage::Text => {
                // The connection writes to the socket when its body has nothing ready.
                yield_now().await;
                self.state.bill.id_sent(&self.id);
                self.stage = Stage::End;
                let text = (&mut self.text).await.map(Bytes::from).map_err(io::Error::other);
                Some((text, self))
            }
            Stage::End => {
                self.state.bill.delivered(&self.id);
                None
            }
        }
    }
}
