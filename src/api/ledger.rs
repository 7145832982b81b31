//! What the ledger's triggers ask.

use pgrx::prelude::*;

use crate::ledger;

/// True while this process deletes what is older than `hiems.ledger_retention`: in the gateway alone, and in its
/// own statement alone.
#[pg_extern(schema = "hiems_private", volatile, parallel_unsafe)]
fn deletes_old_rows() -> bool {
    ledger::deletes_old_rows()
}
