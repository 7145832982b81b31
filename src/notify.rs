//! Channels that tell of calls: ids only, since LISTEN has no access control.

use pgrx::spi::SpiResult;
use uuid::Uuid;

use crate::pg::spi;

// A full queue of notifications fails the transactions that notify, at commit: silent well before.
const CALLS_ENDED: &str = "
    SELECT pg_notify('hiems_calls', id) FROM unnest($1::text[]) AS id
    WHERE pg_notification_queue_usage() < 0.9";

/// Tells channel `hiems_calls` that these calls of the queue have ended, with the commit of this transaction.
pub fn calls_ended(calls: &[Uuid]) -> SpiResult<()> {
    if calls.is_empty() {
        return Ok(());
    }
    let ids: Vec<String> = calls.iter().map(Uuid::to_string).collect();
    spi::execute(CALLS_ENDED, &[ids.into()])
}
