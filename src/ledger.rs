//! The ledger's rows. The only writer of `hiems.ai_usage_logs`.

mod book;
mod retention;

pub use book::book;
pub use retention::{Deleted, delete_old, deletes_old_rows};

use pgrx::spi::SpiResult;
use serde::{Deserialize, Serialize};
use serde_json::Number;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::openrouter::generation::Record;
use crate::pg::{lock, spi, triggers};
use crate::rows::{call, ids};

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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_token_ms: Option<i64>,
    pub attempts: i32,
    pub streamed: bool,
    pub principal: String,
    pub key_name: String,
    pub role_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application_name: Option<String>,
    pub calls: i16,
}

impl Entry {
    /// Takes over what OpenRouter's record of the generation says.
    pub fn settle_by(&mut self, record: Record) {
        self.cost_usd = record.total_cost;
        self.cost_source = CostSource::Settled;
        self.upstream_cost_usd = record.upstream_cost;
        self.is_byok = record.is_byok;
        self.model = record.model.or(self.model.take());
        self.provider = record.provider.or(self.provider.take());
        self.finish_reason = record.finish_reason.or(self.finish_reason.take());
        self.native_finish_reason =
            record.native_finish_reason.or(self.native_finish_reason.take());
        self.prompt_tokens = record.prompt_tokens;
        self.completion_tokens = record.completion_tokens;
        self.total_tokens = record
            .prompt_tokens
            .zip(record.completion_tokens)
            .and_then(|(prompt, completion)| prompt.checked_add(completion));
        self.reasoning_tokens = record.reasoning_tokens;
        self.cached_tokens = record.cached_tokens;
    }
}

/// Where a cost comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CostSource {
    /// The answer's own `usage.cost`.
    Billed,
    /// OpenRouter's record of the generation, asked for later.
    Settled,
    /// Nothing can have been billed: the cost is 0.
    NotBilled,
    /// Not known: the cost is NULL, never 0.
    #[default]
    Unknown,
}

/// The name of a trigger on the ledger that is not hiems's own, as things are now: it would run with hiems's
/// rights, so nothing may be written while there is one. Behind [`try_lock`] they stay so until the end of
/// this transaction.
pub fn foreign_trigger() -> Option<String> {
    triggers::foreign(c"hiems", c"ai_usage_logs", c"hiems_private")
}

/// True once this transaction may write to the ledger: nobody's LOCK TABLE, VACUUM FULL or REINDEX is in
/// the way.
pub fn try_lock() -> bool {
    lock::try_lock_for_writing(c"hiems", c"ai_usage_logs")
}

/// True of a call `c` in the journal that its caller has not booked, while OpenRouter may still say what it
/// cost: it is booked then, or once it is given up.
macro_rules! waits_for_its_cost {
    () => {
        "(c.look_up AND c.state IN ('unknown', 'failed') AND c.entry ->> 'cost_source' = 'unknown')"
    };
}
pub(crate) use waits_for_its_cost;

// What becomes of a settled call `c` in the ledger; $1 is this cluster's identifier.
macro_rules! outcome {
    () => {
        "CASE
             WHEN c.state = 'unknown' AND c.entry ->> 'error_code' IS NOT NULL THEN 'unknown'
             WHEN c.state = 'failed' THEN 'failed'
             WHEN c.system_identifier = $1 AND c.deferred_xid IS NOT NULL
                 THEN CASE pg_xact_status(c.deferred_xid)
                          WHEN 'committed' THEN 'committed' ELSE 'rolled_back' END
             WHEN c.caller_gone THEN 'cancelled'
             -- It was made for nobody's transaction.
             WHEN c.caller_xid IS NULL THEN 'committed'
             ELSE 'rolled_back' END"
    };
}

