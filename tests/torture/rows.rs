//! The ledger, as the comparison takes it.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use postgres::Client;

/// A call's row, with its corrections.
pub struct Row {
    pub id: String,
    pub outcome: String,
    pub generation_id: Option<String>,
    pub error_code: Option<String>,
    pub created_at: SystemTime,
    /// None: not known.
    pub amount: Option<String>,
}

const ROWS: &str = "
    SELECT l.user_id, l.id::text, l.outcome, l.generation_id,
           (extract(epoch FROM l.created_at) * 1000000)::bigint,
           CASE WHEN l.cost_usd IS NOT NULL OR a.cost_usd IS NOT NULL
                THEN trim_scale(coalesce(l.cost_usd, 0) + coalesce(a.cost_usd, 0))::text END,
           l.error_code
    FROM hiems.ai_usage_logs AS l
    LEFT JOIN (SELECT adjusts, sum(cost_usd) AS cost_usd FROM hiems.ai_usage_logs
               WHERE adjusts IS NOT NULL GROUP BY adjusts) AS a ON a.adjusts = l.id
    WHERE l.adjusts IS NULL";
/// Every row but the corrections, by the label of its call.
pub fn read(admin: &mut Client) -> HashMap<String, Vec<Row>> {
    let mut rows: HashMap<String, Vec<Row>> = HashMap::new();
    for row in admin.query(ROWS, &[]).expect("the ledger") {
        let label: Option<String> = row.get(0);
        rows.entry(label.unwrap_or_default()).or_default().push(Row {
            id: row.get(1),
            outcome: row.get(2),
            generation_id: row.get(3),
            created_at: UNIX_EPOCH + Duration::from_micros(row.get::<_, i64>(4) as u64),
            amount: row.get(5),
            error_code: row.get(6),
        });
    }
    rows
}
