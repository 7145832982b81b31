//! Rows that go because they are old: the only ones that ever leave the ledger.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pgrx::spi::SpiResult;
use uuid::Uuid;

use crate::pg::spi;
use crate::rows::ids;

/// True while this process deletes old rows: the trigger `append_only` lets a DELETE through then. No setting,
/// since a superuser can set each.
static DELETES: AtomicBool = AtomicBool::new(false);

struct Deleting;

impl Deleting {
    fn begin() -> Deleting {
        DELETES.store(true, Ordering::Relaxed);
        Deleting
    }
}

impl Drop for Deleting {
    // By the unwinding of an ERROR, too.
    fn drop(&mut self) {
        DELETES.store(false, Ordering::Relaxed);
    }
}

/// True while this process deletes old rows.
pub fn deletes_old_rows() -> bool {
    DELETES.load(Ordering::Relaxed)
}

// A call's row goes with its corrections, or its sums would not be right. That of a call in the journal stays: the
// sweep would book it once more. First as many as may be, by the index on created_at, then which of them: the ledger
// may have a hundred million rows, and the planner must not think that few of them pass. Where none does, the next
// look begins behind them. $2 bounds what goes, corrections too, but for those of a single call. $4: calls of which
// the journal does not know all yet.
const DELETE_OLD: &str = "
    WITH looked_at AS MATERIALIZED (
        SELECT id, created_at, adjusts FROM hiems.ai_usage_logs
        WHERE created_at >= coalesce($3::timestamptz, '-infinity')
          AND created_at < now() - make_interval(secs => $1)
        ORDER BY created_at LIMIT $2
    ), free AS (
        SELECT l.id, l.created_at,
               1 + (SELECT count(*) FROM hiems.ai_usage_logs AS a WHERE a.adjusts = l.id) AS rows
        FROM looked_at AS l
        WHERE NOT EXISTS (SELECT FROM hiems_private.calls AS c WHERE c.id = l.id)
          AND NOT EXISTS (SELECT FROM hiems.ai_usage_logs AS o WHERE o.id = l.adjusts)
          AND l.id NOT IN (SELECT unnest($4::uuid[]))
    ), old AS MATERIALIZED (
        SELECT id, created_at
        FROM (SELECT id, created_at, rows, sum(rows) OVER (ORDER BY created_at, id) AS total FROM free) AS f
        WHERE total <= $2 OR total = rows
    ), gone AS (
        DELETE FROM hiems.ai_usage_logs WHERE id = ANY (ARRAY(SELECT id FROM old))
    ), corrections AS (
        DELETE FROM hiems.ai_usage_logs WHERE adjusts = ANY (ARRAY(SELECT id FROM old))
    )
    SELECT count(*),
           to_char(coalesce((SELECT max(created_at) FROM old WHERE isfinite(created_at)),
                            max(created_at) FILTER (WHERE isfinite(created_at)) + interval '1 microsecond')
                   AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US+00')
    FROM looked_at";

/// What was deleted.
#[derive(Default)]
pub struct Deleted {
    /// How many rows were looked at.
    pub looked_at: usize,
    /// Where the next look may begin.
    pub next: Option<String>,
}

/// Looks at so many rows that are older than `retention`, the oldest first, and deletes those whose calls are done
/// with, and their corrections. `from`: no older ones are looked for; until the next vacuum, what has been deleted
/// would be in the way. `unwritten`: calls whose rows stay. For the gateway, in a transaction of its own, behind the
/// locks of the ledger and the journal.
pub fn delete_old(
    retention: Duration,
    from: Option<&str>,
    limit: usize,
    unwritten: &[Uuid],
) -> SpiResult<Deleted> {
    let _deleting = Deleting::begin();
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let arguments =
        [retention.as_secs_f64().into(), limit.into(), from.into(), ids(unwritten).into()];
    let deleted = spi::query(DELETE_OLD, &arguments, |row| {
        let count = row.get::<i64>(1)?.and_then(|count| usize::try_from(count).ok());
        Ok(Deleted { looked_at: count.unwrap_or_default(), next: row.get(2)? })
    })?;
    Ok(deleted.into_iter().next().unwrap_or_default())
}
