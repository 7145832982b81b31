//! What the gateway tells listeners, by ids only, since LISTEN has no access control: channel `hiems_usage` of
//! new ledger rows (`hiems.notify = 'coalesced'`; what a caller's own commit tells is the trigger in
//! `sql/85_realtime.sql`), channel `hiems_calls` of calls out of the queue that have ended.

use pgrx::spi::SpiResult;
use uuid::Uuid;

use crate::pg::spi;
use crate::rows::ids;
use crate::supabase::broadcast;

// A hundred to a message: some 4,000 octets, and the limit is 8,000. A full queue fails the transactions that
// notify, at commit: silent well before.
const TELL: &str = r#"
    SELECT pg_notify('hiems_usage', format('{"v":1,"count":%s,"ids":["%s"]}', count(*),
                                           string_agg(numbered.id, '","')))
    FROM (SELECT id, (number - 1) / 100 AS message
          FROM unnest($1::text[]) WITH ORDINALITY AS row (id, number)
          WHERE pg_notification_queue_usage() <= 0.9) AS numbered
    GROUP BY numbered.message
    ORDER BY numbered.message"#;

const CALLS_ENDED: &str = "
    SELECT pg_notify('hiems_calls', id) FROM unnest($1::text[]) AS id
    WHERE pg_notification_queue_usage() <= 0.9";

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
