//! Tells the gateway of a transaction that has changed the queue, once that has ended.

use std::cell::Cell;

use super::client;
use crate::error::Error;
use crate::pg::xact;

thread_local! {
    /// True while this transaction has told it already.
    static IS_TOLD: Cell<bool> = const { Cell::new(false) };
}

/// Has the gateway stay until the current transaction has ended, and look into the queue then.
pub fn look_at_end() -> Result<(), Error> {
    if !IS_TOLD.get() {
        client::stay()?;
        IS_TOLD.set(true);
        xact::at_end(wake);
    }
    Ok(())
}

fn wake() {
    IS_TOLD.set(false);
    client::wake();
}
