//! The ledger's rows. The only writer of `hiems.ai_usage_logs`.

use pgrx::spi::SpiResult;
use serde::{Deserialize, Serialize};
use serde_json::Number;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::pg::{lock, spi};

/// A ledger row, by the names of its columns. What is None is NULL: not known, or not said.
///
/// It is filled as the call goes on: who calls by the backend, when and how by the gateway.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Entry {
    pub id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    pub model_requested: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    pub user_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub use_case: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_tokens: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_tokens: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_tokens: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write_tokens: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_tokens: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_cost_usd: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_byok: Option<bool>,
    pub cost_source: CostSource,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub native_finish_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<i64>,
    pub attempts: i32,
    pub streamed: bool,
    pub principal: String,
    pub key_name: String,
    pub role_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application_name: Option<String>,
    pub calls: i16,
}

/// Where a cost comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CostSource {
    /// The answer's own `usage.cost`.
    Billed,
    /// Nothing can have been billed: the cost is 0.
    NotBilled,
    /// Not known: the cost is NULL, never 0.
    #[default]
    Unknown,
}

// The outcome is the caller's: this row goes with its transaction.
const BOOK: &str = "
    INSERT INTO hiems.ai_usage_logs
    SELECT row.* FROM jsonb_populate_record(
        NULL::hiems.ai_usage_logs, $1::jsonb || '{\"outcome\": \"committed\"}') AS row";

// What runs on an insert runs with hiems's own rights.
const FOREIGN_TRIGGER: &str = "
    SELECT t.tgname::text FROM pg_trigger AS t
    WHERE t.tgrelid = 'hiems.ai_usage_logs'::regclass AND NOT t.tgisinternal
      AND t.tgfoid NOT IN (SELECT p.oid FROM pg_proc AS p
                           WHERE p.pronamespace = 'hiems_private'::regnamespace)
    LIMIT 1";

/// The name of a trigger on the ledger that is not hiems's own. Nothing may be written while there is
/// one.
pub fn foreign_trigger() -> SpiResult<Option<String>> {
    let found = spi::read(FOREIGN_TRIGGER, &[], |row| row.get::<String>(1))?;
    Ok(found.into_iter().flatten().next())
}

/// As [`foreign_trigger`], as things are now: behind [`try_lock`] they stay so until the end of this
/// transaction.
pub fn foreign_trigger_now() -> SpiResult<Option<String>> {
    let found = spi::query(FOREIGN_TRIGGER, &[], |row| row.get::<String>(1))?;
    Ok(found.into_iter().flatten().next())
}

/// True once this transaction may write to the ledger: nobody's LOCK TABLE, VACUUM FULL or REINDEX is in
/// the way.
pub fn try_lock() -> bool {
    lock::try_lock_for_writing(c"hiems", c"ai_usage_logs")
}

/// Books a call in the caller's own transaction; `entry` is the JSON that the gateway settled.
pub fn book(entry: &str) -> SpiResult<()> {
    spi::execute(BOOK, &[entry.into()])
}

// One snapshot answers both questions: is the caller's transaction over, and is the row there? It is
// taken by the one statement. Existence decides, not the transaction's fate: a savepoint, or an error
// after the call, leaves a committed transaction without a row.
const BOOK_FINISHED: &str = "
    WITH due AS MATERIALIZED (
        SELECT c.id, c.entry || jsonb_build_object('outcome', CASE
                   WHEN c.state = 'unknown' THEN 'unknown'
                   WHEN c.state = 'failed' THEN 'failed'
                   WHEN c.system_identifier = $1 AND c.deferred_xid IS NOT NULL
                       THEN CASE pg_xact_status(c.deferred_xid)
                                WHEN 'committed' THEN 'committed' ELSE 'rolled_back' END
                   WHEN c.caller_gone THEN 'cancelled'
                   ELSE 'rolled_back' END) AS entry
        FROM hiems_private.calls AS c
        WHERE c.state <> 'sent'
          AND NOT (c.id::text = ANY ($2))
          AND ($3 IS NULL OR c.id = $3::uuid)
          AND (c.system_identifier <> $1
               OR pg_visible_in_snapshot(c.caller_xid, (SELECT pg_current_snapshot())))
    ), booked AS (
        INSERT INTO hiems.ai_usage_logs
        SELECT row.* FROM due, jsonb_populate_record(NULL::hiems.ai_usage_logs, due.entry) AS row
        WHERE NOT EXISTS (SELECT FROM hiems.ai_usage_logs AS l WHERE l.id = due.id)
        ON CONFLICT (id) DO NOTHING
    ), done AS (
        DELETE FROM hiems_private.calls AS c USING due WHERE c.id = due.id RETURNING c.id
    )
    SELECT (SELECT count(*) FROM hiems_private.calls) - (SELECT count(*) FROM done)";

/// Books every settled call whose caller's transaction is over and has left no row, and forgets those
/// that are booked. `open` are calls whose callers may still be reading their answers. Gives the number
/// of calls that are left on their way. `only`: this one call. For the gateway, in a transaction of its own.
pub fn book_finished(system_identifier: i64, open: &[Uuid], only: Option<Uuid>) -> SpiResult<i64> {
    let open: Vec<String> = open.iter().map(Uuid::to_string).collect();
    let only = only.map(|id| id.to_string());
    let left =
        spi::query(BOOK_FINISHED, &[system_identifier.into(), open.into(), only.into()], |row| {
            row.get::<i64>(1)
        })?;
    Ok(left.into_iter().flatten().next().unwrap_or_default())
}
