//! How a row gets into the ledger: past the executor where the ledger is as hiems made it, by a statement where a
//! superuser has added to it; and it is the same row.

use hiems_tests::{Database, SOON, wait_until};
use postgres::{Client, Transaction};
use serde_json::Value;

/// What differs from call to call.
const OF_ONE_CALL: [&str; 13] = [
    "id",
    "created_at",
    "booked_at",
    "booked_xid",
    "generation_id",
    "latency_ms",
    "provider",
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "native_finish_reason",
];

const CALL: &str = r#"SELECT hiems.submit_prompt('openai/gpt-4o-mini',
    '[{"role": "user", "content": "hello"}]', 'åsa "a\b" ü', use_case => 'support', session_id => 'chat-7',
    metadata => '"a \" string"', options => '{"metadata": {"fake_cost": "0.0076509169000000005"}}')"#;

/// Makes a call, and says how often the trigger was called that a statement calls.
fn call(client: &mut Client) -> i64 {
    let mut transaction = client.transaction().expect("a transaction");
    let before = statements(&mut transaction);
    transaction.query_one(CALL, &[]).expect("an answer");
    let statements = statements(&mut transaction) - before;
    transaction.commit().expect("a commit");
    statements
}

fn statements(transaction: &mut Transaction) -> i64 {
    let count = "SELECT coalesce(pg_stat_get_xact_function_calls(
                     'hiems_private.stamp_ledger_row()'::regprocedure), 0)";
    transaction.query_one(count, &[]).expect("a count").get(0)
}

#[test]
fn a_row_is_the_same_with_a_statement_and_without() {
    let database = Database::new();
    let mut client = database.admin();
    client
        .batch_execute(
            "SET track_functions = 'all';
             SELECT hiems.set_exchange_rate('USD', 10.4521, current_date - 2, 'Riksbanken \"x\"')",
        )
        .expect("a rate");
    assert_eq!(call(&mut client), 0, "without a statement");
    let additions = [
        "ALTER TABLE hiems.ai_usage_logs ADD COLUMN note text",
        "CREATE INDEX ON hiems.ai_usage_logs (user_id)",
        "CREATE INDEX of_lower ON hiems.ai_usage_logs (lower(user_id))",
        "DROP INDEX hiems.of_lower;
         CREATE INDEX of_some ON hiems.ai_usage_logs (user_id) WHERE use_case = 'support'",
        "DROP INDEX hiems.of_some;
         ALTER TABLE hiems.ai_usage_logs DROP COLUMN note, DISABLE TRIGGER notify",
        "ALTER TABLE hiems.ai_usage_logs ENABLE TRIGGER notify, ADD CHECK (user_id <> 'nobody')",
        // As many as before.
        "ALTER TABLE hiems.ai_usage_logs DROP CONSTRAINT ai_usage_logs_outcome_check",
    ];
    // A column that is left out is NULL.
    for (addition, statements) in additions.into_iter().zip([0, 0, 1, 1, 1, 1, 1]) {
        client.batch_execute(addition).expect(addition);
        assert_eq!(call(&mut client), statements, "{addition}");
    }
    let rows = database.ledger().into_iter().map(|mut row| {
        let fields = row.as_object_mut().expect("a row");
        for name in OF_ONE_CALL {
            // Whether there is a value is the same for all.
            fields.insert(name.to_owned(), fields[name].is_null().into());
        }
        row
    });
    let rows: Vec<Value> = rows.collect();
    assert_eq!(rows.len(), 8);
    assert_eq!(rows[0]["cost_usd"].to_string(), "0.0076509169000000005");
    assert_eq!(rows[0]["user_id"], "åsa \"a\\b\" ü");
    assert_eq!(rows[0]["metadata"], "a \" string");
    assert_eq!(rows[0]["rate_source"], "Riksbanken \"x\"");
    assert!(rows.iter().all(|row| *row == rows[0]), "{rows:#?}");
}

