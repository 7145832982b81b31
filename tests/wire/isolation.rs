//! What goes wrong with one call, or is done to the gateway, harms no other.

use std::sync::atomic::{AtomicBool, Ordering};

use hiems_tests::{
    Database, ResultExt, Running, SOON, cluster, directives, user_message, wait_until,
};
use postgres::{Client, GenericClient};

const CALL: &str =
    "SELECT hiems.submit_prompt('openai/gpt-4o-mini', $1::text::jsonb, use_case => $2,
                                               options => $3::text::jsonb)";

fn call(
    client: &mut impl GenericClient,
    use_case: &str,
    delay: &str,
) -> Result<u64, postgres::Error> {
    let options = directives(&[("fake_delay_ms", delay)]);
    client.execute(CALL, &[&user_message("hello"), &use_case, &options])
}

/// One that waits until its settlement is durable.
fn call_once(client: &mut Client, use_case: &str) -> Result<u64, postgres::Error> {
    const CALL_ONCE: &str =
        "SELECT hiems.submit_prompt('openai/gpt-4o-mini', $1::text::jsonb, use_case => $2,
                                                        idempotency_key => 'key')";
    client.execute(CALL_ONCE, &[&user_message("hello"), &use_case])
}

#[test]
fn a_row_that_cannot_be_booked_holds_up_no_other() {
    let database = Database::new();
    let mut admin = database.admin();
    admin
        .batch_execute("ALTER TABLE hiems.ai_usage_logs ADD CHECK (use_case <> 'poison')")
        .expect("a constraint");
    for use_case in ["poison", "good", "poison", "good"] {
        let mut transaction = admin.transaction().expect("BEGIN");
        // The poisoned row fails in the caller's own insert, too.
        let _ = transaction.execute(CALL, &[&user_message("hello"), &use_case, &directives(&[])]);
        transaction.rollback().expect("ROLLBACK");
    }
    wait_until("the good calls are booked", SOON, || {
        database.count("hiems.ai_usage_logs WHERE outcome = 'rolled_back'") == 2
    });
    assert_eq!(database.count("hiems_private.calls"), 2, "the others are kept");
    admin
        .batch_execute(
            "ALTER TABLE hiems.ai_usage_logs DROP CONSTRAINT ai_usage_logs_use_case_check",
        )
        .expect("no constraint");
    database.wait_until_booked();
    assert_eq!(database.count("hiems.ai_usage_logs WHERE cost_source = 'billed'"), 4);
}

#[test]
fn a_settlement_that_cannot_be_written_holds_up_no_other() {
    let database = Database::new();
    database
        .admin()
        .batch_execute(
            "ALTER TABLE hiems_private.calls
             ADD CONSTRAINT poison CHECK (state = 'sent' OR entry ->> 'use_case' <> 'poison')",
        )
        .expect("a constraint");
    std::thread::scope(|scope| {
        let mut poisoned = database.admin();
        let poisoned = scope.spawn(move || call_once(&mut poisoned, "poison"));
        wait_until("the poisoned call is answered", SOON, || {
            database.fake.bill().iter().filter(|generation| generation.delivered).count() == 1
        });
        // Those that come later are answered all the same.
        let mut client = database.admin();
        for _ in 0..3 {
            call(&mut client, "good", "0").expect("an answer");
        }
        // It waits, and loses nothing.
        assert!(!poisoned.is_finished());
        database
            .admin()
            .batch_execute("ALTER TABLE hiems_private.calls DROP CONSTRAINT poison")
            .expect("no constraint");
        poisoned.join().expect("no panic").expect("the answer");
    });
    database.wait_until_booked();
    assert_eq!(database.count("hiems.ai_usage_logs WHERE outcome = 'committed'"), 4);
}

#[test]
fn cancelling_the_gateway_cancels_no_call() {
    let database = Database::new();
    let pid = database.gateways()[0];
    let running = Running::start(database.admin(), &directives(&[("fake_delay_ms", "1000")]));
    wait_until("the call is in flight", SOON, || database.fake.in_flight() == 1);
    for _ in 0..3 {
        database.admin().execute("SELECT pg_cancel_backend($1)", &[&pid]).expect("a signal");
    }
    running.end().1.expect("the answer");
    assert_eq!(database.gateways(), [pid], "it is still the same gateway");
}

#[test]
fn places_in_flight_are_filled_before_calls_are_refused() {
    let database = Database::without_key();
    database.set("hiems.max_in_flight", "1");
    database.store_key();
    // Some sessions ask all the time, and never get a place: there is no such key.
    let mut asking: Vec<_> = (0..7).map(|_| database.admin()).collect();
    let mut calling = database.admin();
    let has_ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for client in &mut asking {
            client.batch_execute("SET hiems.api_key_name = 'none'").expect("SET");
            scope.spawn(|| {
                while !has_ended.load(Ordering::Relaxed) {
                    assert_eq!(call(client, "refused", "0").sqlstate(), "PT503");
                }
            });
        }
        let answers: Vec<_> = (0..200).map(|_| call(&mut calling, "place", "0")).collect();
        has_ended.store(true, Ordering::Relaxed);
        for (number, answer) in answers.into_iter().enumerate() {
            answer.unwrap_or_else(|error| panic!("call {number}: {error:?}"));
        }
    });
    assert_eq!(database.fake.requests().len(), 200);
}

