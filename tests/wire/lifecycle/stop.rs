//! `pg_ctl stop` with calls in flight. (The immediate stop is in gateway.rs and locks.rs.)

use hiems_tests::{Cluster, Config, Database, KEY, Running, SOON, call, directives, wait_until};

#[test]
fn a_fast_stop_finishes_what_it_can_and_leaves_the_rest_to_the_next_start() {
    let mut cluster = Cluster::start(&[]);
    let database = Database::on(&cluster, Config::default());
    database.set("hiems.settlement_timeout", "1s");
    database.admin().execute("SELECT hiems.set_api_key($1)", &[&KEY]).expect("a key");
    let short = directives(&[("fake_delay_ms", "1500")]);
    let long = directives(&[("fake_delay_ms", "120000")]);
    let short = Running::in_flight(&database, database.admin(), &short, 1);
    let long = Running::in_flight(&database, database.admin(), &long, 2);
    let (name, fake) = database.into_parts();
    cluster.stop("fast");
    for running in [short, long] {
        running.end().1.expect_err("the stop");
    }
    let log = cluster.log();
    assert!(log.contains("the hiems gateway leaves 1 calls in flight"), "{log}");
    cluster.restart();
    let mut client = cluster.connect(&name, "postgres");
    let rows = |client: &mut postgres::Client| -> Vec<(String, Option<String>)> {
        client
            .query(
                "SELECT outcome, cost_usd::text FROM hiems.ai_usage_logs ORDER BY created_at",
                &[],
            )
            .expect("the ledger")
            .iter()
            .map(|row| (row.get(0), row.get(1)))
            .collect()
    };
    let bill = fake.bill();
    let booked_on_the_way_out = ("cancelled".to_owned(), Some(bill[0].cost.clone()));
    assert_eq!(rows(&mut client), std::slice::from_ref(&booked_on_the_way_out));
    call(&mut client, "{}").expect("an answer");
    wait_until("everything is booked", SOON, || {
        client
            .query_one("SELECT count(*) = 0 FROM hiems_private.calls", &[])
            .is_ok_and(|row| row.get(0))
    });
    let last = ("committed".to_owned(), Some(fake.bill()[2].cost.clone()));
    assert_eq!(rows(&mut client), [booked_on_the_way_out, ("unknown".to_owned(), None), last]);
    assert_eq!(fake.requests().len(), 3, "nothing was sent again");
    // Nothing broke on the way.
    for word in ["PANIC", "was terminated by signal", "XX000"] {
        assert!(!cluster.log().contains(word), "{word}");
    }
}
