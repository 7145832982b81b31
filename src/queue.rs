//! The queue: calls that the gateway makes later. The only writer of `hiems_private.queue` and
//! `hiems_private.requests`. Backends enqueue and cancel in their own transactions; the gateway takes out
//! and puts back in its own.

mod origin;
mod pick;

use std::time::Duration;

use pgrx::spi::SpiResult;
use serde::Serialize;
use uuid::Uuid;

use crate::ledger::Entry;
use crate::openrouter::failure::Failure;
use crate::pg::{lock, memory, spi};
use crate::rows::{id, ids, json};

pub use origin::origin;
pub use pick::{Job, Room, pick, promote, until_next};

/// A call to be made later.
#[derive(Clone, Debug, Serialize)]
pub struct NewJob {
    pub id: Uuid,
    /// As JSON text of a `timestamptz`; None: as soon as there is room.
    pub run_at: Option<String>,
    /// Higher ones first.
    pub priority: i32,
    pub max_attempts: i32,
    pub charges_beyond_tokens: bool,
    pub entry: Entry,
    #[serde(skip)]
    pub body: String,
}

const ENQUEUE: &str = "
    INSERT INTO hiems_private.queue
        (id, state, run_at, priority, model, attempts, max_attempts, enqueued_at, caller_xid, origin,
         charges_beyond_tokens, principal, entry)
    SELECT j.id, 'queued', CASE WHEN j.run_at > clock_timestamp() THEN j.run_at END, j.priority,
           j.entry ->> 'model_requested', 0, j.max_attempts, clock_timestamp(), pg_current_xact_id(), $2,
           j.charges_beyond_tokens, j.entry ->> 'principal', j.entry
    FROM jsonb_to_recordset($1::jsonb)
        AS j (id uuid, run_at timestamptz, priority integer, max_attempts integer,
              charges_beyond_tokens boolean, entry jsonb)";
const KEEP_REQUESTS: &str = "
    INSERT INTO hiems_private.requests (call_id, body)
    SELECT * FROM unnest($1::uuid[], $2::text[])";

const CANCEL: &str = "
    WITH cancelled AS (
        DELETE FROM hiems_private.queue
        WHERE id = $1::uuid AND ($2 IS NULL OR principal = $2) AND state <> 'failed' RETURNING id
    ), forgotten AS (
        DELETE FROM hiems_private.requests WHERE call_id IN (SELECT id FROM cancelled)
    )
    SELECT true FROM cancelled";

const TAKE: &str = "
    WITH taken AS (DELETE FROM hiems_private.queue WHERE id = ANY ($1::uuid[]))
    DELETE FROM hiems_private.requests WHERE call_id = ANY ($1::uuid[])";

// No key can be had: it waits, and that is no attempt.
const PUT_OFF: &str = "
    UPDATE hiems_private.queue AS q
    SET run_at = clock_timestamp() + make_interval(secs => $2), failure = p.failure
    FROM jsonb_to_recordset($1::jsonb) AS p (id uuid, failure jsonb)
    WHERE q.id = p.id";

// It waits for as long as it has waited already, within bounds: what never can be written is tried ever more rarely.
const SET_ASIDE: &str = "
    UPDATE hiems_private.queue
    SET run_at = clock_timestamp()
                 + least(greatest(clock_timestamp() - enqueued_at, interval '30 s'), interval '10 min'),
        failure = $2::jsonb
    WHERE id = $1::uuid AND state = 'queued'";

const PUT_BACK: &str = "
    INSERT INTO hiems_private.queue
        (id, state, run_at, priority, model, attempts, max_attempts, enqueued_at, caller_xid, origin,
         charges_beyond_tokens, principal, entry, failure, failed_at)
    SELECT b.id, CASE WHEN b.is_over THEN 'failed' ELSE 'queued' END,
           CASE WHEN NOT b.is_over THEN clock_timestamp() + make_interval(secs => b.wait_seconds) END,
           b.priority, b.entry ->> 'model_requested', b.attempts, b.max_attempts, b.enqueued_at,
           b.caller_xid, $2, b.charges_beyond_tokens, b.entry ->> 'principal', b.entry, b.failure,
           CASE WHEN b.is_over THEN clock_timestamp() END
    FROM jsonb_to_recordset($1::jsonb)
        AS b (id uuid, is_over boolean, wait_seconds double precision, priority integer,
              attempts integer, max_attempts integer, enqueued_at timestamptz, caller_xid xid8,
              charges_beyond_tokens boolean, entry jsonb, failure jsonb)
    ON CONFLICT (id) DO NOTHING";

const PAUSE: &str = "
    UPDATE hiems_private.queue SET state = 'paused' WHERE id = ANY ($1::uuid[])";
const RESUME: &str = "
    WITH resumed AS (
        UPDATE hiems_private.queue AS q SET state = 'queued', origin = $1
        WHERE state = 'paused'
          AND EXISTS (SELECT FROM hiems_private.requests AS r WHERE r.call_id = q.id)
        RETURNING id
    )
    SELECT count(*) FROM resumed";

const PURGE: &str = "
    DELETE FROM hiems_private.queue
    WHERE state = 'failed' AND failed_at <= now() - make_interval(secs => $1)";

const ANY: &str = "SELECT EXISTS (SELECT FROM hiems_private.queue WHERE state = 'queued')";
const STILL_THERE: &str = "
    SELECT id::text, principal FROM hiems_private.queue WHERE id = ANY ($1::uuid[]) AND state = 'queued'";

/// True once this transaction may write to both tables: nobody's lock is in the way.
pub fn try_lock() -> bool {
    [c"queue", c"requests"].iter().all(|t| lock::try_lock_for_writing(c"hiems_private", t))
}