#[test]
fn no_more_calls_than_places_are_sent() {
    let database = Database::without_key();
    database.set("hiems.max_in_flight", "1");
    database.store_key();
    let mut sessions: Vec<_> = (0..4).map(|_| database.admin()).collect();
    let results: Vec<_> = std::thread::scope(|scope| {
        let calls: Vec<_> = sessions
            .iter_mut()
            .map(|client| scope.spawn(|| call(client, "place", "5000")))
            .collect();
        calls.into_iter().map(|call| call.join().expect("no panic")).collect()
    });
    let (answered, refused): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!(answered.len(), 1);
    for result in refused {
        assert_eq!(result.sqlstate(), "PT429");
    }
    assert_eq!(database.fake.requests().len(), 1);
}

#[test]
fn an_unknown_time_zone_is_no_setting() {
    let database = Database::new();
    let mut admin = database.admin();
    let set = "SET hiems.reporting_time_zone = 'Europe/Stokholm'";
    admin.batch_execute("LOAD 'hiems'").expect("the library");
    assert_eq!(admin.batch_execute(set).sqlstate(), "22023");
    for zone in ["Europe/Stockholm", "UTC", "EST5EDT", ""] {
        admin.batch_execute(&format!("SET hiems.reporting_time_zone = '{zone}'")).expect(zone);
    }
}

#[test]
fn labels_and_metadata_have_bounds() {
    let database = Database::new();
    let mut admin = database.admin();
    let call = |admin: &mut Client, arguments: &str, text: &str| {
        let sql = format!(
            "SELECT hiems.submit_prompt('openai/gpt-4o-mini', '[{{\"role\": \"user\", \"content\": \"hi\"}}]', {arguments})"
        );
        admin.execute(&sql, &[&text]).map(|_| ())
    };
    for label in ["\"user\"", "use_case", "session_id"] {
        let argument = format!("{label} => $1");
        let refusal = call(&mut admin, &argument, &"å".repeat(257)).refusal();
        assert_eq!(refusal.sqlstate, "22023", "{label}");
        call(&mut admin, &argument, &"å".repeat(128)).expect(label);
    }
    admin
        .execute("SELECT set_config('hiems.use_case', repeat('x', 513), false)", &[])
        .expect("SET");
    assert_eq!(call(&mut admin, "\"user\" => $1", "u").sqlstate(), "22023");
    admin.batch_execute("RESET hiems.use_case").expect("RESET");
    let metadata = |length| format!("{{\"a\": \"{}\"}}", "x".repeat(length));
    let argument = "metadata => $1::text::jsonb";
    assert_eq!(call(&mut admin, argument, &metadata(70_000)).sqlstate(), "22023");
    call(&mut admin, argument, &metadata(60_000)).expect("metadata");
    // Deeper than a JSON library's usual limit: what jsonb holds is kept.
    call(&mut admin, argument, &format!("{}1{}", "[".repeat(500), "]".repeat(500))).expect("depth");
    assert_eq!(database.fake.requests().len(), 5);
}

#[test]
fn a_role_made_anew_under_a_dropped_ones_name_has_no_level() {
    let mut database = Database::new();
    let role = database.role_with("admin");
    let mut admin = database.admin();
    admin
        .batch_execute(&format!(
            "DROP OWNED BY {role}; DROP ROLE {role}; CREATE ROLE {role} LOGIN;
             CREATE ROLE {role}_other; GRANT {role} TO {role}_other;
             GRANT USAGE ON SCHEMA hiems TO {role}_other;
             GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA hiems TO {role}_other;
             SET ROLE {role}_other"
        ))
        .expect("a role made anew");
    let has: bool = admin.query_one("SELECT hiems.has_level('admin')", &[]).expect("a row").get(0);
    assert!(!has);
    // Nor does a level that it is given bring the old ones back.
    admin.batch_execute("RESET ROLE").expect("RESET ROLE");
    admin.execute("SELECT hiems.grant_access($1, 'caller')", &[&role]).expect("a level");
    admin.batch_execute(&format!("SET ROLE {role}")).expect("SET ROLE");
    let levels = "SELECT hiems.has_level('admin'), hiems.has_level('caller')";
    let row = admin.query_one(levels, &[]).expect("a row");
    assert_eq!((row.get(0), row.get(1)), (false, true));
    admin
        .batch_execute(&format!("RESET ROLE; DROP OWNED BY {role}_other; DROP ROLE {role}_other"))
        .expect("a clean server");
}

#[test]
fn a_database_that_is_not_utf8_is_refused() {
    let mut admin = cluster().connect("postgres", "postgres");
    admin
        .batch_execute(
            "CREATE DATABASE hiems_latin1 ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0",
        )
        .expect("a database");
    let refusal = cluster()
        .connect("hiems_latin1", "postgres")
        .batch_execute("CREATE EXTENSION hiems")
        .refusal();
    admin.batch_execute("DROP DATABASE hiems_latin1 WITH (FORCE)").expect("no database");
    assert_eq!(refusal.sqlstate, "0A000");
}
