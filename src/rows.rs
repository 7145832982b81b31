//! Many rows as one parameter of a statement.

use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

/// Rows as JSON text.
pub fn json(rows: &impl Serialize) -> String {
    // Only maps with keys that are not text cannot be written, and there are none.
    serde_json::value::to_raw_value(rows)
        .map_or_else(|_| "[]".to_owned(), |r: Box<RawValue>| r.get().to_owned())
}

/// Calls' ids, as PostgreSQL reads them.
pub fn ids(calls: &[Uuid]) -> Vec<String> {
    calls.iter().map(Uuid::to_string).collect()
}
