//! `hiems.calls` shows how far a batch is.

use hiems_tests::{Database, Running, wait_until};

use super::{SOON, booked, many, request, submit};

const PROGRESS: &str = "
    SELECT DISTINCT concat_ws(' ', batch_size, batch_done, batch_failed, batch_cost_usd)
    FROM hiems.calls WHERE batch_id IS NOT NULL";

#[test]
fn another_session_sees_how_far_it_is() {
    let mut database = Database::new();
    let role = database.role_with("caller");
    let mut requests = many(6, &[("fake_cost", "0.125")]);
    requests[1] = request("poor", &[("fake_status", "402")]);
    requests.extend(many(4, &[("fake_delay_ms", "3000"), ("fake_cost", "0.5")]));
    let running = Running::with(database.connect(&role), move |client| {
        submit(client, &requests, ", 2").map(|_| String::new())
    });
    wait_until("the first have ended", SOON, || {
        database
            .admin()
            .query(PROGRESS, &[])
            .expect("hiems.calls")
            .first()
            .is_some_and(|row| row.get::<_, String>(0) == "10 6 1 0.625")
    });
    let mut alone = database.admin();
    hiems_tests::call(&mut alone, "{}").expect("an answer");
    let own = database.connect(&role).query(PROGRESS, &[]).expect("hiems.calls").len();
    assert_eq!(own, 1);
    running.end().1.expect("rows");
    assert_eq!(booked(&database).get("failed"), Some(&1));
    assert_eq!(database.count("hiems.calls"), 0);
}

#[test]
fn others_see_none_of_it_and_other_calls_are_of_no_batch() {
    let mut database = Database::new();
    let stranger = database.role_with("caller");
    let running = Running::with(database.admin(), |client| {
        submit(client, &many(3, &[("fake_delay_ms", "1500")]), "").map(|_| String::new())
    });
    running.wait_until_in_flight(&database, 3);
    assert_eq!(database.connect(&stranger).query(PROGRESS, &[]).expect("hiems.calls").len(), 0);
    let single = Running::in_flight(
        &database,
        database.admin(),
        &hiems_tests::directives(&[("fake_delay_ms", "1000")]),
        4,
    );
    let alone = "hiems.calls WHERE num_nulls(batch_id, batch_size, batch_done, batch_failed,
                                             batch_cost_usd) = 5";
    assert_eq!(database.count(alone), 1);
    single.end().1.expect("an answer");
    running.end().1.expect("rows");
    assert_eq!(booked(&database).values().sum::<usize>(), 4);
}
