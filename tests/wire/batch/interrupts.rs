//! The caller is cancelled, timed out, terminated or killed in the middle.

use std::time::{Duration, Instant};

use hiems_tests::{Cluster, Config, Database, ResultExt, Running, cluster, wait_until};
use serde_json::Value;

use super::{SOON, booked, many, outcomes, submit};

/// Runs a batch, and waits until so many are in flight.
fn running(database: &Database, requests: Vec<Value>, more: &str, in_flight: usize) -> Running {
    let more = more.to_owned();
    let running = Running::with(database.admin(), move |client| {
        submit(client, &requests, &more).map(|rows| rows.len().to_string())
    });
    running.wait_until_in_flight(database, in_flight);
    running
}

fn signal(database: &Database, function: &str, pid: i32) {
    database.admin().execute(&format!("SELECT {function}($1)"), &[&pid]).expect(function);
}

#[test]
fn a_cancel_of_a_thousand_acts_at_once_and_sends_nothing_more() {
    let database = Database::new();
    let requests = many(1000, &[("fake_delay_ms", "2000")]);
    let running = running(&database, requests, ", 200", 200);
    let began = Instant::now();
    signal(&database, "pg_cancel_backend", running.pid);
    let (mut client, result) = running.end();
    let took = began.elapsed();
    let refused = result.refusal();
    assert_eq!(refused.sqlstate, "57014");
    assert!(refused.detail.starts_with("batch "), "{}", refused.detail);
    assert!(refused.detail.contains("0 of 1000 requests have ended"), "{}", refused.detail);
    assert!(took < Duration::from_millis(500), "{took:?}");
    println!("the error came after {took:?}");
    assert_eq!(booked(&database), outcomes(&[("cancelled", 200)]));
    assert_eq!(database.fake.requests().len(), 200, "nothing more is sent");
    // Each answer is to be had.
    let ids = "SELECT count(hiems.await_prompt(id)) FROM hiems.ai_usage_logs";
    let had: i64 = client.query_one(ids, &[]).expect("the answers").get(0);
    assert_eq!(had, 200);
}

#[test]
fn a_cancel_in_the_middle_keeps_what_was_in_flight() {
    let database = Database::new();
    let mut requests = many(30, &[("fake_delay_ms", "100")]);
    requests.extend(many(30, &[("fake_delay_ms", "2000")]));
    let running = running(&database, requests, ", 10", 10);
    wait_until("the quick ones have ended", SOON, || database.fake.bill().len() == 40);
    signal(&database, "pg_cancel_backend", running.pid);
    let refused = running.end().1.refusal();
    assert_eq!(refused.sqlstate, "57014");
    assert_eq!(booked(&database), outcomes(&[("cancelled", 40)]));
    assert_eq!(database.fake.requests().len(), 40);
}

#[test]
fn a_timeout_is_a_cancel() {
    let database = Database::new();
    let mut client = database.admin();
    submit(&mut client, &many(1, &[]), "").expect("a warm gateway");
    client.batch_execute("SET statement_timeout = '1s'").expect("a setting");
    let refused = submit(&mut client, &many(50, &[("fake_delay_ms", "3000")]), ", 20");
    assert_eq!(refused.sqlstate(), "57014");
    assert_eq!(booked(&database), outcomes(&[("cancelled", 20), ("committed", 1)]));
    // The session works.
    submit(&mut client, &many(3, &[]), "").expect("rows");
    assert_eq!(booked(&database), outcomes(&[("cancelled", 20), ("committed", 4)]));
}

#[test]
fn a_terminated_caller_s_calls_are_finished() {
    let database = Database::new();
    let running = running(&database, many(50, &[("fake_delay_ms", "1500")]), ", 20", 20);
    let pid = running.pid;
    signal(&database, "pg_terminate_backend", pid);
    running.end().1.expect_err("no rows");
    assert!(cluster().log().contains(&format!("[{pid}] FATAL:  terminating connection")));
    assert_eq!(booked(&database), outcomes(&[("cancelled", 20)]));
    assert_eq!(database.fake.requests().len(), 20);
}

// The server starts anew, and the gateway with it: the generations are looked up.
#[test]
fn a_killed_caller_s_calls_are_found_again() {
    let cluster = Cluster::start(&[]);
    let database = Database::on(&cluster, Config::default());
    database.store_key();
    let running = running(&database, many(30, &[("fake_delay_ms", "600")]), ", 10", 10);
    wait_until("some have ended", SOON, || database.fake.bill().len() >= 20);
    // Their ids are in the journal 10 ms after the headers.
    std::thread::park_timeout(Duration::from_millis(100));
    database.crash_by_killing(running.pid);
    running.end().1.expect_err("no rows");
    wait_until("there is a gateway again", SOON, || {
        let client = database.config("postgres").connect(postgres::NoTls);
        client.is_ok_and(|mut client| client.batch_execute("SELECT hiems.settle_now()").is_ok())
    });
    let all = booked(&database);
    assert_eq!(all.values().sum::<usize>(), 20, "{all:?}");
    assert!(!all.contains_key("committed"), "{all:?}");
    assert_eq!(database.fake.requests().len(), 20, "nothing is sent again");
}
