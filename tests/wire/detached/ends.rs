//! How it ends: cancelled, failed, behind locks, in a gateway that dies.

use hiems_tests::{Database, Refusal, ResultExt, Running, call, directives, wait_until};
use postgres::Client;
use postgres::fallible_iterator::FallibleIterator;
use serde_json::json;

use super::{SOON, assert_booked, content, detached, run, statement};

const LEDGER: &str = "hiems.ai_usage_logs";

/// The id that the error names.
fn id_of(refusal: &Refusal) -> String {
    let rest = refusal.detail.strip_prefix("call ").expect("the call's id");
    rest.split(':').next().expect("the call's id").to_owned()
}

fn wait_for(client: &mut Client, id: &str) -> String {
    client
        .query_one("SELECT hiems.await_prompt($1::text::uuid)::text", &[&id])
        .expect("the answer")
        .get(0)
}

fn running(database: &Database, options: &str) -> Running {
    let options = options.to_owned();
    let running = Running::with(database.admin(), move |client| detached(client, &options));
    running.wait_until_in_flight(database, 1);
    running
}

#[test]
fn a_cancel_acts_at_once_and_the_answer_is_kept() {
    let database = Database::new();
    let options = directives(&[("fake_delay_ms", "2000"), ("fake_answer", "kept")]);
    let running = running(&database, &options);
    database.admin().execute("SELECT pg_cancel_backend($1)", &[&running.pid]).expect("a signal");
    let (mut client, answer) = running.end();
    let refusal = answer.refusal();
    assert_eq!(refusal.sqlstate, "57014");
    assert_eq!(database.fake.in_flight(), 1);
    // The session is sound.
    assert!(content(&detached(&mut client, "{}").expect("an answer")).is_string());
    assert_eq!(content(&wait_for(&mut client, &id_of(&refusal))), "kept");
    database.wait_until_booked();
    assert_booked(&database, &["cancelled", "committed"]);
}

#[test]
fn a_statement_timeout_acts_at_once() {
    let database = Database::new();
    let mut client = database.admin();
    detached(&mut client, "{}").expect("a warm gateway");
    client.batch_execute("SET statement_timeout = '500ms'").expect("a setting");
    let options = directives(&[("fake_delay_ms", "2000"), ("fake_answer", "late")]);
    let refusal = detached(&mut client, &options).refusal();
    assert_eq!(refusal.sqlstate, "57014");
    // In a block, too, where it can be caught by none: the commit would not be allowed there.
    let block = format!(
        "DO $$ DECLARE answer jsonb; BEGIN {}; END $$",
        statement(&options, ", answer => answer")
    );
    assert_eq!(client.batch_execute(&block).sqlstate(), "57014");
    client.batch_execute("RESET statement_timeout").expect("a setting");
    detached(&mut client, "{}").expect("the session works");
    assert_eq!(content(&wait_for(&mut client, &id_of(&refusal))), "late");
    database.wait_until_booked();
    assert_booked(&database, &["committed", "cancelled", "cancelled", "committed"]);
}

#[test]
fn a_session_that_was_ended_leaves_its_call() {
    let database = Database::new();
    let options = directives(&[("fake_delay_ms", "1500"), ("fake_answer", "for later")]);
    let running = running(&database, &options);
    let mut admin = database.admin();
    admin.execute("SELECT pg_terminate_backend($1)", &[&running.pid]).expect("a signal");
    running.end().1.expect_err("the session is over");
    let id = database.text("SELECT id::text FROM hiems.calls", &[]).expect("the call");
    wait_until("the log names it", SOON, || {
        hiems_tests::cluster().log().contains(&format!("DETAIL:  call {id}"))
    });
    assert_eq!(content(&wait_for(&mut admin, &id)), "for later");
    database.wait_until_booked();
    assert_booked(&database, &["cancelled"]);
}

#[test]
fn what_failed_is_booked_when_the_error_comes() {
    let database = Database::new();
    let mut client = database.admin();
    let refusal = detached(&mut client, &directives(&[("fake_status", "402")])).refusal();
    assert_eq!(refusal.sqlstate, "PT402");
    let rows = database.ledger();
    assert_eq!(rows.len(), 1);
    assert_eq!((&rows[0]["outcome"], &rows[0]["cost_usd"]), (&json!("failed"), &json!(0)));
    assert_eq!(rows[0]["id"], json!(id_of(&refusal)));
    detached(&mut client, "{}").expect("the session works");
}

