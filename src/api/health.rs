//! Whether hiems is well.

use pgrx::prelude::*;

use crate::access::{self, Level};
use crate::error::{Error, or_raise};
use crate::health::{self, Finding};

/// One row per check: its name, 'ok', 'warn' or 'fail', what was found, and what to do (NULL: nothing).
/// Starts the gateway where none is up. Raises 42501 without the level admin.
#[pg_extern(schema = "hiems", volatile, parallel_unsafe)]
fn health() -> TableIterator<
    'static,
    (
        name!(name, String),
        name!(status, String),
        name!(detail, String),
        name!(hint, Option<String>),
    ),
> {
    let findings = or_raise(check());
    TableIterator::new(findings.into_iter().map(|finding| {
        let Finding { name, status, detail, hint } = finding;
        (name.to_owned(), status.to_owned(), detail, hint)
    }))
}

fn check() -> Result<Vec<Finding>, Error> {
    access::require(Level::Admin)?;
    health::check()
}
