//! Many rows as one parameter of a statement.

use serde::Serialize;
use uuid::Uuid;

/// Rows as JSON text.
pub fn json(rows: &impl Serialize) -> String {
    // Only maps with keys that are not text cannot be written, and there are none.
    serde_json::to_string(rows).unwrap_or_else(|_| "[]".to_owned())
}

/// Calls' ids, as a parameter.
pub fn ids(calls: &[Uuid]) -> Vec<pgrx::Uuid> {
    calls.iter().copied().map(id).collect()
}

/// A call's id, as a parameter.
pub fn id(call: Uuid) -> pgrx::Uuid {
    pgrx::Uuid::from_bytes(call.into_bytes())
}

/// A call's id, out of a row.
pub fn call(id: pgrx::Uuid) -> Uuid {
    Uuid::from_bytes(*id.as_bytes())
}
