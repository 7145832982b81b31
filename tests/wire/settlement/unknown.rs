//! Calls whose outcome is not known wait for OpenRouter's record, and are booked with what it says.

use hiems_tests::{Database, ResultExt, Running, SOON, call, directives, wait_until};
use serde_json::{Value, json};

use super::{assert_adds_up, billed};

#[test]
fn a_call_that_was_given_up_is_booked_with_what_it_did_cost() {
    let database = Database::with("hiems.request_timeout", "1s");
    database
        .admin()
        .execute("SELECT hiems.set_exchange_rate('USD', 9.5, current_date, 'test')", &[])
        .expect("a rate");
    let options = directives(&[
        ("fake_delay_ms", "3000"),
        ("fake_cost", "0.0076509169000000005"),
        ("fake_cached_tokens", "3"),
    ]);
    assert_eq!(call(&mut database.admin(), &options).sqlstate(), "PT504");
    // It is on its way until its cost is known, and says so.
    let state = database.text("SELECT state FROM hiems.calls", &[]);
    assert_eq!(state.as_deref(), Some("unknown"));
    assert_eq!(database.count("hiems.ai_usage_logs"), 0);
    database.wait_until_booked();
    let rows = database.ledger();
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(rows[0]["outcome"], "failed");
    assert_eq!(rows[0]["error_code"], "timeout");
    assert_eq!(rows[0]["cost_source"], "settled");
    assert_eq!(rows[0]["cost_usd"].to_string(), "0.0076509169000000005");
    assert_eq!(rows[0]["cost_sek"].to_string(), "0.07268371055000000475");
    assert_adds_up(&database, &billed(&database));
    assert_eq!(database.fake.requests().len(), 1, "it is never sent again");
    assert!(database.fake.lookups().len() > 1, "it was not found at first");
}

#[test]
fn a_record_that_comes_late_and_after_errors_is_waited_for() {
    let database = Database::new();
    let options = directives(&[
        ("fake_fault", "cut_length"),
        ("fake_lookup_lag_ms", "2500"),
        ("fake_lookup_errors", "429,500"),
    ]);
    assert_eq!(call(&mut database.admin(), &options).sqlstate(), "PT502");
    database.wait_until_booked();
    assert_eq!(database.ledger()[0]["cost_source"], "settled");
    assert_adds_up(&database, &billed(&database));
    assert!(database.fake.lookups().len() >= 3, "{:?}", database.fake.lookups());
}

#[test]
fn what_a_gateway_left_in_flight_is_settled_by_the_next() {
    let database = Database::new();
    let options = directives(&[("fake_delay_ms", "20000")]);
    let running = Running::in_flight(&database, database.admin(), &options, 1);
    let mut admin = database.admin();
    wait_until("the generation's id is in the journal", SOON, || {
        admin
            .query_one("SELECT generation_id IS NOT NULL FROM hiems_private.calls", &[])
            .is_ok_and(|row| row.get(0))
    });
    // It waits 10 s for the call, and then leaves without it.
    let gateway = database.gateways()[0];
    admin.execute("SELECT pg_terminate_backend($1)", &[&gateway]).expect("a signal");
    let refusal = running.end().1.refusal();
    assert_eq!(refusal.sqlstate, "PT502", "{refusal:?}");
    // Nobody books before the next gateway is there.
    call(&mut admin, "{}").expect("an answer");
    database.wait_until_booked();
    let rows = database.ledger();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0]["cost_source"], "settled");
    assert_eq!(rows[0]["error_code"], "gateway_lost");
    let bill = database.fake.bill();
    assert_eq!(bill.len(), 2, "nothing is sent again");
    for generation in &bill {
        assert_adds_up(&database, generation);
    }
}

#[test]
fn where_there_is_no_record_the_cost_stays_unknown() {
    let database = Database::with("hiems.settlement_timeout", "1s");
    let options = directives(&[("fake_fault", "cut_length"), ("fake_lookup_lag_ms", "600000")]);
    assert_eq!(call(&mut database.admin(), &options).sqlstate(), "PT502");
    database.wait_until_booked();
    let row = database.ledger().remove(0);
    assert_eq!(row["outcome"], "unknown");
    assert_eq!(row["cost_usd"], Value::Null);
    assert_eq!(row["generation_id"], json!(billed(&database).id));
    let totals = database
        .text("SELECT concat_ws(' ', calls, calls_without_cost) FROM hiems.usage_totals", &[]);
    assert_eq!(totals.as_deref(), Some("1 1"));
}

#[test]
fn a_key_that_does_not_come_back_is_not_waited_for_for_ever() {
    let database = Database::with("hiems.settlement_timeout", "2s");
    let options = directives(&[("fake_fault", "cut_length"), ("fake_delay_ms", "1000")]);
    let running = Running::in_flight(&database, database.admin(), &options, 1);
    database.admin().execute("SELECT hiems.drop_api_key('default')", &[]).expect("dropped");
    assert_eq!(running.end().1.sqlstate(), "PT502");
    database.wait_until_booked();
    assert_eq!(database.ledger()[0]["cost_source"], "unknown");
    assert_eq!(database.fake.lookups().len(), 0);
}

#[test]
fn a_key_that_is_gone_is_waited_for() {
    let database = Database::new();
    let options = directives(&[("fake_fault", "cut_length"), ("fake_delay_ms", "1000")]);
    let mut admin = database.admin();
    let running = Running::in_flight(&database, database.admin(), &options, 1);
    admin.execute("SELECT hiems.drop_api_key('default')", &[]).expect("dropped");
    assert_eq!(running.end().1.sqlstate(), "PT502");
    // Until it is asked, nothing has gone over the wire that could have been refused.
    assert_eq!(
        admin
            .query_one("SELECT unknown FROM hiems.settle_now()", &[])
            .expect("a row")
            .get::<_, i64>(0),
        1
    );
    assert_eq!(database.fake.lookups().len(), 0);
    database.store_key();
    database.wait_until_booked();
    assert_adds_up(&database, &billed(&database));
}