// As for every other form of call.
#[test]
fn a_cost_that_is_not_known_is_found_out() {
    let database = Database::new();
    let mut client = database.admin();
    let wishes = [("fake_fault", "cut_length"), ("fake_cost", "0.0125")];
    assert_eq!(detached(&mut client, &directives(&wishes)).sqlstate(), "PT502");
    database.wait_until_booked();
    let rows = database.ledger();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["cost_usd"].to_string(), "0.0125");
    assert_eq!(rows[0]["cost_source"], "settled");
}

#[test]
fn a_row_that_is_compared_with_openrouters_record_stays_on_the_list() {
    let database = Database::with("hiems.verify_every_cost", "on");
    let mut client = database.admin();
    detached(&mut client, &directives(&[("fake_cost", "0.25")])).expect("an answer");
    assert_booked(&database, &["committed"]);
    wait_until("it was looked up", SOON, || database.count("hiems_private.calls") == 0);
    assert_eq!(database.count(LEDGER), 1);
}

#[test]
fn somebodys_lock_holds_up_no_answer() {
    let database = Database::new();
    let mut client = database.admin();
    client.batch_execute("SET statement_timeout = '5s'").expect("a setting");
    detached(&mut client, "{}").expect("a warm gateway");
    let tables = [
        LEDGER,
        "hiems_private.calls",
        "hiems_private.exchange_rates",
        "hiems.ai_usage_logs, hiems_private.calls, hiems_private.exchange_rates",
    ];
    for (turn, tables) in tables.iter().enumerate() {
        let mut holder = database.admin();
        holder
            .batch_execute(&format!("BEGIN; LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE"))
            .expect("a lock");
        detached(&mut client, "{}").unwrap_or_else(|error| panic!("{tables}: {error}"));
        drop(holder);
        wait_until("its row is there", SOON, || database.count(LEDGER) == turn as i64 + 2);
    }
    database.wait_until_booked();
    assert_booked(&database, &["committed"; 5]);
}

// A failing insert must not take the answer with it, nor other calls' settlements.
#[test]
fn a_row_that_the_ledger_refuses_holds_up_no_answer() {
    let database = Database::new();
    let mut client = database.admin();
    let constraint = "ALTER TABLE hiems.ai_usage_logs
                      ADD CONSTRAINT not_bad CHECK (user_id <> 'bad') NOT VALID";
    client.batch_execute(constraint).expect("a constraint");
    client.batch_execute("SET statement_timeout = '10s'").expect("a setting");
    run(&mut client, &statement("{}", ", \"user\" => 'bad'")).expect("an answer");
    detached(&mut client, "{}").expect("another one");
    wait_until("the other one is booked", SOON, || database.count(LEDGER) == 1);
    client.batch_execute("ALTER TABLE hiems.ai_usage_logs DROP CONSTRAINT not_bad").expect("none");
    wait_until("both are booked", SOON, || database.count(LEDGER) == 2);
    database.wait_until_booked();
    assert_booked(&database, &["committed"; 2]);
}

#[test]
fn listeners_are_told_by_the_gateway() {
    let database = Database::new();
    let mut listener = database.admin();
    listener.batch_execute("LISTEN hiems_usage").expect("a listener");
    detached(&mut database.admin(), "{}").expect("an answer");
    let id = database.ledger()[0]["id"].as_str().expect("an id").to_owned();
    let mut notifications = listener.notifications();
    let notification = notifications.timeout_iter(SOON).next().expect("a session");
    let payload = notification.map(|told| told.payload().to_owned());
    assert!(payload.expect("a payload").contains(&id));
}

#[test]
fn a_gateway_that_dies_leaves_it_to_the_next() {
    let database = Database::new();
    let options = directives(&[("fake_delay_ms", "1500"), ("fake_cost", "0.5")]);
    let running = running(&database, &options);
    // It waits for what is in flight when it is told to leave: the call ends well.
    let gateway = database.gateways()[0];
    database.admin().execute("SELECT pg_terminate_backend($1)", &[&gateway]).expect("a signal");
    let (mut client, answer) = running.end();
    answer.expect("an answer");
    call(&mut client, "{}").expect("an answer of the next");
    database.wait_until_booked();
    assert_booked(&database, &["committed", "committed"]);
}
