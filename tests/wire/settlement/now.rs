//! `hiems.settle_now()`.

use hiems_tests::{Canned, Database, ResultExt, Running, SOON, call, directives, wait_until};

use super::{assert_adds_up, billed, corrections};

fn settle(database: &Database) -> Option<String> {
    database.text(
        "SELECT concat_ws(' ', settled, corrected, confirmed, unknown) FROM hiems.settle_now()",
        &[],
    )
}

#[test]
fn it_does_not_wait_for_the_next_time() {
    let database = Database::new();
    let options = directives(&[("fake_fault", "cut_length"), ("fake_lookup_lag_ms", "2000")]);
    assert_eq!(call(&mut database.admin(), &options).sqlstate(), "PT502");
    assert_eq!(settle(&database).as_deref(), Some("0 0 0 1"), "it is too early");
    wait_until("OpenRouter knows it", SOON, || settle(&database).as_deref() != Some("0 0 0 1"));
    database.wait_until_booked();
    assert_eq!(database.ledger().len(), 1);
    assert_adds_up(&database, &billed(&database));
}

#[test]
fn what_was_given_up_is_asked_for_once_more() {
    let database = Database::with("hiems.settlement_timeout", "1s");
    let options = directives(&[("fake_fault", "cut_length"), ("fake_lookup_lag_ms", "4000")]);
    assert_eq!(call(&mut database.admin(), &options).sqlstate(), "PT502");
    wait_until("it is given up", SOON, || database.count("hiems.ai_usage_logs") == 1);
    assert_eq!(database.ledger()[0]["cost_source"], "unknown");
    wait_until("OpenRouter knows it", SOON, || settle(&database).as_deref() == Some("1 0 0 0"));
    assert_eq!(corrections(&database)[0]["cost_source"], "settled");
    assert_adds_up(&database, &billed(&database));
    let unknown = database.text("SELECT calls_without_cost::text FROM hiems.usage_totals", &[]);
    assert_eq!(unknown.as_deref(), Some("0"));
    database.wait_until_booked();
    assert_eq!(settle(&database).as_deref(), Some("0 0 0 0"), "there is nothing to do");
}

#[test]
fn it_is_for_admins_and_can_be_cancelled() {
    let mut database = Database::new();
    for level in ["caller", "reader"] {
        let role = database.role_with(level);
        let refused = database.connect(&role).execute("SELECT hiems.settle_now()", &[]);
        assert_eq!(refused.sqlstate(), "42501", "{level}");
    }
    let mut reading = database.admin();
    reading.batch_execute("SET default_transaction_read_only = on").expect("set");
    assert_eq!(reading.execute("SELECT hiems.settle_now()", &[]).sqlstate(), "25006");

    let options = directives(&[("fake_fault", "cut_length"), ("fake_lookup_lag_ms", "60000")]);
    assert_eq!(call(&mut database.admin(), &options).sqlstate(), "PT502");
    // The answer to a look waits for the journal, which is locked.
    let mut locker = database.admin();
    let mut lock = locker.transaction().expect("BEGIN");
    lock.batch_execute("LOCK TABLE hiems_private.calls IN SHARE MODE").expect("a lock");
    let refused = database.admin().execute("SELECT hiems.settle_now()", &[]);
    assert_eq!(refused.sqlstate(), "PT503");
    lock.rollback().expect("ROLLBACK");
    let role = database.role_with("admin");
    let mut lock = locker.transaction().expect("BEGIN");
    lock.batch_execute("LOCK TABLE hiems.ai_usage_logs IN SHARE MODE").expect("a lock");
    let running = Running::with(database.connect(&role), |client| {
        client.execute("SELECT hiems.settle_now()", &[]).map(|_| String::new())
    });
    let mut admin = database.admin();
    wait_until("it waits", SOON, || !database.fake.lookups().is_empty());
    admin.execute("SELECT pg_cancel_backend($1)", &[&running.pid]).expect("a signal");
    assert_eq!(running.end().1.sqlstate(), "57014");
}

// It is another's turn: the next gateway asks, and nobody waits for the one that leaves.
#[test]
fn it_goes_on_with_the_next_gateway() {
    let database = Database::new();
    let options = directives(&[("fake_fault", "cut_length"), ("fake_lookup_lag_ms", "1")]);
    let mut locker = database.admin();
    assert_eq!(call(&mut database.admin(), &options).sqlstate(), "PT502");
    let mut lock = locker.transaction().expect("BEGIN");
    lock.batch_execute("LOCK TABLE hiems.ai_usage_logs IN SHARE MODE").expect("a lock");
    let running = Running::with(database.admin(), |client| {
        let row = client.query_one("SELECT settled::text FROM hiems.settle_now()", &[])?;
        Ok(row.get(0))
    });
    wait_until("it waits for the ledger", SOON, || !database.fake.lookups().is_empty());
    let gateway = database.gateways()[0];
    database.admin().execute("SELECT pg_terminate_backend($1)", &[&gateway]).expect("a signal");
    wait_until("the next gateway", SOON, || {
        let gateways = database.gateways();
        !gateways.is_empty() && !gateways.contains(&gateway)
    });
    lock.rollback().expect("ROLLBACK");
    assert_eq!(running.end().1.expect("a settlement"), "1");
    database.wait_until_booked();
    assert_adds_up(&database, &billed(&database));
}

// Whoever answers in OpenRouter's place may say anything.
#[test]
fn a_retry_after_without_end_is_not_waited_for() {
    let canned = Canned::start();
    let database = Database::with_all(&[
        ("hiems.base_url", &canned.base_url()),
        ("hiems.settlement_timeout", "1s"),
    ]);
    canned.answer(200, "x-generation-id: gen-1\r\n", b"<html>");
    assert_eq!(call(&mut database.admin(), "{}").sqlstate(), "PT502");
    let gateway = database.gateways();
    canned.answer(404, "retry-after: 18446744073709551615\r\n", b"{}");
    assert_eq!(settle(&database).as_deref(), Some("0 0 0 1"));
    database.wait_until_booked();
    assert_eq!(database.gateways(), gateway, "it is still the same");
    assert_eq!(database.ledger()[0]["cost_source"], "unknown");
}

// A row that was entered by hand, or came from elsewhere.
#[test]
fn a_row_that_names_no_key_is_passed_over() {
    let database = Database::with("hiems.settlement_timeout", "0");
    let options = directives(&[("fake_fault", "cut_length")]);
    assert_eq!(call(&mut database.admin(), &options).sqlstate(), "PT502");
    database.wait_until_booked();
    database
        .admin()
        .batch_execute(
            "INSERT INTO hiems.ai_usage_logs
             SELECT r.* FROM hiems.ai_usage_logs AS l,
                  jsonb_populate_record(l, '{\"id\": \"00000000-0000-7000-8000-000000000001\",
                                             \"key_name\": null}') AS r",
        )
        .expect("a row");
    assert_eq!(settle(&database).as_deref(), Some("1 0 0 0"));
    database.wait_until_booked();
}
