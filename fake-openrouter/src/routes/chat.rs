//! POST /chat/completions: take the order, generate apart from the connection, deliver.
//!
//! The generation runs in a task of its own. Once an order is accepted it ends, and is billed,
//! whether or not anybody is still there to read the answer.

mod delivery;

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State as Shared};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::bill::ReceivedRequest;
use crate::generate::{Outcome, generate};
use crate::in_flight::Flight;
use crate::order::Order;
use crate::refusal::{Refusal, sample};
use crate::state::State;
use crate::{answer, auth};

/// Longest body that is read.
const LARGEST_BODY: usize = 32 << 20;

pub(super) async fn complete(Shared(state): Shared<Arc<State>>, request: Request) -> Response {
    let flight = state.in_flight.enter();
    let (parts, body) = request.into_parts();
    let headers = parts.headers;
    let Ok(bytes) = to_bytes(body, LARGEST_BODY).await else {
        let refusal =
            Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "Request payload too large", None);
        record(&state, &headers, Value::Null, refusal.status(), None);
        return refusal.into_response();
    };
    let body = read(&bytes);
    let accepted = auth::accepted(&headers, &state.config)
        .and_then(|key| Ok((key.to_owned(), Order::parse(&body)?)));
    let (key, order) = match accepted {
        Ok(accepted) => accepted,
        Err(refusal) => {
            record(&state, &headers, body, refusal.status(), None);
            return refusal.into_response();
        }
    };

    let before_headers = order.control.header_delay;
    let duration = before_headers + order.control.delay.unwrap_or(state.config.default_delay);
    if let Some(status) = order.control.status {
        record(&state, &headers, body, status.as_u16(), None);
        pause(duration).await;
        let provider = &order.offer.providers[0];
        let retry_after = order.control.retry_after;
        return sample(status, &order.offer.permaslug, provider, retry_after).into_response();
    }

    let mut random = state.next_random();
    let outcome = generate(&order, &headers, duration, &mut random);
    let text = match answer::render(&outcome, &order.control) {
        Ok(text) => text,
        Err(fault) => return Refusal::internal(&fault).into_response(),
    };
    let id = outcome.generation.id.clone();
    state.bill.begin(&key, outcome.running());
    record(&state, &headers, body, 200, Some(id.clone()));
    let text = start(state.clone(), flight.clone(), outcome, text, duration);
    pause(before_headers).await;
    delivery::respond(state, flight, id, text, &mut random)
}

/// Lets the generation run to its end and bills it; its text is ready after `duration`.
fn start(
    state: Arc<State>,
    flight: Flight,
    outcome: Outcome,
    text: String,
    duration: Duration,
) -> oneshot::Receiver<String> {
    let (ready, receiver) = oneshot::channel();
    tokio::spawn(async move {
        pause(duration).await;
        state.bill.finish(outcome.generation);
        drop(flight);
        // Nobody receives it when the client has left.
        let _ = ready.send(text);
    });
    receiver
}

/// Sleeping for no time would still wait for the timer's next tick.
async fn pause(duration: Duration) {
    if !duration.is_zero() {
        sleep(duration).await;
    }
}

/// The body as JSON, or its raw text as a JSON string.
fn read(bytes: &Bytes) -> Value {
    serde_json::from_slice(bytes)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(bytes).into_owned()))
}

fn record(state: &State, headers: &HeaderMap, body: Value, status: u16, id: Option<String>) {
    let text =
        |value: &axum::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    state.bill.received(ReceivedRequest {
        key: auth::bearer(headers).unwrap_or_default().to_owned(),
        headers: headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body,
        status,
        generation_id: id,
    });
}
