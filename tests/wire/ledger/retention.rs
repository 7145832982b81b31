//! `hiems.ledger_retention`: the only way in which rows leave the ledger.

use std::time::{Duration, Instant};

use hiems_tests::{Database, ResultExt, SOON, call, wait_until};

/// So many rows that are so old, each of another call; all with this text as their generation's id.
fn insert(database: &Database, count: usize, age: &str, name: &str) {
    let sql = format!(
        "INSERT INTO hiems.ai_usage_logs (id, created_at, generation_id, cost_usd, cost_source, outcome, attempts,
                                          streamed, principal, calls)
         SELECT gen_random_uuid(), now() - interval '{age}' - i * interval '1 ms', '{name}', 1, 'billed', 'recorded', 1, false,
                'role:postgres', 1
         FROM generate_series(1, {count}) AS i"
    );
    database.admin().batch_execute(&sql).expect("rows");
}

/// A correcting row for each of these.
fn correct(database: &Database, name: &str) {
    let sql = format!(
        "INSERT INTO hiems.ai_usage_logs (id, created_at, generation_id, cost_usd, cost_source, outcome, attempts,
                                          streamed, principal, adjusts, calls)
         SELECT gen_random_uuid(), created_at, 'corrects ' || generation_id, 0.5, 'billed', outcome, 0, false,
                principal, id, 0
         FROM hiems.ai_usage_logs WHERE generation_id = '{name}'"
    );
    database.admin().batch_execute(&sql).expect("rows");
}

/// How many rows are left of what was inserted with each text.
fn left(database: &Database) -> Vec<(String, i64)> {
    let sql = "SELECT generation_id, count(*) FROM hiems.ai_usage_logs GROUP BY 1 ORDER BY 1";
    let rows = database.admin().query(sql, &[]).expect("the ledger");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn expected(rows: &[(&str, i64)]) -> Vec<(String, i64)> {
    rows.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

/// With rows in it, and a gateway that has begun after they had come.
fn begin(retention: Option<&str>, rows: impl FnOnce(&Database)) -> Database<'static> {
    let database = Database::without_key();
    rows(&database);
    if let Some(retention) = retention {
        database.set("hiems.ledger_retention", retention);
    }
    database.store_key();
    database
}

#[test]
fn rows_stay_for_ever_by_default() {
    let database = begin(None, |database| insert(database, 3, "100 years", "old"));
    assert!(!database.gateways().is_empty());
    call(&mut database.admin(), "{}").expect("an answer");
    database.wait_until_booked();
    assert_eq!(database.count("hiems.ai_usage_logs WHERE generation_id = 'old'"), 3);
}

#[test]
fn what_is_older_goes_with_its_corrections() {
    let database = begin(Some("30d"), |database| {
        insert(database, 5, "31 days", "old");
        insert(database, 4, "29 days", "new");
        correct(database, "old");
        correct(database, "new");
    });
    wait_until("the old ones have gone", SOON, || {
        left(&database) == expected(&[("corrects new", 4), ("new", 4)])
    });
}

/// A correction that its row has left alone goes, too.
#[test]
fn a_correction_of_nothing_goes_as_well() {
    let database = begin(Some("30d"), |database| {
        let sql = "INSERT INTO hiems.ai_usage_logs (id, created_at, generation_id, cost_usd, cost_source, outcome,
                                                    attempts, streamed, principal, adjusts, calls)
                   VALUES (gen_random_uuid(), now() - interval '31 days', 'x', 1, 'billed', 'recorded', 0, false, 'p',
                           gen_random_uuid(), 0)";
        database.admin().batch_execute(sql).expect("a row");
    });
    wait_until("it has gone", SOON, || left(&database).is_empty());
}

#[test]
fn less_than_a_day_is_a_day() {
    let database = begin(Some("1s"), |database| {
        insert(database, 2, "25 hours", "old");
        insert(database, 2, "23 hours", "new");
    });
    wait_until("the old ones have gone", SOON, || left(&database) == expected(&[("new", 2)]));
}

/// The sweep would take a call without a row for one that is not booked.
#[test]
fn the_row_of_a_call_in_the_journal_stays() {
    let database = begin(Some("30d"), |database| {
        insert(database, 1, "40 days", "on its way");
        insert(database, 1, "31 days", "old");
        let sql =
            "INSERT INTO hiems_private.calls (id, state, created_at, settled_at, system_identifier,
                                                    generation_id, look_up, principal, entry)
                   SELECT id, 'booked', created_at, now(), 0, generation_id, true, principal,
                          '{\"key_name\": \"default\", \"cost_source\": \"billed\"}'
                   FROM hiems.ai_usage_logs WHERE generation_id = 'on its way'";
        database.admin().batch_execute(sql).expect("a call");
    });
    wait_until("the other has gone", SOON, || left(&database) == expected(&[("on its way", 1)]));
    let mut admin = database.admin();
    admin.batch_execute("DELETE FROM hiems_private.calls").expect("it has been looked up");
    // The next gateway looks at once.
    database.end_gateway();
    wait_until("it has gone, too", SOON, || {
        call(&mut admin, "{}").expect("an answer");
        database.count("hiems.ai_usage_logs WHERE generation_id = 'on its way'") == 0
    });
}

