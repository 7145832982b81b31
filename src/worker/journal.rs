//! `hiems_private.calls`: what is on its way. The only writer of it, but for the sweep in `ledger.rs`,
//! which moves what is done into the ledger. Every function runs in the gateway's own transaction.

use pgrx::spi::SpiResult;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::settlement::State;
use crate::ledger::Entry;
use crate::pg::{lock, spi};

/// A call about to be sent.
#[derive(Clone, Serialize, Deserialize)]
pub struct Intent {
    pub id: Uuid,
    pub caller_xid: String,
    pub principal: String,
    pub created_at: String,
    pub entry: Entry,
}

const INSERT: &str = "
    INSERT INTO hiems_private.calls
        (id, state, created_at, caller_xid, system_identifier, principal, entry)
    SELECT id, 'sent', created_at, caller_xid, $2, principal, entry
    FROM jsonb_to_recordset($1::jsonb)
        AS i (id uuid, created_at timestamptz, caller_xid xid8, principal text, entry jsonb)
    ON CONFLICT (id) DO NOTHING";

const GENERATIONS: &str = "
    UPDATE hiems_private.calls AS c SET generation_id = g.generation_id
    FROM jsonb_to_recordset($1::jsonb) AS g (id uuid, generation_id text)
    WHERE c.id = g.id AND c.generation_id IS NULL";

// Before it is sent again: what the first attempts gave says nothing of the next.
const SEND_AGAIN: &str = "
    UPDATE hiems_private.calls AS c
    SET generation_id = NULL, entry = c.entry || jsonb_build_object('attempts', a.attempts)
    FROM jsonb_to_recordset($1::jsonb) AS a (id uuid, attempts integer)
    WHERE c.id = a.id";

// How calls ended, with the rate of each call's day: the newest that is not after it.
macro_rules! ended {
    () => {
        "SELECT s.id, s.state, s.entry || jsonb_build_object(
                    'cost_sek', (s.entry ->> 'cost_usd')::numeric * r.sek_per_unit,
                    'usd_sek_rate', r.sek_per_unit,
                    'rate_date', r.rate_date,
                    'rate_source', r.source) AS entry
         FROM jsonb_to_recordset($1::jsonb) AS s (id uuid, state text, entry jsonb)
         LEFT JOIN LATERAL (
             SELECT sek_per_unit, rate_date, source
             FROM hiems_private.exchange_rates
             WHERE currency = 'USD'
               AND rate_date <= ((s.entry ->> 'created_at')::timestamptz AT TIME ZONE $2)::date
             ORDER BY rate_date DESC
             LIMIT 1) AS r ON true"
    };
}

const SETTLE: &str = concat!(
    "WITH ended AS (",
    ended!(),
    ") UPDATE hiems_private.calls AS c
     SET state = e.state,
         settled_at = now(),
         generation_id = coalesce(e.entry ->> 'generation_id', c.generation_id),
         -- What the settlement does not say stays as the intent said it.
         entry = c.entry || e.entry || jsonb_build_object(
             'generation_id', coalesce(e.entry ->> 'generation_id', c.generation_id))
     FROM ended AS e
     WHERE c.id = e.id
     RETURNING c.id::text, c.entry::text"
);

const ENDED: &str = concat!("SELECT e.id::text, e.entry::text FROM (", ended!(), ") AS e");

const CALLERS_GONE: &str = "
    UPDATE hiems_private.calls SET caller_gone = true WHERE id = ANY ($1::uuid[])";

// The caller could not book it itself: the fate of the transaction that it ran in will say.
const DEFER: &str = "
    UPDATE hiems_private.calls AS c SET deferred_xid = d.xid::xid8
    FROM jsonb_to_recordset($1::jsonb) AS d (id uuid, xid text)
    WHERE c.id = d.id";

const FORGET: &str = "DELETE FROM hiems_private.calls WHERE id = ANY ($1::uuid[])";

// What a gateway that is no more left in flight: sent, perhaps billed.
const RECOVER: &str = "
    UPDATE hiems_private.calls
    SET state = 'unknown', settled_at = now(),
        entry = entry || jsonb_build_object(
            'generation_id', generation_id, 'error_code', 'gateway_lost')
    WHERE state = 'sent'";

const SETTLED: &str = "SELECT id::text FROM hiems_private.calls WHERE state <> 'sent'";

const EXTENSION: &str = "SELECT oid::bigint FROM pg_extension WHERE extname = 'hiems'";

/// True once this transaction may write to the journal: nobody's lock is in the way.
pub fn try_lock() -> bool {
    lock::try_lock_for_writing(c"hiems_private", c"calls")
}

/// Writes the intents of calls that are about to be sent.
pub fn insert(intents: &[&Intent], system_identifier: i64) -> SpiResult<()> {
    if intents.is_empty() {
        return Ok(());
    }
    spi::execute(INSERT, &[json(&intents).into(), system_identifier.into()])
}

