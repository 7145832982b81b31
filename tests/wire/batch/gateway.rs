//! The gateway leaves in the middle, or has no room.

use hiems_tests::{Database, Running, call, directives, wait_until};

use super::{SOON, booked, many, outcomes, submit};

#[test]
fn what_a_leaving_gateway_has_not_sent_the_next_one_sends() {
    let database = Database::new();
    let requests = many(60, &[("fake_delay_ms", "300")]);
    let running = Running::with(database.admin(), move |client| {
        let answers = submit(client, &requests, ", 5")?;
        let good = answers.iter().filter(|answer| answer.content.is_some()).count();
        Ok(format!("{good} of {}", answers.len()))
    });
    let mut gateways = std::collections::BTreeSet::new();
    for sent in [8, 25, 40] {
        wait_until("some are sent", SOON, || database.fake.requests().len() >= sent);
        for pid in database.gateways() {
            gateways.insert(pid);
            database.admin().execute("SELECT pg_terminate_backend($1)", &[&pid]).expect("a signal");
        }
    }
    assert_eq!(running.end().1.expect("rows"), "60 of 60");
    assert!(gateways.len() >= 3);
    assert_eq!(database.fake.requests().len(), 60, "each is sent once");
    assert_eq!(booked(&database), outcomes(&[("committed", 60)]));
}

#[test]
fn calls_wait_for_room_where_one_alone_is_refused() {
    let database = Database::with("hiems.max_in_flight", "4");
    let requests = many(40, &[("fake_delay_ms", "100")]);
    let running = Running::with(database.admin(), move |client| {
        submit(client, &requests, ", 30").map(|answers| {
            answers.iter().filter(|answer| answer.content.is_some()).count().to_string()
        })
    });
    running.wait_until_in_flight(&database, 4);
    let mut client = database.admin();
    let mut refused = 0;
    for _ in 0..3 {
        let error = call(&mut client, &directives(&[]));
        refused += usize::from(
            error.is_err_and(|error| error.code().is_some_and(|code| code.code() == "PT429")),
        );
    }
    assert!(refused > 0);
    assert_eq!(running.end().1.expect("rows"), "40");
    assert_eq!(database.fake.most_in_flight(), 4);
    database.wait_until_booked();
    assert_eq!(database.fake.bill().len(), 40 + 3 - refused);
}

// Those that wait for room are handed to the next gateway, too; and they can be cancelled.
#[test]
fn those_that_wait_for_room_are_let_go() {
    let database = Database::with("hiems.max_in_flight", "2");
    let requests = many(10, &[("fake_delay_ms", "700")]);
    let running = Running::with(database.admin(), move |client| {
        submit(client, &requests, ", 10").map(|answers| {
            answers.iter().filter(|answer| answer.content.is_some()).count().to_string()
        })
    });
    running.wait_until_in_flight(&database, 2);
    let pid = database.gateways()[0];
    database.admin().execute("SELECT pg_terminate_backend($1)", &[&pid]).expect("a signal");
    assert_eq!(running.end().1.expect("rows"), "10");
    assert_eq!(database.fake.requests().len(), 10);
    let requests = many(10, &[("fake_delay_ms", "1000")]);
    let running = Running::with(database.admin(), move |client| {
        submit(client, &requests, ", 10").map(|_| String::new())
    });
    running.wait_until_in_flight(&database, 2);
    database.admin().execute("SELECT pg_cancel_backend($1)", &[&running.pid]).expect("a signal");
    running.end().1.expect_err("cancelled");
    assert_eq!(booked(&database), outcomes(&[("cancelled", 2), ("committed", 10)]));
    assert_eq!(database.fake.requests().len(), 12);
}
