//! What is in the spill reaches the journal, whoever leaves, and whatever else cannot be written.

use hiems_tests::{Database, ResultExt, Running, call, directives, wait_until};

use super::{JOURNAL, LEDGER, SOON, booked, impatient, lock, spilled, spills};

// A disk that was full cuts a line off: the next one stands by itself.
#[test]
fn a_line_that_was_cut_off_takes_no_other_with_it() {
    let database = Database::new();
    let mut client = impatient(&database);
    let holder = lock(database.admin(), JOURNAL);
    for i in 0..2 {
        client.batch_execute("BEGIN").expect("a begin");
        call(&mut client, "{}").expect("an answer");
        client.batch_execute("ROLLBACK").expect("a rollback");
        if i == 0 {
            let oid = database.oid();
            let path = spills(&hiems_tests::cluster().data(), &oid).remove(0);
            let mut file = std::fs::OpenOptions::new().append(true).open(path).expect("the spill");
            std::io::Write::write_all(&mut file, b"{\"Intent\":{\"id\"").expect("a part of a line");
        }
    }
    let gateway = database.gateways()[0];
    database.admin().execute("SELECT pg_terminate_backend($1)", &[&gateway]).expect("a signal");
    wait_until("the gateway has left", SOON, || !database.gateways().contains(&gateway));
    drop(holder);
    call(&mut client, "{}").expect("an answer");
    let outcomes: Vec<String> = booked(&database).into_iter().map(|(outcome, _)| outcome).collect();
    assert_eq!(outcomes, ["rolled_back", "rolled_back", "committed"]);
}

#[test]
fn a_spilled_call_that_cannot_be_written_costs_no_other_its_figures() {
    const CALL: &str = "SELECT hiems.complete('hello', 'openai/gpt-4o-mini', use_case => $1)";
    let database = Database::new();
    let mut client = impatient(&database);
    let mut holder = lock(database.admin(), JOURNAL);
    for use_case in ["good", "poison", "good"] {
        client.batch_execute("BEGIN").expect("a begin");
        client.execute(CALL, &[&use_case]).expect("an answer");
        client.batch_execute("ROLLBACK").expect("a rollback");
    }
    holder
        .batch_execute(
            "ALTER TABLE hiems_private.calls
             ADD CONSTRAINT poison CHECK (entry ->> 'use_case' <> 'poison'); COMMIT",
        )
        .expect("a constraint");
    wait_until("the others are booked", SOON, || {
        database.count("hiems.ai_usage_logs WHERE cost_source = 'billed'") == 2
    });
    holder
        .batch_execute("ALTER TABLE hiems_private.calls DROP CONSTRAINT poison")
        .expect("no constraint");
    let outcomes = booked(&database);
    assert_eq!(outcomes, vec![("rolled_back".to_owned(), "billed".to_owned()); 3]);
}

// The next gateway starts, whatever it finds.
#[test]
fn what_cannot_be_replayed_is_set_aside_with_all_of_its_call() {
    const CALL: &str = "SELECT hiems.complete('hello', 'openai/gpt-4o-mini', use_case => $1)";
    let database = Database::new();
    let mut client = impatient(&database);
    let holder = lock(database.admin(), JOURNAL);
    for use_case in ["good", "poison", "good"] {
        client.batch_execute("BEGIN").expect("a begin");
        client.query_one(CALL, &[&use_case]).expect("an answer");
        client.batch_execute("ROLLBACK").expect("a rollback");
    }
    let gateway = database.gateways()[0];
    let mut admin = database.admin();
    admin.execute("SELECT pg_terminate_backend($1)", &[&gateway]).expect("a signal");
    wait_until("the gateway has left", SOON, || !database.gateways().contains(&gateway));
    drop(holder);
    admin
        .batch_execute(
            "ALTER TABLE hiems_private.calls ADD CONSTRAINT antidote
                 CHECK (entry ->> 'use_case' IS DISTINCT FROM 'poison')",
        )
        .expect("a constraint");
    call(&mut client, "{}").expect("an answer: the gateway has started");
    wait_until("what can be booked is booked", SOON, || database.count(LEDGER) == 3);
    let bill = database.fake.bill();
    let rows = database.ledger();
    for (row, (outcome, generation)) in
        rows.iter().zip([("rolled_back", 0), ("rolled_back", 2), ("committed", 3)])
    {
        assert_eq!(row["outcome"], outcome);
        assert_eq!(row["cost_usd"].to_string(), bill[generation].cost);
    }
    // What it cost is not thrown away.
    let oid = database.oid();
    let left = spills(&hiems_tests::cluster().data(), &oid);
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(left[0].to_string_lossy().ends_with(".failed"), "{left:?}");
    let failed = std::fs::read_to_string(&left[0]).expect("the failed lines");
    assert!(failed.contains(&bill[1].id) && failed.contains("\"Intent\""), "{failed}");
    assert!(!failed.contains(&bill[0].id) && !failed.contains(&bill[2].id), "{failed}");
}

