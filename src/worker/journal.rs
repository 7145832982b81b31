//! `hiems_private.calls`: what is on its way. The only writer of it, but for the sweep in `ledger.rs`,
//! which moves what is done into the ledger. Every function runs in the gateway's own transaction.

mod settle;

pub use settle::{Ended, Rules, Settled, ledger_rows, settle};

use pgrx::spi::SpiResult;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::generation_ids::Came;
use crate::gateway::protocol::BatchOf;
use crate::idempotency::Idempotency;
use crate::ledger::{Entry, waits_for_its_cost};
use crate::pg::{lock, spi};
use crate::rows::{call, id, ids, json};

/// A call about to be sent.
#[derive(Clone, Serialize, Deserialize)]
pub struct Intent {
    pub id: Uuid,
    /// None: it is made for no transaction.
    pub caller_xid: Option<String>,
    pub principal: String,
    pub created_at: String,
    pub entry: Entry,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency: Option<Idempotency>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchOf>,
}

const INSERT: &str = "
    INSERT INTO hiems_private.calls
        (id, state, created_at, caller_xid, system_identifier, principal, entry, batch_id, batch_size)
    SELECT i.id, 'sent', i.created_at, i.caller_xid, $1, i.principal, i.entry, i.batch_id, i.batch_size
    FROM unnest($2::uuid[], $3::timestamptz[], $4::xid8[], $5::text[], $6::json[], $7::uuid[], $8::integer[])
        AS i (id, created_at, caller_xid, principal, entry, batch_id, batch_size)
    ON CONFLICT (id) DO NOTHING";

const GENERATIONS: &str = "
    UPDATE hiems_private.calls AS c SET generation_id = g.generation_id
    FROM jsonb_to_recordset($1::jsonb) AS g (id uuid, generation_id text)
    WHERE c.id = g.id AND c.generation_id IS NULL";

// Only of the attempt that was the last: those before gave nothing that was billed.
const LEFT_GENERATIONS: &str = "
    UPDATE hiems_private.calls AS c SET generation_id = g.generation_id
    FROM jsonb_to_recordset($1::jsonb) AS g (id uuid, attempts integer, generation_id text)
    WHERE c.id = g.id AND c.state = 'sent' AND c.generation_id IS NULL
      AND (c.entry ->> 'attempts')::integer = g.attempts";

// Before it is sent again: what the first attempts gave says nothing of the next.
const SEND_AGAIN: &str = "
    UPDATE hiems_private.calls AS c
    SET generation_id = NULL, entry = c.entry::jsonb || jsonb_build_object('attempts', a.attempts)
    FROM jsonb_to_recordset($1::jsonb) AS a (id uuid, attempts integer)
    WHERE c.id = a.id";

// What the settlement does not say stays as the intent, and the headers, said it: only a task that died leaves
// anything out. $5: whether the generation is looked up, where it is known by then.
const SETTLE: &str = concat!(
    "UPDATE hiems_private.calls AS c
     SET state = e.state,
         settled_at = now(),
         generation_id = coalesce(e.generation_id, c.generation_id),
         look_up = e.look_up AND coalesce(e.generation_id, c.generation_id) IS NOT NULL,
         entry = CASE WHEN e.generation_id IS NOT NULL THEN e.entry::json
                 ELSE (c.entry::jsonb || e.entry::jsonb
                       || jsonb_build_object('generation_id', c.generation_id))::json END
     FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::boolean[])
         AS e (id, state, generation_id, entry, look_up)
     WHERE c.id = e.id
     RETURNING c.id, CASE WHEN e.generation_id IS NULL THEN c.entry::text END, c.generation_id, ",
    waits_for_its_cost!(),
    ", c.caller_xid::text"
);

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
    SET state = 'unknown', settled_at = now(), look_up = $1 AND generation_id IS NOT NULL,
        entry = entry::jsonb || jsonb_build_object(
            'generation_id', generation_id, 'error_code', 'gateway_lost')
    WHERE state = 'sent'";

const SETTLED: &str = concat!(
    "SELECT c.id FROM hiems_private.calls AS c
     WHERE c.state NOT IN ('sent', 'booked') AND NOT ",
    waits_for_its_cost!()
);

// What waits for OpenRouter's record of its generation, to be booked or to be compared.
const TO_LOOK_UP: &str = concat!(
    "SELECT c.id, c.generation_id, c.entry ->> 'key_name',
            c.entry ->> 'cost_source' = 'not_billed',
            extract(epoch FROM clock_timestamp() - c.settled_at)::bigint
     FROM hiems_private.calls AS c
     WHERE c.look_up AND c.state = 'booked' OR ",
    waits_for_its_cost!()
);

const LOOKED_AT: &str = "
    SELECT state = 'booked', entry::text FROM hiems_private.calls
    WHERE id = $1::uuid AND look_up FOR UPDATE";

// What is booked is done with then.
const STOP_LOOKING: &str = "
    WITH booked AS (
        DELETE FROM hiems_private.calls WHERE id = ANY ($1::uuid[]) AND state = 'booked'
    )
    UPDATE hiems_private.calls SET look_up = false
    WHERE id = ANY ($1::uuid[]) AND state <> 'booked'";

