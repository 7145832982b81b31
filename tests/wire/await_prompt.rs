//! `hiems.await_prompt()`: the answer of a call whose caller has gone.

use hiems_tests::{
    Cluster, Config, Database, Refusal, ResultExt, Running, SOON, call, directives, wait_until,
};
use postgres::Client;
use serde_json::Value;

/// The id that the error names.
fn id_of(refusal: &Refusal) -> String {
    let rest = refusal.detail.strip_prefix("call ").expect("the call's id");
    rest.split(':').next().expect("the call's id").to_owned()
}

fn wait_for(client: &mut Client, id: &str, timeout: &str) -> Result<String, postgres::Error> {
    let row = client.query_one(
        "SELECT hiems.await_prompt($1::text::uuid, $2::text::interval)::text",
        &[&id, &timeout],
    )?;
    Ok(row.get(0))
}

fn content(answer: &str) -> Value {
    let answer: Value = serde_json::from_str(answer).expect("JSON");
    answer["choices"][0]["message"]["content"].clone()
}

/// A call of `role` that is cancelled while it is in flight: its session, and the call's id.
fn cancelled(database: &Database, role: &str, wishes: &[(&str, &str)]) -> (Client, String) {
    let running = Running::in_flight(database, database.connect(role), &directives(wishes), 1);
    database.admin().execute("SELECT pg_cancel_backend($1)", &[&running.pid]).expect("a signal");
    let (client, answer) = running.end();
    let refusal = answer.refusal();
    assert_eq!(refusal.sqlstate, "57014");
    let id = id_of(&refusal);
    assert!(refusal.hint.contains(&format!("hiems.await_prompt('{id}')")), "{refusal:?}");
    (client, id)
}

