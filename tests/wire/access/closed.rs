//! Without a level there is nothing to call and nothing to read, whatever is granted by hand.

use hiems_tests::{Database, ResultExt};

use super::{HARMLESS, call, calls_of_functions, count, reads_of_relations, with_two_rows};

const BOTH: [&str; 2] = ["hiems", "hiems_private"];

#[test]
fn a_role_without_a_level_reads_and_calls_nothing() {
    let (mut database, _) = with_two_rows();
    let stranger = database.role("stranger");
    let mut admin = database.admin();
    let mut tries = calls_of_functions(&mut admin, &BOTH, "('')");
    tries.extend(reads_of_relations(&mut admin, &BOTH));
    let mut client = database.connect(&stranger);
    for sql in &tries {
        assert_eq!(client.query(sql.as_str(), &[]).sqlstate(), "42501", "{sql}");
    }
    // The schemas' own closedness is not all that holds.
    admin
        .batch_execute(&format!("GRANT USAGE ON SCHEMA hiems, hiems_private TO {stranger}"))
        .expect("a grant");
    for sql in &tries {
        assert_eq!(client.query(sql.as_str(), &[]).sqlstate(), "42501", "{sql}");
    }
    assert_eq!(database.fake.requests().len(), 2);
}

#[test]
fn grants_by_hand_let_nobody_call() {
    let (mut database, _) = with_two_rows();
    let careless = database.role("careless");
    let mut admin = database.admin();
    database.open_by_hand(&careless);
    let mut client = database.connect(&careless);
    for sql in calls_of_functions(&mut admin, &["hiems"], HARMLESS) {
        assert_eq!(client.query(sql.as_str(), &[]).sqlstate(), "42501", "{sql}");
    }
    let refusal = call(&mut client, "").refusal();
    assert_eq!(refusal.sqlstate, "42501");
    assert_eq!(refusal.message, "permission denied: this needs the level \"caller\"");
    assert_eq!(database.fake.requests().len(), 2);
}

#[test]
fn grants_by_hand_show_no_rows() {
    let (mut database, _) = with_two_rows();
    let careless = database.role("careless");
    database.open_by_hand(&careless);
    let mut client = database.connect(&careless);
    // Row-level security hides the rows; it raises nothing, since an error in a policy stops Supabase
    // Realtime for everybody.
    let seen = count(&mut client, "hiems.ai_usage_logs").expect("a policy raises nothing");
    assert_eq!(seen, 0);
    for view in super::REPORTS.iter().chain(&super::MY_VIEWS) {
        let rows = client
            .query(&format!("SELECT * FROM hiems.{view}"), &[])
            .expect("a view raises nothing");
        for row in rows {
            assert_eq!(row.get::<_, i64>("calls"), 0, "{view}");
        }
    }
}

#[test]
fn grants_by_hand_change_no_row() {
    let (mut database, _) = with_two_rows();
    let careless = database.role("careless");
    database.open_by_hand(&careless);
    let mut client = database.connect(&careless);
    let row = "gen_random_uuid(), now(), now(), 0, 'billed', 'committed', 1, false, '3', 'p', 1";
    let insert = format!(
        "INSERT INTO hiems.ai_usage_logs (id, created_at, booked_at, cost_usd, cost_source, outcome,
             attempts, streamed, booked_xid, principal, calls) SELECT {row}"
    );
    for sql in [
        insert.as_str(),
        "UPDATE hiems.ai_usage_logs SET cost_usd = 0",
        "UPDATE hiems.ai_usage_logs SET cost_usd = 0 WHERE false",
        "DELETE FROM hiems.ai_usage_logs",
        "TRUNCATE hiems.ai_usage_logs",
        "INSERT INTO hiems.ai_usage_logs SELECT * FROM hiems.ai_usage_logs ON CONFLICT (id)
             DO UPDATE SET cost_usd = 0",
        "ALTER TABLE hiems.ai_usage_logs DISABLE TRIGGER ALL",
        "ALTER TABLE hiems.ai_usage_logs DISABLE ROW LEVEL SECURITY",
        "DROP TABLE hiems.ai_usage_logs",
    ] {
        assert_eq!(client.execute(sql, &[]).sqlstate(), "42501", "{sql}");
    }
    assert_eq!(database.count("hiems.ai_usage_logs"), 2);
    assert_eq!(
        database
            .text("SELECT sum(cost_usd)::text FROM hiems.ai_usage_logs WHERE cost_usd > 0", &[]),
        database.text("SELECT sum(cost_usd)::text FROM hiems.ai_usage_logs", &[])
    );
}

