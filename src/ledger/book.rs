//! Booking in a caller's own transaction: its rows go with it.

use chrono::{SecondsFormat, Utc};
use pgrx::spi::SpiResult;
use uuid::Uuid;

use crate::pg::append::{self, Row, Table};
use crate::pg::{spi, xact};
use crate::realtime;
use crate::settings;

/// The ledger as `sql/40_ledger.sql` and `sql/85_realtime.sql` make it: `stamp` and `notify` are done here, the other
/// two refuse what is none of hiems's. The gateway settles what the constraints ask for.
const LEDGER: Table = Table {
    schema: c"hiems",
    name: c"ai_usage_logs",
    checks: &[
        c"ai_usage_logs_calls_check",
        c"ai_usage_logs_check",
        c"ai_usage_logs_check1",
        c"ai_usage_logs_cost_source_check",
        c"ai_usage_logs_outcome_check",
    ],
    triggers: &[
        (c"append_only", b'A'),
        (c"notify", b'O'),
        (c"stamp", b'A'),
        (c"written_by_hiems", b'A'),
    ],
    partial_indexes: &[c"ai_usage_logs_adjusts", c"ai_usage_logs_unknown"],
};

// Where it is not as it was made: a superuser has added a constraint, or put a trigger out of action.
// From json, not jsonb, which would be made of the text first, for nothing.
const BOOK: &str = "
    INSERT INTO hiems.ai_usage_logs
    SELECT row.* FROM json_populate_recordset(NULL::hiems.ai_usage_logs, $1::json) AS row";

/// How much is booked at a time: it is all in memory, as text and as rows.
const MOST_BYTES: usize = 4 << 20;

/// Books calls in the caller's own transaction, behind [`super::try_lock`]; each comes with the JSON that the gateway
/// settled.
pub fn book(calls: &[(Uuid, String)]) -> SpiResult<()> {
    let stamp = format!(
        r#"{{"outcome":"committed","booked_xid":"{}","booked_at":"{}","#,
        xact::top_level_xid(),
        Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true)
    );
    let mut rest = calls;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = |(_, entry): &&(Uuid, String)| {
            bytes += entry.len();
            bytes <= MOST_BYTES
        };
        let (part, after) = rest.split_at(rest.iter().take_while(fits).count().max(1));
        let row = |(_, entry): &(Uuid, String)| {
            format!("{stamp}{}", entry.strip_prefix('{').unwrap_or(entry))
        };
        let rows: Vec<String> = part.iter().map(row).collect();
        if append(&rows) {
            tell(part);
        } else {
            spi::execute(BOOK, &[format!("[{}]", rows.join(",")).into()])?;
        }
        rest = after;
    }
    Ok(())
}

/// False where a statement has to do it.
fn append(rows: &[String]) -> bool {
    let rows: Option<Vec<Row>> = rows.iter().map(|row| serde_json::from_str(row).ok()).collect();
    rows.is_some_and(|rows| append::append(&LEDGER, &rows))
}

/// What the trigger `notify` does.
fn tell(calls: &[(Uuid, String)]) {
    if settings::tells_with_commit() {
        let rows: Vec<Uuid> = calls.iter().map(|(call, _)| *call).collect();
        realtime::tell_of_booking(&rows);
    }
}