#[test]
fn the_error_names_the_call_and_its_answer_can_be_waited_for() {
    let mut database = Database::new();
    let role = database.role_with("caller");
    let wishes = [("fake_delay_ms", "2000"), ("fake_answer", "here it is")];
    let (mut client, id) = cancelled(&database, &role, &wishes);
    assert_eq!(database.fake.in_flight(), 1);
    // A session that looks at the past sees it, too, and one that may only read.
    client
        .batch_execute(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT count(*) FROM pg_class",
        )
        .expect("a snapshot");
    let refusal = wait_for(&mut client, &id, "100 milliseconds").refusal();
    assert_eq!(refusal.sqlstate, "PT408");
    assert_eq!(id_of(&refusal), id);
    client
        .batch_execute("ROLLBACK; BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .expect("anew");
    client.batch_execute("SELECT count(*) FROM pg_class").expect("a snapshot");
    let answer = wait_for(&mut client, &id, "1 minute").expect("the answer");
    assert_eq!(content(&answer), "here it is");
    client.batch_execute("COMMIT").expect("a commit");
    database.wait_until_booked();
    // And again, for as long as it is kept; it costs nothing.
    assert_eq!(content(&wait_for(&mut client, &id, "0").expect("the answer")), "here it is");
    assert_eq!(database.fake.requests().len(), 1);
    let rows = database.ledger();
    assert_eq!((rows.len(), &rows[0]["outcome"]), (1, &Value::from("cancelled")));
}

#[test]
fn a_timeout_of_the_statement_names_the_call() {
    let database = Database::new();
    let mut client = database.admin();
    call(&mut client, "{}").expect("a warm gateway");
    client.batch_execute("SET statement_timeout = '1s'").expect("a setting");
    let wishes = [("fake_delay_ms", "2000"), ("fake_answer", "late")];
    let refusal = call(&mut client, &directives(&wishes)).refusal();
    assert_eq!(refusal.sqlstate, "57014");
    client.batch_execute("RESET statement_timeout").expect("a setting");
    let answer: Option<String> = client
        .query_one("SELECT hiems.await_prompt($1::text::uuid)::text", &[&id_of(&refusal)])
        .expect("the answer")
        .get(0);
    assert_eq!(content(&answer.expect("an answer")), "late");
}

#[test]
fn a_session_that_was_ended_is_told_of_its_call() {
    let database = Database::new();
    let options = directives(&[("fake_delay_ms", "1000"), ("fake_answer", "for later")]);
    let running = Running::in_flight(&database, database.admin(), &options, 1);
    let mut admin = database.admin();
    admin.execute("SELECT pg_terminate_backend($1)", &[&running.pid]).expect("a signal");
    running.end().1.expect_err("the session is over");
    let id = database.text("SELECT id::text FROM hiems.calls", &[]).expect("the call");
    let words = format!("DETAIL:  call {id}");
    wait_until("the log names it", SOON, || hiems_tests::cluster().log().contains(&words));
    assert_eq!(content(&wait_for(&mut admin, &id, "1 minute").expect("the answer")), "for later");
}

#[test]
fn a_call_that_failed_fails_for_who_waits() {
    let mut database = Database::new();
    let role = database.role_with("caller");
    let cases = [
        (&[("fake_delay_ms", "1500"), ("fake_status", "402")][..], "PT402"),
        (&[("fake_delay_ms", "1500"), ("fake_fault", "cut_length")][..], "PT502"),
        (&[("fake_delay_ms", "1500"), ("fake_fault", "junk")][..], "PT502"),
    ];
    for (wishes, sqlstate) in cases {
        let (mut client, id) = cancelled(&database, &role, wishes);
        let refusal = wait_for(&mut client, &id, "1 minute").refusal();
        assert_eq!(refusal.sqlstate, sqlstate, "{wishes:?} {refusal:?}");
        assert_eq!(id_of(&refusal), id, "{refusal:?}");
        database.wait_until_booked();
        let refusal = wait_for(&mut client, &id, "0").refusal();
        assert_eq!(refusal.sqlstate, sqlstate, "{wishes:?} {refusal:?}");
    }
    assert_eq!(database.fake.requests().len(), cases.len());
}

#[test]
fn it_is_nobody_else_s() {
    let mut database = Database::new();
    let (role, other) = (database.role_with("caller"), database.role_with("admin"));
    let (mut client, id) = cancelled(&database, &role, &[("fake_delay_ms", "500")]);
    wait_for(&mut client, &id, "1 minute").expect("the answer");
    let refusal = wait_for(&mut database.connect(&other), &id, "0").refusal();
    assert_eq!(refusal.sqlstate, "PT404");
    let none = "00000000-0000-7000-8000-000000000000";
    assert_eq!(wait_for(&mut client, none, "1 minute").sqlstate(), "PT404");
    let reader = database.role_with("reader");
    assert_eq!(wait_for(&mut database.connect(&reader), &id, "0").sqlstate(), "42501");
    let null = client.query_one("SELECT hiems.await_prompt(NULL)::text", &[]).expect("NULL");
    assert_eq!(null.get::<_, Option<String>>(0), None);
}

#[test]
fn the_wait_can_be_cancelled() {
    let mut database = Database::new();
    let role = database.role_with("caller");
    let (_, id) = cancelled(&database, &role, &[("fake_delay_ms", "60000")]);
    let waiting =
        Running::with(database.connect(&role), move |client| wait_for(client, &id, "1 hour"));
    let mut admin = database.admin();
    wait_until("it waits", SOON, || {
        let waits = "SELECT wait_event = 'Extension' FROM pg_stat_activity WHERE pid = $1";
        admin
            .query_one(waits, &[&waiting.pid])
            .is_ok_and(|row| row.get::<_, Option<bool>>(0) == Some(true))
    });
    admin.execute("SELECT pg_cancel_backend($1)", &[&waiting.pid]).expect("a signal");
    assert_eq!(waiting.end().1.sqlstate(), "57014");
}

// The spill cannot be written, so that a settled call waits for the journal's lock, and its caller with it.
#[test]
fn an_answer_that_came_as_its_caller_went_is_kept() {
    let cluster = Cluster::start(&[]);
    let database = Database::on(&cluster, Config::default());
    database.store_key();
    let options = directives(&[("fake_delay_ms", "1000"), ("fake_answer", "just in time")]);
    let running = Running::in_flight(&database, database.admin(), &options, 1);
    let mut admin = database.admin();
    let id = database.text("SELECT id::text FROM hiems.calls", &[]).expect("the call");
    let extension =
        database.text("SELECT oid::text FROM pg_extension WHERE extname = 'hiems'", &[]);
    let spill = format!("hiems_calls.{}.{}", database.oid(), extension.expect("an OID"));
    let spill = cluster.data().join(spill);
    std::fs::create_dir(&spill).expect("a folder in the file's place");
    let mut locker = database.admin();
    let mut lock = locker.transaction().expect("BEGIN");
    lock.batch_execute("LOCK TABLE hiems_private.calls").expect("a lock");
    wait_until("the answer has come", SOON, || database.fake.in_flight() == 0);
    wait_until("it cannot be written", SOON, || {
        cluster.log().contains("the spill cannot be written")
    });
    admin.execute("SELECT pg_cancel_backend($1)", &[&running.pid]).expect("a signal");
    let (mut client, answer) = running.end();
    assert_eq!(answer.sqlstate(), "57014");
    std::fs::remove_dir(&spill).expect("the folder goes");
    lock.rollback().expect("ROLLBACK");
    let answer = wait_for(&mut client, &id, "1 minute").expect("the answer");
    assert_eq!(content(&answer), "just in time");
}

// What is in the spill of the gateway before is waited for, too.
#[test]
fn a_call_that_the_next_gateway_has_to_write_is_waited_for() {
    let mut database = Database::new();
    let role = database.role_with("caller");
    let mut locker = database.admin();
    let mut lock = locker.transaction().expect("BEGIN");
    // Readers are let through.
    lock.batch_execute("LOCK TABLE hiems_private.calls IN SHARE MODE").expect("a lock");
    let wishes = [("fake_delay_ms", "1000"), ("fake_answer", "left behind")];
    let (mut client, id) = cancelled(&database, &role, &wishes);
    wait_until("the answer has come", SOON, || database.fake.in_flight() == 0);
    let gateway = database.gateways()[0];
    database.admin().execute("SELECT pg_terminate_backend($1)", &[&gateway]).expect("a signal");
    wait_until("the gateway has left", SOON, || !database.gateways().contains(&gateway));
    assert_eq!(wait_for(&mut client, &id, "2 s").sqlstate(), "PT408", "it has not ended for us");
    let waiting = Running::with(client, move |client| wait_for(client, &id, "1 minute"));
    lock.rollback().expect("ROLLBACK");
    let answer = waiting.end().1.expect("the answer");
    assert_eq!(content(&answer), "left behind");
}

#[test]
fn another_s_call_in_flight_is_as_if_it_did_not_exist() {
    let mut database = Database::new();
    let (one, other) = (database.role_with("caller"), database.role_with("service"));
    let (_, id) = cancelled(&database, &one, &[("fake_delay_ms", "3000")]);
    assert_eq!(database.fake.in_flight(), 1);
    let mut stranger = database.connect(&other);
    assert_eq!(wait_for(&mut stranger, &id, "1 minute").sqlstate(), "PT404");
    assert_eq!(database.fake.in_flight(), 1, "it is not waited for");
    database.wait_until_booked();
}
