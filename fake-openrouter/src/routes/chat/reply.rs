//! The whole answer to an order, before it travels.

use std::io::Write;

use axum::http::header::{self, HeaderName};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::answer;
use crate::fault::Fault;
use crate::generate::Outcome;
use crate::order::Order;
use crate::refusal::{Refusal, late, sample};
use crate::words;

pub(super) const GENERATION_ID: HeaderName = HeaderName::from_static("x-generation-id");

/// A body with its head.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    pub(super) bytes_per_second: Option<u64>,
    pub(super) fault: Option<Fault>,
}

/// The error with which an order is refused; nothing is generated.
pub(super) fn refusal(order: &Order, status: StatusCode) -> Refusal {
    let wishes = &order.control.refusal;
    let model = &order.offer.permaslug;
    let mut refusal = sample(status, wishes.shape, wishes.reset, model, &order.offer.providers[0]);
    if let (429 | 503, Some(moment)) = (status.as_u16(), &wishes.retry_after) {
        refusal = refusal.with(header::RETRY_AFTER, moment.clone());
    }
    if status.is_redirection() {
        let here = HeaderValue::from_static("/api/v1/chat/completions");
        refusal = refusal.with(header::LOCATION, wishes.location.clone().unwrap_or(here));
    }
    if wishes.id {
        let id = format!("gen-1-{}", words::unique(20));
        refusal = refusal.with(GENERATION_ID, value(&id));
    }
    // A storm's refusals are plain: the literal body is that of the answer behind it.
    if let Some(text) = order.control.transport.body.clone().filter(|_| wishes.status.is_some()) {
        refusal = refusal.saying(text);
    }
    if let Some(kind) = &order.control.transport.content_type {
        refusal = refusal.with(header::CONTENT_TYPE, kind.clone());
    }
    refusal
}

impl Reply {
    /// What is answered when the generation is done: the answer, or an error in its place.
    pub(super) fn prepare(outcome: &Outcome, order: &Order) -> serde_json::Result<Self> {
        let control = &order.control;
        let generation = &outcome.generation;
        let used = || answer::told(outcome, control).map(serde_json::to_value).transpose();
        let (status, mut headers, text) = if let Some(status) = control.refusal.status {
            let refusal = refusal(order, status);
            refusal.having_used(&generation.id, &generation.model, used()?).into_parts()
        } else if let Some(code) = &control.refusal.late {
            let refusal = late(code, &generation.model, &generation.provider);
            let used = if control.refusal.billed { used()? } else { None };
            refusal.having_used(&generation.id, &generation.model, used).into_parts()
        } else {
            (StatusCode::OK, HeaderMap::new(), answer::render(outcome, control)?)
        };
        let json = HeaderValue::from_static("application/json");
        headers.entry(header::CONTENT_TYPE).or_insert(json);
        headers.insert(GENERATION_ID, value(&generation.id));
        if let Some(source) = &generation.response_cache_source_id {
            headers.insert("x-openrouter-cache-status", HeaderValue::from_static("HIT"));
            headers.insert("x-openrouter-cache-source-id", value(source));
            headers.insert("x-openrouter-cache-age", HeaderValue::from_static("60"));
            headers.insert("x-openrouter-cache-ttl", HeaderValue::from_static("300"));
        }
        if let Some(kind) = &control.transport.content_type {
            headers.insert(header::CONTENT_TYPE, kind.clone());
        }
        let fault = control.transport.fault;
        let text = control.transport.body.clone().unwrap_or(text);
        let body = match fault {
            Some(fault) => fault.spoil(text),
            None => text.into_bytes(),
        };
        let mut body = control.transport.framed(body);
        if control.transport.packed {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            body = packed(&[b"\n   ", &body[..]].concat());
        }
        let bytes_per_second = control.transport.bytes_per_second;
        Ok(Self { status, headers, body, bytes_per_second, fault })
    }
}

/// Ids are letters, digits and dashes.
pub(super) fn value(id: &str) -> HeaderValue {
    HeaderValue::from_str(id).unwrap_or(HeaderValue::from_static(""))
}

fn packed(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // Writing to memory does not fail.
    encoder.write_all(body).and_then(|()| encoder.finish()).unwrap_or_default()
}
