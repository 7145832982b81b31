//! What listeners are told, by ids only, since LISTEN has no access control: channel `hiems_usage` of new ledger rows,
//! channel `hiems_calls` of calls out of the queue that have ended. What a statement books is told by the trigger in
//! `sql/85_realtime.sql`.

use pgrx::spi::SpiResult;
use uuid::Uuid;

use crate::pg::notify;
use crate::supabase::broadcast;

/// A hundred to a message: some 4,000 octets, and the limit is 8,000.
const IDS: usize = 100;

/// How full the queue of messages may be. A full one fails the transactions that notify, at commit: silent well before.
const FULL: f64 = 0.9;

/// Tells listeners of rows that a caller books, with its commit: in one message, as the trigger does after a statement.
pub fn tell_of_booking(rows: &[Uuid]) {
    if notify::queue_usage() <= FULL {
        notify_of(rows.len(), &rows[..rows.len().min(IDS)]);
    }
}

/// Tells of these ledger rows with the commit of this transaction, which must have them in its ledger: listeners
/// if `notifies`, and, soon after the commit, those who have joined Supabase's channels.
pub fn tell(rows: &[Uuid], notifies: bool) -> SpiResult<()> {
    if rows.is_empty() {
        return Ok(());
    }
    broadcast::add(rows)?;
    if notifies && notify::queue_usage() <= FULL {
        rows.chunks(IDS).for_each(|ids| notify_of(ids.len(), ids));
    }
    Ok(())
}

fn notify_of(count: usize, ids: &[Uuid]) {
    let ids: Vec<String> = ids.iter().map(|id| format!("\"{id}\"")).collect();
    let ids = ids.join(",");
    notify::notify("hiems_usage", &format!(r#"{{"v":1,"count":{count},"ids":[{ids}]}}"#));
}

/// Tells that these calls of the queue have ended, with the commit of this transaction.
pub fn tell_ended(calls: &[Uuid]) {
    if !calls.is_empty() && notify::queue_usage() <= FULL {
        calls.iter().for_each(|call| notify::notify("hiems_calls", &call.to_string()));
    }
}