/// Writes the generations' ids of calls in flight.
pub fn set_generations(generations: &[(Uuid, String)]) -> SpiResult<()> {
    #[derive(Serialize)]
    struct Generation<'a> {
        id: Uuid,
        generation_id: &'a str,
    }
    if generations.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> = generations
        .iter()
        .map(|(id, generation_id)| Generation { id: *id, generation_id })
        .collect();
    spi::execute(GENERATIONS, &[json(&rows).into()])
}

/// Writes that calls are about to be sent again, so many times in all.
pub fn send_again(calls: impl Iterator<Item = (Uuid, i32)>) -> SpiResult<()> {
    #[derive(Serialize)]
    struct Row {
        id: Uuid,
        attempts: i32,
    }
    let rows: Vec<Row> = calls.map(|(id, attempts)| Row { id, attempts }).collect();
    if rows.is_empty() { Ok(()) } else { spi::execute(SEND_AGAIN, &[json(&rows).into()]) }
}

/// How a call ended.
pub type Ended<'a> = (State, &'a Entry);

/// Writes how calls ended. Gives each call's ledger row as JSON text.
pub fn settle(ended: &[Ended], time_zone: &str) -> SpiResult<Vec<(Uuid, String)>> {
    if ended.is_empty() {
        return Ok(Vec::new());
    }
    let settled = spi::query(SETTLE, &[rows(ended).into(), time_zone.into()], id_and_text)?;
    Ok(settled.into_iter().flatten().collect())
}

/// Each call's ledger row as JSON text, without writing: where the journal is locked.
pub fn ledger_rows(ended: &[Ended], time_zone: &str) -> SpiResult<Vec<(Uuid, String)>> {
    let ended = spi::read(ENDED, &[rows(ended).into(), time_zone.into()], id_and_text)?;
    Ok(ended.into_iter().flatten().collect())
}

fn rows(ended: &[Ended]) -> String {
    #[derive(Serialize)]
    struct Row<'a> {
        id: Uuid,
        state: State,
        entry: &'a Entry,
    }
    let row = |(state, entry): &Ended<'_>| json(&Row { id: entry.id, state: *state, entry });
    format!("[{}]", ended.iter().map(row).collect::<Vec<String>>().join(","))
}

fn id_and_text(row: spi::Row) -> SpiResult<Option<(Uuid, String)>> {
    let (id, text) = (row.get::<String>(1)?, row.get::<String>(2)?);
    Ok(id.and_then(|id| Uuid::parse_str(&id).ok()).zip(text))
}

/// Marks calls whose callers went before they had read the answer.
pub fn callers_gone(calls: &[Uuid]) -> SpiResult<()> {
    if calls.is_empty() { Ok(()) } else { spi::execute(CALLERS_GONE, &[ids(calls).into()]) }
}

/// Marks calls that their callers leave to the sweep, since the ledger is locked: with the id of the
/// innermost transaction that each ran in.
pub fn defer(calls: &[(Uuid, u64)]) -> SpiResult<()> {
    #[derive(Serialize)]
    struct Row {
        id: Uuid,
        xid: String,
    }
    let rows: Vec<Row> =
        calls.iter().map(|(id, xid)| Row { id: *id, xid: xid.to_string() }).collect();
    if rows.is_empty() { Ok(()) } else { spi::execute(DEFER, &[json(&rows).into()]) }
}

/// Forgets calls of which nothing was sent.
pub fn forget(calls: &[Uuid]) -> SpiResult<()> {
    if calls.is_empty() { Ok(()) } else { spi::execute(FORGET, &[ids(calls).into()]) }
}

/// Marks as unknown what an earlier gateway left in flight.
pub fn recover() -> SpiResult<()> {
    spi::execute(RECOVER, &[])
}

/// The calls that have ended and are not booked.
pub fn settled() -> SpiResult<Vec<Uuid>> {
    let ids = spi::read(SETTLED, &[], |row| row.get::<String>(1))?;
    Ok(ids.into_iter().flatten().filter_map(|id| Uuid::parse_str(&id).ok()).collect())
}

/// The extension's OID; None once it was dropped.
pub fn extension() -> SpiResult<Option<u32>> {
    let found = spi::read(EXTENSION, &[], |row| row.get::<i64>(1))?;
    Ok(found.into_iter().flatten().find_map(|oid| u32::try_from(oid).ok()))
}

fn ids(calls: &[Uuid]) -> Vec<String> {
    calls.iter().map(Uuid::to_string).collect()
}

/// As JSON text, for one parameter that holds many rows.
fn json(rows: &impl Serialize) -> String {
    // Only maps with keys that are not text cannot be written, and there are none.
    serde_json::value::to_raw_value(rows)
        .map_or_else(|_| "[]".to_owned(), |r: Box<RawValue>| r.get().to_owned())
}
