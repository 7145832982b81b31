//! Asking OpenRouter for costs that are not known.

use pgrx::iter::TableIterator;
use pgrx::prelude::*;

use crate::access::{self, Level};
use crate::error::{Error, or_raise};
use crate::gateway;
use crate::gateway::protocol::Settlements;

/// Asks OpenRouter at once for every cost that is not known, also for those that were given up, and waits
/// for what it says; see the function's comment (`sql/90_grants_comments.sql`).
#[pg_extern(schema = "hiems", volatile, parallel_unsafe)]
fn settle_now() -> TableIterator<
    'static,
    (name!(settled, i64), name!(corrected, i64), name!(confirmed, i64), name!(unknown, i64)),
> {
    let Settlements { settled, corrected, confirmed, unknown } = or_raise(settle());
    TableIterator::once((settled, corrected, confirmed, unknown))
}

fn settle() -> Result<Settlements, Error> {
    access::require_to_change(Level::Admin)?;
    gateway::settle_now()
}
