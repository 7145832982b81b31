//! The HTTP endpoints, one file each.
//!
//! | endpoint | file |
//! |---|---|
//! | POST /api/v1/chat/completions | `chat` |
//! | GET /api/v1/generation | `generation` |
//! | GET /api/v1/key, /api/v1/credits | `account` |
//! | GET /api/v1/activity | `activity` |
//! | GET /api/v1/models, /api/v1/models/{author}/{slug}/endpoints | `catalog` |
//! | GET /fake/bill, /fake/health | `fake` |

mod account;
mod activity;
mod catalog;
mod chat;
mod fake;
mod generation;

use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;

use crate::refusal::Refusal;
use crate::state::State;

/// All endpoints on the given state.
pub(crate) fn router(state: Arc<State>) -> Router {
    let api = Router::new()
        .route("/chat/completions", post(chat::complete))
        .route("/generation", get(generation::show))
        .route("/key", get(account::key))
        .route("/credits", get(account::credits))
        .route("/activity", get(activity::list))
        .route("/models", get(catalog::list))
        .route("/models/{author}/{slug}/endpoints", get(catalog::endpoints));
    Router::new()
        .nest("/api/v1", api)
        .route("/fake/bill", get(fake::bill))
        .route("/fake/health", get(fake::health))
        .fallback(async || Refusal::not_found("Not Found"))
        .method_not_allowed_fallback(async || {
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed", None)
        })
        .with_state(state)
}

/// A 200 with the JSON text of a value, number tokens untouched.
fn json(value: &impl Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Err(fault) => Refusal::internal(&fault).into_response(),
    }
}

/// OpenRouter wraps what it answers to a GET in `data`.
#[derive(Serialize)]
struct Data<T> {
    data: T,
}