/// True once this transaction may read the queue.
pub fn try_lock_for_reading() -> bool {
    lock::try_lock_for_reading(c"hiems_private", c"queue")
}

/// Enqueues calls in the caller's own transaction: they are made once it is committed.
pub fn enqueue(jobs: Vec<NewJob>) -> SpiResult<()> {
    let ids: Vec<String> = jobs.iter().map(|job| job.id.to_string()).collect();
    // A statement may enqueue very many, some thousands at a time.
    memory::given_back(|| {
        spi::execute(ENQUEUE, &[json(&jobs).into(), origin().into()])?;
        let bodies: Vec<String> = jobs.into_iter().map(|job| job.body).collect();
        spi::execute(KEEP_REQUESTS, &[ids.into(), bodies.into()])
    })
}

/// Takes a call out, in the caller's own transaction; `principal`: whose it has to be, None: anybody's.
/// False where it is not in the queue.
pub fn cancel(call: Uuid, principal: Option<&str>) -> SpiResult<bool> {
    let arguments = [call.to_string().into(), principal.into()];
    Ok(!spi::query(CANCEL, &arguments, |_| Ok(()))?.is_empty())
}

/// Takes calls out that the same transaction journals as about to be sent.
pub fn take(calls: &[Uuid]) -> SpiResult<()> {
    if calls.is_empty() { Ok(()) } else { spi::execute(TAKE, &[ids(calls).into()]) }
}

/// Leaves calls that have no key for so long.
pub fn put_off(calls: &[(Uuid, Failure)], wait: Duration) -> SpiResult<()> {
    #[derive(Serialize)]
    struct Row<'a> {
        id: Uuid,
        failure: &'a Failure,
    }
    let rows: Vec<Row> = calls.iter().map(|(id, failure)| Row { id: *id, failure }).collect();
    if rows.is_empty() {
        return Ok(());
    }
    spi::execute(PUT_OFF, &[json(&rows).into(), wait.as_secs_f64().into()])
}

/// Leaves a call for a while that cannot be taken out, though nobody's lock is in the way; `failure` says why.
pub fn set_aside(call: Uuid, failure: &Failure) -> SpiResult<()> {
    spi::execute(SET_ASIDE, &[id(call).into(), json(failure).into()])
}

/// A call that was surely not billed, and goes back into the queue.
pub struct PutBack {
    pub job: Job,
    /// How long it is left alone; None: it is given up.
    pub wait: Option<Duration>,
    pub failure: Failure,
}

/// Puts calls back that this transaction takes out of the journal.
pub fn put_back(calls: &[&PutBack]) -> SpiResult<()> {
    #[derive(Serialize)]
    struct Row<'a> {
        id: Uuid,
        is_over: bool,
        wait_seconds: f64,
        priority: i32,
        attempts: i32,
        max_attempts: i32,
        enqueued_at: &'a str,
        caller_xid: &'a str,
        charges_beyond_tokens: bool,
        entry: &'a Entry,
        failure: &'a Failure,
    }
    if calls.is_empty() {
        return Ok(());
    }
    let row = |back: &&'_ PutBack| {
        let PutBack { job, wait, failure } = back;
        json(&Row {
            id: job.entry.id,
            is_over: wait.is_none(),
            wait_seconds: wait.unwrap_or_default().as_secs_f64(),
            priority: job.priority,
            attempts: job.entry.attempts,
            max_attempts: job.max_attempts,
            enqueued_at: &job.enqueued_at,
            caller_xid: &job.caller_xid,
            charges_beyond_tokens: job.charges_beyond_tokens,
            entry: &job.entry,
            failure,
        })
    };
    let rows: Vec<String> = calls.iter().map(row).collect();
    spi::execute(PUT_BACK, &[format!("[{}]", rows.join(",")).into(), origin().into()])?;
    let again: Vec<&&PutBack> = calls.iter().filter(|back| back.wait.is_some()).collect();
    let ids: Vec<String> = again.iter().map(|back| back.job.entry.id.to_string()).collect();
    let bodies: Vec<String> = again.iter().map(|back| back.job.body.clone()).collect();
    spi::execute(KEEP_REQUESTS, &[ids.into(), bodies.into()])
}

/// Pauses calls that are not this server's, or not this database's, own to send.
pub fn pause(calls: &[Uuid]) -> SpiResult<()> {
    if calls.is_empty() { Ok(()) } else { spi::execute(PAUSE, &[ids(calls).into()]) }
}

/// Has paused calls made after all, those whose requests are there. Gives their number.
pub fn resume() -> SpiResult<i64> {
    let count = spi::query(RESUME, &[origin().into()], |row| row.get::<i64>(1))?;
    Ok(count.into_iter().flatten().sum())
}

/// Forgets what was given up longer ago than that.
pub fn purge(retention: Duration) -> SpiResult<()> {
    spi::execute(PURGE, &[retention.as_secs_f64().into()])
}

/// True if any call waits to be made.
pub fn is_any_queued() -> SpiResult<bool> {
    let found = spi::read(ANY, &[], |row| row.get::<bool>(1))?;
    Ok(found.into_iter().flatten().any(|any| any))
}

/// Those of the calls that still wait to be made, and whose each is.
pub fn still_queued(calls: &[Uuid]) -> SpiResult<Vec<(Uuid, String)>> {
    let found = spi::read(STILL_THERE, &[ids(calls).into()], |row| {
        let call = row.get::<String>(1)?.and_then(|id| Uuid::parse_str(&id).ok());
        Ok(call.zip(row.get::<String>(2)?))
    })?;
    Ok(found.into_iter().flatten().collect())
}
