//! What only a fake can tell: GET /fake/bill and /fake/health, for scripts.

use std::sync::Arc;

use axum::extract::State as Shared;
use axum::response::Response;

use crate::state::State;

/// Every generation, amounts as strings.
pub(super) async fn bill(Shared(state): Shared<Arc<State>>) -> Response {
    super::json(&state.bill.generations())
}

pub(super) async fn health() -> &'static str {
    "ok\n"
}
