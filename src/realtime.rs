//! What the gateway tells listeners, by ids only, since LISTEN has no access control: channel `hiems_usage` of
//! new ledger rows (`hiems.notify = 'coalesced'`; what a caller's own commit tells is the trigger in
//! `sql/85_realtime.sql`), channel `hiems_calls` of calls out of the queue that have ended.

use pgrx::spi::SpiResult;
use uuid::Uuid;

use crate::pg::{notify, spi};
use crate::rows::ids;
use crate::supabase::broadcast;

// A hundred to a message: some 4,000 octets, and the limit is 8,000. A full queue fails the transactions that
// notify, at commit: silent well before.
const TELL: &str = r#"
    SELECT pg_notify('hiems_usage', format('{"v":1,"count":%s,"ids":["%s"]}', count(*),
                                           string_agg(numbered.id::text, '","')))
    FROM (SELECT id, (number - 1) / 100 AS message
          FROM unnest($1::uuid[]) WITH ORDINALITY AS row (id, number)
          WHERE pg_notification_queue_usage() <= 0.9) AS numbered
    GROUP BY numbered.message
    ORDER BY numbered.message"#;

/// How full the queue of messages may be.
const FULL: f64 = 0.9;

const CALLS_ENDED: &str = "
    SELECT pg_notify('hiems_calls', id::text) FROM unnest($1::uuid[]) AS id
    WHERE pg_notification_queue_usage() <= 0.9";

/// Tells of rows that a caller books, with its commit: what the trigger in `sql/85_realtime.sql` does after a statement.
pub fn tell_of_booking(rows: impl ExactSizeIterator<Item = Uuid>) {
    if notify::queue_usage() > FULL {
        return;
    }
    let count = rows.len();
    let ids: Vec<String> = rows.take(100).map(|id| format!("\"{id}\"")).collect();
    let ids = ids.join(",");
    notify::notify("hiems_usage", &format!(r#"{{"v":1,"count":{count},"ids":[{ids}]}}"#));
}

/// Tells of these ledger rows with the commit of this transaction, which must have them in its ledger: listeners
/// if `notifies`, and, soon after the commit, those who have joined Supabase's channels.
pub fn tell(rows: &[Uuid], notifies: bool) -> SpiResult<()> {
    if rows.is_empty() {
        return Ok(());
    }
    broadcast::add(rows)?;
    if !notifies {
        return Ok(());
    }
    spi::read(TELL, &[ids(rows).into()], |_| Ok(())).map(|_| ())
}

/// Tells that these calls of the queue have ended, with the commit of this transaction.
pub fn tell_ended(calls: &[Uuid]) -> SpiResult<()> {
    if calls.is_empty() {
        return Ok(());
    }
    spi::read(CALLS_ENDED, &[ids(calls).into()], |_| Ok(())).map(|_| ())
}