#[test]
fn what_a_later_statement_of_the_transaction_sees() {
    let database = Database::new();
    let mut client = database.admin();
    let mut transaction = client.transaction().expect("a transaction");
    for calls in 1..=2_i64 {
        transaction.query_one(CALL, &[]).expect("an answer");
        let row = transaction.query_one("SELECT count(*) FROM hiems.ai_usage_logs", &[]);
        assert_eq!(row.expect("a count").get::<_, i64>(0), calls);
    }
    transaction.commit().expect("a commit");
    // By each index as by none.
    let by_index = "SET enable_seqscan = off;
        CREATE TEMPORARY TABLE seen AS
        SELECT (SELECT count(*) FROM hiems.ai_usage_logs AS i WHERE i.id = l.id) AS by_id,
               (SELECT count(*) FROM hiems.ai_usage_logs AS i
                WHERE i.created_at = l.created_at) AS by_time,
               (SELECT count(*) FROM hiems.ai_usage_logs AS i
                WHERE i.principal = l.principal AND i.created_at = l.created_at) AS by_principal,
               (SELECT count(*) FROM hiems.ai_usage_logs AS i
                WHERE i.booked_xid = l.booked_xid) AS by_transaction
        FROM hiems.ai_usage_logs AS l";
    client.batch_execute(by_index).expect(by_index);
    assert_eq!(seen(&mut client), [[1, 1, 1, 2], [1, 1, 1, 2]]);
}

fn seen(client: &mut Client) -> Vec<[i64; 4]> {
    let rows = client.query("SELECT by_id, by_time, by_principal, by_transaction FROM seen", &[]);
    let rows = rows.expect("rows");
    rows.iter().map(|row| [row.get(0), row.get(1), row.get(2), row.get(3)]).collect()
}

// By the catalog, so that it holds for columns, constraints and indexes that are yet to come.
#[test]
fn a_row_without_a_statement_fulfils_each_constraint_and_is_in_each_index() {
    let database = Database::new();
    let mut client = database.admin();
    client.batch_execute("SET track_functions = 'all'; CREATE EXTENSION amcheck").expect("amcheck");
    for _ in 0..3 {
        assert_eq!(call(&mut client), 0, "without a statement");
    }
    let conditions = client.query(
        "SELECT pg_get_expr(conbin, conrelid) FROM pg_constraint
         WHERE conrelid = 'hiems.ai_usage_logs'::regclass AND contype = 'c'
         UNION ALL
         SELECT format('%I IS NOT NULL', attname) FROM pg_attribute
         WHERE attrelid = 'hiems.ai_usage_logs'::regclass AND attnum > 0 AND attnotnull",
        &[],
    );
    let conditions = conditions.expect("the conditions");
    assert!(conditions.len() > 5, "{}", conditions.len());
    for condition in conditions {
        let condition: String = condition.get(0);
        let broken = format!("hiems.ai_usage_logs WHERE NOT ({condition})");
        assert_eq!(database.count(&broken), 0, "{condition}");
    }
    let checked = client.query(
        "SELECT bt_index_check(indexrelid, heapallindexed => true) FROM pg_index
         WHERE indrelid = 'hiems.ai_usage_logs'::regclass",
        &[],
    );
    assert!(checked.expect("the indexes hold each row").len() >= 4);
}

#[test]
fn postgresql_counts_the_rows_for_its_maintenance() {
    let database = Database::new();
    for _ in 0..3 {
        // A session of its own, that has not looked at the ledger.
        database.admin().query_one(CALL, &[]).expect("an answer");
    }
    wait_until("the rows are counted", SOON, || {
        database.count("pg_stat_user_tables WHERE relname = 'ai_usage_logs' AND n_tup_ins = 3") == 1
    });
}

#[test]
fn a_sessions_own_formats_change_nothing() {
    let database = Database::new();
    let mut client = database.admin();
    client
        .batch_execute(
            "SELECT hiems.set_exchange_rate('USD', 10.4521, current_date - 2, 'Riksbanken');
             SET track_functions = 'all'; SET DateStyle = 'German, DMY'; SET TimeZone = 'Asia/Kolkata'; SET lc_numeric = 'C'",
        )
        .expect("settings");
    assert_eq!(call(&mut client), 0);
    let right = database.count(
        "hiems.ai_usage_logs WHERE created_at BETWEEN now() - interval '1 minute' AND now()
             AND booked_at BETWEEN created_at AND now() AND rate_date = current_date - 2
             AND usd_sek_rate = 10.4521 AND cost_sek = cost_usd * usd_sek_rate",
    );
    assert_eq!(right, 1);
}
