//! Which calls are next: of each model the first ones by priority and age, as many as it has room for.

use std::time::Duration;

use pgrx::spi::SpiResult;
use serde::Serialize;
use uuid::Uuid;

use super::origin;
use crate::ledger::Entry;
use crate::pg::spi;
use crate::rows::json;

/// A call out of the queue.
#[derive(Clone, Debug)]
pub struct Job {
    /// `attempts`: how often it has been sent.
    pub entry: Entry,
    pub body: String,
    pub priority: i32,
    pub max_attempts: i32,
    pub enqueued_at: String,
    pub caller_xid: String,
    pub charges_beyond_tokens: bool,
}

/// How many more calls of a model may be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Room {
    pub model: String,
    pub room: i64,
}

// The models are stepped through by the index, and so are the first calls of each: a long queue of one costs
// the others nothing. $1: the room of models that have another than $2; $3: of all together.
const PICK: &str = "
    WITH RECURSIVE model AS (
        (SELECT q.model FROM hiems_private.queue AS q
         WHERE q.state = 'queued' AND q.run_at IS NULL ORDER BY q.model LIMIT 1)
        UNION ALL
        SELECT (SELECT q.model FROM hiems_private.queue AS q
                WHERE q.state = 'queued' AND q.run_at IS NULL AND q.model > m.model
                ORDER BY q.model LIMIT 1)
        FROM model AS m WHERE m.model IS NOT NULL
    ), ready AS MATERIALIZED (
        SELECT j.id, j.priority
        FROM (SELECT m.model FROM model AS m WHERE m.model IS NOT NULL LIMIT 500) AS m
        LEFT JOIN jsonb_to_recordset($1::jsonb) AS p (model text, room bigint) ON p.model = m.model
        CROSS JOIN LATERAL (
            SELECT q.id, q.priority FROM hiems_private.queue AS q
            WHERE q.state = 'queued' AND q.run_at IS NULL AND q.model = m.model
            ORDER BY q.priority DESC, q.id
            LIMIT coalesce(p.room, $2)
            FOR UPDATE SKIP LOCKED) AS j
        ORDER BY j.priority DESC, j.id
        LIMIT $3
    )
    SELECT entry::text, body, priority, max_attempts,
           to_char(enqueued_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US+00'), caller_xid::text,
           charges_beyond_tokens, attempts, id::text, origin = $4 AND body IS NOT NULL
    FROM (SELECT q.*, r.body, sum(octet_length(r.body)) OVER (ORDER BY q.priority DESC, q.id) AS bytes
          FROM ready
          JOIN hiems_private.queue AS q ON q.id = ready.id
          LEFT JOIN hiems_private.requests AS r ON r.call_id = q.id) AS next
    WHERE coalesce(bytes - octet_length(body), 0) < $5
    ORDER BY priority DESC, id";

/// Requests are held in memory: of more than so many bytes together not all are taken at once.
const MOST_BYTES: i64 = 64 * 1024 * 1024;

// Whose time has come.
const PROMOTE: &str = "
    UPDATE hiems_private.queue SET run_at = NULL
    WHERE id IN (SELECT q.id FROM hiems_private.queue AS q
                 WHERE q.state = 'queued' AND q.run_at <= clock_timestamp()
                 ORDER BY q.run_at LIMIT 1000
                 FOR UPDATE SKIP LOCKED)
    RETURNING true";
const UNTIL_NEXT: &str = "
    SELECT ceil(extract(epoch FROM min(run_at) - clock_timestamp()) * 1000)::bigint
    FROM hiems_private.queue WHERE state = 'queued' AND run_at IS NOT NULL";

/// The next calls, at most `total`, locked until the end of this transaction. `rooms`: of the models that
/// have another room than `room`. The error: this one is not this database's own to send. A dump has no
/// requests; and from a backup, from what this is a copy of, or from the timeline that a standby was promoted from, it may
/// have been sent since.
pub fn pick(rooms: &[Room], room: i64, total: i64) -> SpiResult<Vec<Result<Job, Uuid>>> {
    let arguments =
        [json(&rooms).into(), room.into(), total.into(), origin().into(), MOST_BYTES.into()];
    let jobs = spi::query(PICK, &arguments, |row| {
        let call = row.get::<String>(9)?.and_then(|id| Uuid::parse_str(&id).ok());
        let entry: Option<Entry> =
            row.get::<String>(1)?.and_then(|text| serde_json::from_str(&text).ok());
        let body = row.get::<String>(2)?.filter(|_| matches!(row.get::<bool>(10), Ok(Some(true))));
        let (Some(mut entry), Some(body)) = (entry, body) else { return Ok(call.map(Err)) };
        entry.attempts = row.get::<i32>(8)?.unwrap_or_default();
        Ok(Some(Ok(Job {
            entry,
            body,
            priority: row.get(3)?.unwrap_or_default(),
            max_attempts: row.get(4)?.unwrap_or_default(),
            enqueued_at: row.get(5)?.unwrap_or_default(),
            caller_xid: row.get(6)?.unwrap_or_default(),
            charges_beyond_tokens: row.get(7)?.unwrap_or_default(),
        })))
    })?;
    Ok(jobs.into_iter().flatten().collect())
}

/// Makes those ready whose time has come; gives their number.
pub fn promote() -> SpiResult<usize> {
    Ok(spi::query(PROMOTE, &[], |_| Ok(()))?.len())
}

/// How long until the time of the next one comes; None: there is none.
pub fn until_next() -> SpiResult<Option<Duration>> {
    let found = spi::read(UNTIL_NEXT, &[], |row| row.get::<i64>(1))?;
    let milliseconds = found.into_iter().flatten().next();
    Ok(milliseconds.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or_default())))
}

impl Job {
    /// The call's id.
    pub fn call(&self) -> Uuid {
        self.entry.id
    }

    /// The model that it asks.
    pub fn model(&self) -> &str {
        &self.entry.model_requested
    }
}