// Moves the calls that are `due` from the journal into the ledger; those whose generations are yet to be
// looked up stay in the journal as booked.
macro_rules! move_due {
    () => {
        concat!(
            "missing AS MATERIALIZED (
                SELECT id FROM due
                WHERE NOT EXISTS (SELECT FROM hiems.ai_usage_logs AS l WHERE l.id = due.id)
            ), booked AS (
                INSERT INTO hiems.ai_usage_logs
                SELECT row.*
                FROM missing JOIN hiems_private.calls AS c ON c.id = missing.id,
                     jsonb_populate_record(NULL::hiems.ai_usage_logs,
                                           c.entry::jsonb || jsonb_build_object('outcome', ",
            outcome!(),
            "        )) AS row
                ON CONFLICT (id) DO NOTHING
            ), done AS (
                DELETE FROM hiems_private.calls AS c USING due
                WHERE c.id = due.id AND NOT due.look_up RETURNING c.id
            ), to_look_up AS (
                UPDATE hiems_private.calls AS c SET state = 'booked' FROM due
                WHERE c.id = due.id AND due.look_up
                RETURNING c.id, c.generation_id, c.entry ->> 'key_name' AS key_name,
                          c.entry ->> 'cost_source' = 'not_billed' AS is_free
            )"
        )
    };
}

// One snapshot answers both questions: is the caller's transaction over, and is the row there? It is
// taken by the one statement. Existence decides, not the transaction's fate: a savepoint, or an error
// after the call, leaves a committed transaction without a row. $2: ids, $3: how many at most.
macro_rules! book_finished {
    ($calls:literal, $left:literal) => {
        concat!(
            "WITH due AS MATERIALIZED (
                SELECT c.id, c.look_up
                FROM hiems_private.calls AS c
                WHERE c.state NOT IN ('sent', 'booked')
                  AND NOT ",
            waits_for_its_cost!(),
            "     AND ",
            $calls,
            "     AND (c.system_identifier <> $1 OR c.caller_xid IS NULL
                       OR pg_visible_in_snapshot(c.caller_xid, (SELECT pg_current_snapshot())))
                LIMIT $3
            ), ",
            move_due!(),
            "
            SELECT (SELECT array_agg(id) FROM due),
                   (SELECT jsonb_agg(to_jsonb(t))::text FROM to_look_up AS t), ",
            $left
        )
    };
}

// As many as matter are left: what is beyond this commit is not counted. Hashed, whatever the plan: a batch has
// thousands of open calls.
const BOOK_ALL_FINISHED: &str = book_finished!(
    "c.id NOT IN (SELECT unnest($2::uuid[]))",
    "(SELECT count(*) FROM (SELECT FROM hiems_private.calls LIMIT $3 + 1) AS few)
         - (SELECT count(*) FROM done)"
);
const BOOK_FINISHED: &str = book_finished!("c.id = ANY ($2::uuid[])", "NULL::bigint");