// Row-level security says nothing of TRUNCATE.
#[test]
fn grants_by_hand_take_no_call_off_its_way() {
    let mut database = Database::new();
    let careless = database.role("careless");
    let mut admin = database.admin();
    admin
        .batch_execute(&format!(
            "GRANT USAGE ON SCHEMA hiems_private TO {careless};
             GRANT ALL ON ALL TABLES IN SCHEMA hiems_private TO {careless}"
        ))
        .expect("grants");
    // On its way until the lock is gone, whatever the sweep does meanwhile.
    let mut holder = database.admin();
    let mut holder = holder.transaction().expect("BEGIN");
    holder.execute("LOCK TABLE hiems.ai_usage_logs", &[]).expect("a lock");
    admin.batch_execute("BEGIN").expect("a begin");
    call(&mut admin, "").expect("an answer");
    admin.batch_execute("ROLLBACK").expect("a rollback");
    let mut client = database.connect(&careless);
    client.batch_execute("SET lock_timeout = '5s'").expect("a setting");
    let truncate = client.batch_execute("TRUNCATE hiems_private.calls");
    assert_eq!(truncate.sqlstate(), "42501");
    holder.rollback().expect("a rollback");
    database.wait_until_booked();
    assert_eq!(database.count("hiems.ai_usage_logs WHERE cost_source = 'billed'"), 1);
}

#[test]
fn the_ledger_is_append_only_for_its_owner_too() {
    let (database, _) = with_two_rows();
    let mut admin = database.admin();
    for sql in [
        "UPDATE hiems.ai_usage_logs SET cost_usd = 0",
        "DELETE FROM hiems.ai_usage_logs",
        "TRUNCATE hiems.ai_usage_logs",
        "SET session_replication_role = replica; DELETE FROM hiems.ai_usage_logs",
    ] {
        assert_eq!(admin.batch_execute(sql).sqlstate(), "42501", "{sql}");
    }
    assert_eq!(database.count("hiems.ai_usage_logs"), 2);
}

/// A trigger on our tables would run with the rights that hiems writes with.
#[test]
fn nobody_puts_a_trigger_or_a_rule_on_the_ledger() {
    let (mut database, mut caller) = with_two_rows();
    let careless = database.role("careless");
    let name = &database.name;
    database.open_by_hand(&careless);
    let mut admin = database.admin();
    admin
        .batch_execute(&format!("GRANT CREATE ON DATABASE {name} TO {careless}"))
        .expect("a grant");
    let mut client = database.connect(&careless);
    client
        .batch_execute(&format!(
            "CREATE SCHEMA mine;
             GRANT USAGE ON SCHEMA mine TO PUBLIC;
             CREATE FUNCTION mine.grab() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN EXECUTE 'ALTER ROLE {careless} CREATEROLE'; RETURN NEW; END $$"
        ))
        .expect("a function");
    let trigger = client
        .batch_execute(
            "CREATE TRIGGER grab BEFORE INSERT ON hiems.ai_usage_logs
                 FOR EACH ROW EXECUTE FUNCTION mine.grab()",
        )
        .map_err(|error| error.code().map(|code| code.code().to_owned()));
    // Whether it is refused here or at the call: it never runs.
    let _ = call(&mut caller, "");
    assert_eq!(
        database.text("SELECT rolcreaterole::text FROM pg_roles WHERE rolname = $1", &[&careless]),
        Some("false".to_owned()),
        "a planted trigger ran as a superuser"
    );
    assert_eq!(trigger, Err(Some("42501".to_owned())));
    let rule = "CREATE RULE grab AS ON INSERT TO hiems.ai_usage_logs DO INSTEAD NOTHING";
    assert_eq!(client.batch_execute(rule).sqlstate(), "42501");
}
