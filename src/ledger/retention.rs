//! Rows that go because they are old: the only ones that ever leave the ledger.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pgrx::spi::SpiResult;

use crate::pg::spi;

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
// sweep would book it once more. The oldest first, by the index on created_at.
const DELETE_OLD: &str = "
    WITH old AS MATERIALIZED (
        SELECT l.id FROM hiems.ai_usage_logs AS l
        WHERE l.created_at < now() - make_interval(secs => $1)
          AND NOT EXISTS (SELECT FROM hiems_private.calls AS c WHERE c.id = l.id)
          AND (l.adjusts IS NULL
               OR NOT EXISTS (SELECT FROM hiems.ai_usage_logs AS o WHERE o.id = l.adjusts))
        ORDER BY l.created_at LIMIT $2
    ), gone AS (
        DELETE FROM hiems.ai_usage_logs
        WHERE id IN (SELECT id FROM old
                     UNION ALL
                     SELECT a.id FROM old JOIN hiems.ai_usage_logs AS a ON a.adjusts = old.id)
    )
    SELECT count(*) FROM old";

/// Deletes at most so many calls' rows that are older than `retention`, the oldest first; how many those were.
/// For the gateway, in a transaction of its own, behind the locks of the ledger and the journal.
pub fn delete_old(retention: Duration, limit: usize) -> SpiResult<usize> {
    let _deleting = Deleting::begin();
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let arguments = [retention.as_secs_f64().into(), limit.into()];
    let counts = spi::query(DELETE_OLD, &arguments, |row| row.get::<i64>(1))?;
    let count = counts.into_iter().flatten().next().unwrap_or_default();
    Ok(usize::try_from(count).unwrap_or_default())
}
