//! NOTIFY without a statement.

use pgrx::{IntoDatum, direct_function_call, pg_sys};

/// Sends a message with the commit of this transaction: at most 7,999 octets.
pub fn notify(channel: &str, payload: &str) {
    let arguments = [channel.into_datum(), payload.into_datum()];
    // SAFETY: both are texts; it returns void.
    unsafe { direct_function_call::<()>(pg_sys::pg_notify, &arguments) };
}

/// How full the queue of messages is: 0 to 1.
pub fn queue_usage() -> f64 {
    // SAFETY: it takes nothing, and gives a double.
    unsafe { direct_function_call::<f64>(pg_sys::pg_notification_queue_usage, &[]) }.unwrap_or(1.0)
}
