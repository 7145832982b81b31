//! POST /chat/completions: take the order, generate apart from the connection, deliver.
//!
//! The generation runs in a task of its own. Once an order is accepted it ends, and is billed,
//! whether or not anybody is still there to read the answer; only a stream can be stopped.

mod delivery;
mod reply;
mod sse;

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request, State as Shared};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::time::sleep;

use crate::auth;
use crate::bill::ReceivedRequest;
use crate::connection::Shears;
use crate::fault::Fault;
use crate::generate::generate;
use crate::order::Order;
use crate::refusal::Refusal;
use crate::state::State;

/// Longest body that is read.
const LARGEST_BODY: usize = 32 << 20;

pub(super) async fn complete(
    Shared(state): Shared<Arc<State>>,
    ConnectInfo(shears): ConnectInfo<Shears>,
    request: Request,
) -> Response {
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
    let accepted = auth::for_inference(&headers, &state.config)
        .and_then(|key| Ok((key.to_owned(), Order::parse(&body, &state.wishes())?)));
    let (key, order) = match accepted {
        Ok(accepted) => accepted,
        Err(refusal) => {
            record(&state, &headers, body, refusal.status(), None);
            return refusal.into_response();
        }
    };

    let control = &order.control;
    let before_headers = control.transport.header_delay;
    let duration = before_headers + control.transport.delay.unwrap_or(state.config.default_delay);
    let storm = control.refusal.storm(state.storms.turn(&order.storm));
    if let Some(status) = storm.or(control.refusal.status.filter(|_| !control.refusal.billed)) {
        record(&state, &headers, body, status.as_u16(), None);
        // A storm's refusals come at once: the delays are those of the answer behind it.
        pause(if storm.is_some() { Duration::ZERO } else { duration }).await;
        return reply::refusal(&order, status).into_response();
    }

    let mut random = state.next_random();
    let outcome = generate(&order, &headers, duration, &mut random);
    let id = outcome.generation.id.clone();
    let streams = order.stream && control.refusal.status.is_none();
    let prepared = if streams {
        sse::Performance::prepare(&outcome, control).map(Prepared::Stream)
    } else {
        reply::Reply::prepare(&outcome, &order).map(Prepared::Whole)
    };
    let prepared = match prepared {
        Ok(prepared) => prepared,
        Err(fault) => return Refusal::internal(&fault).into_response(),
    };
    state.bill.begin(&key, outcome.running(), control.lookup.clone());
    let fault = control.transport.fault;
    match prepared {
        Prepared::Whole(reply) => {
            record(&state, &headers, body, reply.status.as_u16(), Some(id));
            let generation = outcome.generation;
            let ready =
                delivery::start(state.clone(), flight.clone(), generation.clone(), duration);
            pause(before_headers).await;
            break_headers(&shears, fault);
            delivery::respond(state, flight, generation.id, reply, ready, shears, &mut random)
        }
        Prepared::Stream(performance) => {
            record(&state, &headers, body, 200, Some(id));
            let events = performance.start(state.clone(), flight.clone(), outcome, order);
            pause(before_headers).await;
            break_headers(&shears, fault);
            sse::respond(state, flight, events, shears, fault)
        }
    }
}

/// What will be answered, before anything is billed.
enum Prepared {
    Whole(reply::Reply),
    Stream(sse::Performance),
}

/// The faults that spare the client all that follows.
fn break_headers(shears: &Shears, fault: Option<Fault>) {
    match fault {
        Some(Fault::ResetBeforeHeaders) => shears.reset(),
        Some(Fault::CutHeaders) => shears.cut_after("HTTP/1.1 200 OK\r\nconte".len()),
        _ => {}
    }
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