// Rows of the ledger whose cost was never found out: once more.
const LOOK_AGAIN: &str = "
    INSERT INTO hiems_private.calls
        (id, state, created_at, settled_at, caller_xid, system_identifier, generation_id, look_up,
         principal, entry)
    SELECT l.id, 'booked', l.created_at, now(), l.booked_xid, $1, l.generation_id, true, l.principal,
           jsonb_build_object('key_name', l.key_name)
    FROM hiems.ai_usage_logs AS l
    WHERE l.cost_source = 'unknown' AND l.generation_id IS NOT NULL AND l.key_name IS NOT NULL
      AND NOT EXISTS (SELECT FROM hiems.ai_usage_logs AS c WHERE c.adjusts = l.id)
    ON CONFLICT (id) DO NOTHING";

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
    let each = |text: fn(&Intent) -> Option<String>| {
        intents.iter().map(|intent| text(intent)).collect::<Vec<_>>()
    };
    let batches: Vec<_> = intents.iter().map(|intent| Some(id(intent.batch?.id))).collect();
    let sizes: Vec<_> = intents.iter().map(|intent| Some(intent.batch?.size)).collect();
    let arguments = [
        system_identifier.into(),
        ids(&intents.iter().map(|intent| intent.id).collect::<Vec<_>>()).into(),
        each(|intent| Some(intent.created_at.clone())).into(),
        each(|intent| intent.caller_xid.clone()).into(),
        each(|intent| Some(intent.principal.clone())).into(),
        each(|intent| Some(json(&intent.entry))).into(),
        batches.into(),
        sizes.into(),
    ];
    spi::execute(INSERT, &arguments)
}

/// Writes the generations' ids of calls in flight.
pub fn set_generations<'a>(
    generations: impl IntoIterator<Item = (&'a Uuid, &'a String)>,
) -> SpiResult<()> {
    #[derive(Serialize)]
    struct Generation<'a> {
        id: &'a Uuid,
        generation_id: &'a str,
    }
    let rows: Vec<_> = generations
        .into_iter()
        .map(|(id, generation_id)| Generation { id, generation_id })
        .collect();
    if rows.is_empty() { Ok(()) } else { spi::execute(GENERATIONS, &[json(&rows).into()]) }
}

/// Writes the ids that an earlier gateway had of the generations of calls in flight.
pub fn set_left_generations(came: &[Came]) -> SpiResult<()> {
    if came.is_empty() { Ok(()) } else { spi::execute(LEFT_GENERATIONS, &[json(&came).into()]) }
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

/// A generation to be looked up at OpenRouter.
#[derive(Deserialize)]
pub struct ToLookUp {
    #[serde(rename = "id")]
    pub call: Uuid,
    pub generation_id: String,
    pub key_name: String,
    /// True where it is booked as free, and OpenRouter may know nothing of it.
    pub is_free: bool,
    /// For how long it has been asked for.
    #[serde(default)]
    pub age_seconds: u64,
}

impl ToLookUp {
    /// Out of the JSON text that booking gives.
    pub fn many(wanted: Option<&str>) -> Vec<ToLookUp> {
        serde_json::from_str(wanted.unwrap_or("[]")).unwrap_or_default()
    }
}

fn to_look_up(
    call: Uuid,
    generation_id: Option<String>,
    key_name: Option<String>,
    is_free: bool,
) -> Option<ToLookUp> {
    let (generation_id, key_name) = generation_id.zip(key_name)?;
    Some(ToLookUp { call, generation_id, key_name, is_free, age_seconds: 0 })
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

/// Marks as unknown what an earlier gateway left in flight; `look_up`: as in [`Rules`].
pub fn recover(look_up: bool) -> SpiResult<()> {
    spi::execute(RECOVER, &[look_up.into()])
}

/// Every generation that is to be looked up.
pub fn to_look_ups() -> SpiResult<Vec<ToLookUp>> {
    let found = spi::query(TO_LOOK_UP, &[], |row| {
        let call = row.get::<pgrx::Uuid>(1)?.map(call);
        let (generation_id, key_name) = (row.get(2)?, row.get(3)?);
        let is_free = row.get::<bool>(4)? == Some(true);
        let age_seconds = row.get::<i64>(5)?.and_then(|age| u64::try_from(age).ok());
        let wanted = call.and_then(|call| to_look_up(call, generation_id, key_name, is_free));
        Ok(wanted.map(|w| ToLookUp { age_seconds: age_seconds.unwrap_or_default(), ..w }))
    })?;
    Ok(found.into_iter().flatten().collect())
}

/// A call whose generation is looked up: whether it is booked, and its ledger row as JSON text. None
/// where that is done with.
pub fn looked_at(call: Uuid) -> SpiResult<Option<(bool, String)>> {
    let found = spi::query(LOOKED_AT, &[call.to_string().into()], |row| {
        Ok(row.get::<bool>(1)?.zip(row.get::<String>(2)?))
    })?;
    Ok(found.into_iter().flatten().next())
}

/// Asks no more for these calls' generations.
pub fn stop_looking(calls: &[Uuid]) -> SpiResult<()> {
    if calls.is_empty() { Ok(()) } else { spi::execute(STOP_LOOKING, &[ids(calls).into()]) }
}

/// Has the booked calls looked up whose cost was never found out.
pub fn look_again(system_identifier: i64) -> SpiResult<()> {
    spi::execute(LOOK_AGAIN, &[system_identifier.into()])
}

/// The calls that have ended and are not booked.
pub fn settled() -> SpiResult<Vec<Uuid>> {
    let ids = spi::read(SETTLED, &[], |row| row.get::<pgrx::Uuid>(1))?;
    Ok(ids.into_iter().flatten().map(call).collect())
}

/// The extension's OID; None once it was dropped.
pub fn extension() -> SpiResult<Option<u32>> {
    let found = spi::read(EXTENSION, &[], |row| row.get::<i64>(1))?;
    Ok(found.into_iter().flatten().find_map(|oid| u32::try_from(oid).ok()))
}