/// Which calls the sweep looks at.
pub enum Look<'a> {
    /// All in the journal but these, whose callers may still be reading their answers.
    AllBut(&'a [Uuid]),
    At(&'a [Uuid]),
}

/// What booking what callers left has come to.
#[derive(Default)]
pub struct Swept {
    /// The calls that were due: they are in the ledger. As many as were asked for: there may be more.
    pub due: Vec<Uuid>,
    /// Booked calls whose generations are to be looked up, as JSON text: an array of objects with
    /// `id`, `generation_id`, `key_name` and `is_free`.
    pub to_look_up: Option<String>,
    /// How many calls are left on their way, as far as they were counted: more than none if there are any.
    /// None where only some were looked at.
    pub left: Option<i64>,
}

/// Books at most `limit` settled calls whose callers' transactions are over and have left no row, and
/// forgets those that are booked. For the gateway, in a transaction of its own.
pub fn book_finished(system_identifier: i64, look: Look, limit: usize) -> SpiResult<Swept> {
    let (statement, calls) = match look {
        Look::AllBut(open) => (BOOK_ALL_FINISHED, open),
        Look::At(calls) => (BOOK_FINISHED, calls),
    };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let arguments = [system_identifier.into(), ids(calls).into(), limit.into()];
    let swept = spi::query(statement, &arguments, |row| {
        let due = row.get::<Vec<pgrx::Uuid>>(1)?.unwrap_or_default();
        Ok(Swept {
            due: due.into_iter().map(call).collect(),
            to_look_up: row.get::<String>(2)?,
            left: row.get::<i64>(3)?,
        })
    })?;
    Ok(swept.into_iter().next().unwrap_or_default())
}

// The differences between OpenRouter's record and a row with the corrections that it has. What a column
// is summed or grouped by stays as the row has it, or the sums of a group would not be right.
const CORRECT: &str = "
    WITH record AS (
        SELECT * FROM jsonb_to_record($3::jsonb) AS r (
            total_cost numeric, upstream_cost numeric, is_byok boolean,
            prompt_tokens bigint, completion_tokens bigint, reasoning_tokens bigint,
            cached_tokens bigint)
    ), booked AS (
        SELECT count(cost_usd) > 0 AS is_known, sum(cost_usd) AS cost_usd,
               sum(prompt_tokens)::bigint AS prompt_tokens,
               sum(completion_tokens)::bigint AS completion_tokens,
               sum(total_tokens)::bigint AS total_tokens,
               sum(reasoning_tokens)::bigint AS reasoning_tokens,
               sum(cached_tokens)::bigint AS cached_tokens,
               sum(upstream_cost_usd) AS upstream_cost_usd
        FROM hiems.ai_usage_logs WHERE id = $1::uuid OR adjusts = $1::uuid
    ), difference AS (
        SELECT b.is_known,
               r.total_cost - coalesce(b.cost_usd, 0) AS cost_usd,
               r.prompt_tokens - coalesce(b.prompt_tokens, 0) AS prompt_tokens,
               r.completion_tokens - coalesce(b.completion_tokens, 0) AS completion_tokens,
               r.prompt_tokens + r.completion_tokens - coalesce(b.total_tokens, 0) AS total_tokens,
               r.reasoning_tokens - coalesce(b.reasoning_tokens, 0) AS reasoning_tokens,
               r.cached_tokens - coalesce(b.cached_tokens, 0) AS cached_tokens,
               r.upstream_cost - coalesce(b.upstream_cost_usd, 0) AS upstream_cost_usd,
               r.is_byok
        FROM record AS r, booked AS b
    )
    INSERT INTO hiems.ai_usage_logs (
        id, created_at, generation_id, model, model_requested, provider, user_id, use_case,
        session_id, metadata, prompt_tokens, completion_tokens, total_tokens, cached_tokens,
        reasoning_tokens, cost_usd, upstream_cost_usd, is_byok, cost_source, cost_sek, usd_sek_rate,
        rate_date, rate_source, outcome, attempts, streamed, principal, key_name, role_name,
        application_name, adjusts, calls)
    SELECT $2::uuid, l.created_at, l.generation_id, l.model, l.model_requested, l.provider, l.user_id,
           l.use_case, l.session_id, l.metadata, d.prompt_tokens, d.completion_tokens, d.total_tokens,
           d.cached_tokens, d.reasoning_tokens, d.cost_usd, d.upstream_cost_usd,
           coalesce(l.is_byok, d.is_byok), CASE WHEN d.is_known THEN 'billed' ELSE 'settled' END,
           d.cost_usd * l.usd_sek_rate, l.usd_sek_rate, l.rate_date, l.rate_source, l.outcome, 0,
           l.streamed, l.principal, l.key_name, l.role_name, l.application_name, l.id, 0
    FROM hiems.ai_usage_logs AS l, difference AS d
    WHERE l.id = $1::uuid
      AND (NOT d.is_known OR d.cost_usd <> 0 OR d.prompt_tokens <> 0 OR d.completion_tokens <> 0
           OR d.total_tokens <> 0 OR d.reasoning_tokens <> 0 OR d.cached_tokens <> 0
           OR d.upstream_cost_usd <> 0)
    RETURNING cost_source";

/// What comparing a booked call with OpenRouter's record has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compared {
    /// The row is right.
    Confirmed,
    /// It was of unknown cost: a row with the cost was added.
    Settled,
    /// It was not right: a row with the differences was added.
    Corrected,
}

/// Adds a correcting row (`adjusts` names the call's row, `calls` is 0) with what OpenRouter's record of the
/// generation has more or less than the row and its corrections; none where nothing differs. In the
/// gateway's own transaction. Gives that row's id, too.
pub fn correct(call: Uuid, record: &Record) -> SpiResult<(Compared, Option<Uuid>)> {
    let figures = serde_json::to_string(record).unwrap_or_default();
    let row = Uuid::now_v7();
    let arguments = [call.to_string().into(), row.to_string().into(), figures.into()];
    let added = spi::query(CORRECT, &arguments, |row| row.get::<String>(1))?;
    Ok(match added.into_iter().flatten().next().as_deref() {
        None => (Compared::Confirmed, None),
        Some("settled") => (Compared::Settled, Some(row)),
        Some(_) => (Compared::Corrected, Some(row)),
    })
}
