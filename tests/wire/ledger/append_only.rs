//! Rows stay as they were booked.

use hiems_tests::{Database, ResultExt, call};

const CHANGES: [&str; 9] = [
    "UPDATE hiems.ai_usage_logs SET cost_usd = 0",
    "UPDATE hiems.ai_usage_logs SET cost_usd = 0 WHERE false",
    "UPDATE ONLY hiems.ai_usage_logs SET user_id = 'x'",
    "DELETE FROM hiems.ai_usage_logs",
    "TRUNCATE hiems.ai_usage_logs",
    "TRUNCATE hiems.ai_usage_logs CASCADE",
    "INSERT INTO hiems.ai_usage_logs SELECT * FROM hiems.ai_usage_logs
         ON CONFLICT (id) DO UPDATE SET cost_usd = 0",
    "MERGE INTO hiems.ai_usage_logs AS l USING (SELECT 1) AS x ON true
         WHEN MATCHED THEN UPDATE SET cost_usd = 0",
    "WITH gone AS (DELETE FROM hiems.ai_usage_logs RETURNING 1) SELECT count(*) FROM gone",
];

#[test]
fn not_even_the_superuser_changes_a_row() {
    let database = Database::new();
    let mut client = database.admin();
    call(&mut client, "{}").expect("an answer");
    let before = database.ledger();
    for mode in ["origin", "replica", "local"] {
        client.batch_execute(&format!("SET session_replication_role = {mode}")).expect("a setting");
        for change in CHANGES {
            let refusal = client.batch_execute(change).refusal();
            assert_eq!(refusal.sqlstate, "42501", "{mode}: {change}");
            assert_ne!(refusal.detail, "", "{refusal:?}");
            assert_ne!(refusal.hint, "", "{refusal:?}");
        }
    }
    assert_eq!(database.ledger(), before);
}

#[test]
fn roles_with_a_level_write_nothing() {
    let mut database = Database::new();
    call(&mut database.admin(), "{}").expect("an answer");
    for level in ["caller", "reader", "admin", "service"] {
        let role = database.role_with(level);
        let mut client = database.connect(&role);
        for change in CHANGES {
            assert_eq!(client.batch_execute(change).sqlstate(), "42501", "{level}: {change}");
        }
        let invented = client.batch_execute(
            "INSERT INTO hiems.ai_usage_logs (id, created_at, cost_source, cost_usd, outcome,
                                              attempts, streamed, principal, calls)
             VALUES (gen_random_uuid(), now(), 'billed', -1, 'recorded', 1, false, 'x', 1)",
        );
        assert_eq!(invented.sqlstate(), "42501", "{level}");
    }
    assert_eq!(database.count("hiems.ai_usage_logs"), 1);
}