#[test]
fn many_go_while_calls_are_made_and_nobody_else_deletes_any() {
    const CALLS: usize = 20;
    let mut database = begin(Some("30d"), |database| insert(database, 20_000, "31 days", "old"));
    let old =
        |database: &Database| database.count("hiems.ai_usage_logs WHERE generation_id = 'old'");
    let caller = database.role_with("admin");
    let mut admin = database.admin();
    for _ in 0..CALLS {
        call(&mut admin, "{}").expect("an answer");
        for change in [
            "DELETE FROM hiems.ai_usage_logs",
            "UPDATE hiems.ai_usage_logs SET cost_usd = 0",
            "TRUNCATE hiems.ai_usage_logs",
        ] {
            assert_eq!(admin.batch_execute(change).sqlstate(), "42501", "{change}");
        }
    }
    let is_deleting = "SELECT hiems_private.deletes_old_rows()::text";
    assert_eq!(database.text(is_deleting, &[]).as_deref(), Some("false"));
    assert_eq!(database.connect(&caller).query_one(is_deleting, &[]).sqlstate(), "42501");
    let mut caller = database.connect(&caller);
    caller.batch_execute("SELECT hiems.current_principal()").expect("the library is loaded");
    let refusal = caller.batch_execute("SET hiems.ledger_retention = '1d'");
    assert_eq!(refusal.sqlstate(), "42501");
    wait_until("all have gone", SOON, || old(&database) == 0);
    database.wait_until_booked();
    assert_eq!(database.count("hiems.ai_usage_logs"), CALLS as i64);
}

#[test]
fn a_lock_on_the_ledger_is_not_waited_for() {
    let database = begin(Some("30d"), |database| {
        insert(database, 3, "29 days", "new");
        insert(database, 1, "31 days", "first");
    });
    // It looks once a minute.
    wait_until("the gateway has looked", SOON, || left(&database) == expected(&[("new", 3)]));
    insert(&database, 2, "31 days", "old");
    let mut holder = database.admin();
    let mut holder = holder.transaction().expect("BEGIN");
    holder.execute("LOCK TABLE hiems.ai_usage_logs IN EXCLUSIVE MODE", &[]).expect("a lock");
    // The next gateway looks at once, and finds it locked.
    let mut admin = database.admin();
    database.end_gateway();
    for _ in 0..3 {
        call(&mut admin, "{}").expect("an answer, that the gateway books later");
    }
    assert_eq!(left(&database), expected(&[("new", 3), ("old", 2)]));
    holder.rollback().expect("ROLLBACK");
    database.wait_until_booked();
    wait_until("the old ones have gone", SOON, || {
        database.count("hiems.ai_usage_logs WHERE generation_id = 'old'") == 0
    });
    assert_eq!(database.count("hiems.ai_usage_logs"), 6);
}

/// Who has locked a row holds up nobody's call, only the rows that are to go.
#[test]
fn a_lock_on_an_old_row_is_not_waited_for() {
    let database = begin(None, |database| insert(database, 3, "31 days", "old"));
    database.set("hiems.ledger_retention", "30d");
    let mut holder = database.admin();
    let mut holder = holder.transaction().expect("BEGIN");
    let lock = "SELECT FROM hiems.ai_usage_logs WHERE generation_id = 'old' LIMIT 1 FOR KEY SHARE";
    holder.execute(lock, &[]).expect("a lock");
    let mut admin = database.admin();
    database.end_gateway();
    admin.batch_execute("SET statement_timeout = '20s'").expect("a setting");
    for _ in 0..20 {
        call(&mut admin, "{}").expect("an answer");
    }
    assert_eq!(database.count("hiems.ai_usage_logs WHERE generation_id = 'old'"), 3);
    holder.rollback().expect("ROLLBACK");
    wait_until("the old ones have gone", SOON, || {
        database.count("hiems.ai_usage_logs WHERE generation_id = 'old'") == 0
    });
}

/// Realtime tells every subscriber of every row that is deleted.
#[test]
fn a_published_ledger_loses_few_at_a_time() {
    const ROWS: i64 = 220;
    const PER_SECOND: f64 = 50.0;
    let mut began = Instant::now();
    let database = begin(None, |database| {
        insert(database, ROWS as usize / 2, "31 days", "old");
        correct(database, "old");
        let publish = "CREATE PUBLICATION supabase_realtime FOR TABLE hiems.ai_usage_logs";
        database.admin().batch_execute(publish).expect("a publication");
        database.set("hiems.ledger_retention", "30d");
        // It does not leave as idle while there are more.
        database.set("hiems.worker_idle_timeout", "300ms");
        // No gateway has begun yet.
        began = Instant::now();
    });
    let mut left = ROWS;
    wait_until("all have gone", SOON, || {
        left = database.count("hiems.ai_usage_logs");
        // Looked at before the clock is: no more than that can have gone by then.
        let allowed = PER_SECOND * (began.elapsed().as_secs_f64() + 2.0);
        assert!(((ROWS - left) as f64) < allowed, "{left} are left after {:?}", began.elapsed());
        left == 0
    });
    assert!(began.elapsed() > Duration::from_secs(2));
}