#[test]
fn what_a_caller_did_behind_a_lock_reaches_the_next_gateway() {
    let database = Database::new();
    let holder = lock(database.admin(), JOURNAL);
    let slow = directives(&[("fake_delay_ms", "300")]);
    let running = Running::in_flight(&database, database.admin(), &slow, 1);
    database.admin().execute("SELECT pg_cancel_backend($1)", &[&running.pid]).expect("a signal");
    assert_eq!(running.end().1.sqlstate(), "57014");
    let gateway = database.gateways()[0];
    database.admin().execute("SELECT pg_terminate_backend($1)", &[&gateway]).expect("a signal");
    wait_until("the gateway has left", SOON, || !database.gateways().contains(&gateway));
    call(&mut impatient(&database), "{}").expect("an answer");
    drop(holder);
    let outcomes: Vec<String> = booked(&database).into_iter().map(|(outcome, _)| outcome).collect();
    assert_eq!(outcomes, ["cancelled", "committed"]);
}

#[test]
fn what_was_not_sent_behind_a_lock_is_not_booked_by_the_next_gateway() {
    let database = Database::without_key();
    let base_url = database.fake.base_url();
    database.set("hiems.base_url", "http://127.0.0.1:1");
    database.store_key();
    let mut client = impatient(&database);
    let holder = lock(database.admin(), JOURNAL);
    assert_eq!(call(&mut client, "{}").sqlstate(), "PT503");
    assert_eq!(spilled(&database), 1);
    database.set("hiems.base_url", &base_url);
    let gateway = database.gateways()[0];
    database.admin().execute("SELECT pg_terminate_backend($1)", &[&gateway]).expect("a signal");
    wait_until("the gateway has left", SOON, || !database.gateways().contains(&gateway));
    drop(holder);
    call(&mut client, "{}").expect("an answer");
    wait_until("the spill is gone", SOON, || spilled(&database) == 0);
    database.wait_until_booked();
    assert_eq!(database.count(LEDGER), 1);
}

#[test]
fn a_booking_is_left_to_the_next_gateway_where_the_first_one_leaves() {
    let database = Database::new();
    let holder = lock(database.admin(), LEDGER);
    for i in 1..=5 {
        let running = Running::start(impatient(&database), "{}");
        wait_until("it is answered", SOON, || {
            database.fake.bill().iter().filter(|generation| generation.delivered).count() == i
        });
        let gateways = database.gateways();
        database
            .admin()
            .execute(
                "SELECT pg_terminate_backend(pid) FROM unnest($1::integer[]) AS pid",
                &[&gateways],
            )
            .expect("a signal");
        running.end().1.expect("the answer");
    }
    drop(holder);
    let outcomes: Vec<String> = booked(&database).into_iter().map(|(outcome, _)| outcome).collect();
    assert_eq!(outcomes, ["committed"; 5]);
}
