//! Writes down which principal a role has, before its first call.

use crate::openrouter::failure::{Failure, FailureKind};
use crate::pg::xact;
use crate::principals;

/// The principal of this role, durable by now.
pub fn take(role: u32, name: &str) -> Result<String, Failure> {
    xact::transaction(|| principals::take(role, name)).map_err(|aborted| {
        Failure::new(FailureKind::Unavailable, "whose the call is cannot be written down")
            .detail(aborted.message)
            .hint("Try again; pg_locks shows who holds a lock on hiems_private.principals.")
    })
}
