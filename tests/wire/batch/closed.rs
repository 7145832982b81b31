//! Rows that are not read to the end, in a transaction that goes on.

use hiems_tests::{Database, wait_until};
use serde_json::Value;

use super::{SOON, booked, many, outcomes, request, streaming, submit};

/// So many quick ones, and behind them slow ones.
fn quick_and_slow(quick: usize, slow: usize) -> Vec<Value> {
    let mut requests = many(quick, &[]);
    requests.extend(many(slow, &[("fake_delay_ms", "1500")]));
    requests
}

fn fetched(database: &Database, fetch: i32, end: &str) {
    let mut client = database.admin();
    let cursor = streaming(&quick_and_slow(3, 20), ", 5");
    client
        .batch_execute(&format!("BEGIN; DECLARE c NO SCROLL CURSOR FOR {cursor}"))
        .expect("BEGIN");
    let rows = client.query(&format!("FETCH {fetch} FROM c"), &[]).expect("rows");
    assert_eq!(rows.len(), fetch as usize);
    wait_until("the slow ones are in flight", SOON, || database.fake.in_flight() == 5);
    client.batch_execute(end).expect(end);
}

#[test]
fn what_was_given_is_committed_and_what_was_in_flight_is_cancelled() {
    let database = Database::new();
    fetched(&database, 3, "CLOSE c; COMMIT");
    assert_eq!(booked(&database), outcomes(&[("cancelled", 5), ("committed", 3)]));
    assert_eq!(database.fake.requests().len(), 8, "nothing more is sent");
    let kept = "hiems_private.answers AS a JOIN hiems.ai_usage_logs AS l ON l.id = a.call_id";
    assert_eq!(database.count(kept), 5);
}

// The cursor is closed by the commit.
#[test]
fn a_commit_closes_it() {
    let database = Database::new();
    fetched(&database, 3, "COMMIT");
    assert_eq!(booked(&database), outcomes(&[("cancelled", 5), ("committed", 3)]));
}

#[test]
fn a_rollback_takes_back_what_was_given() {
    let database = Database::new();
    fetched(&database, 3, "CLOSE c; ROLLBACK");
    assert_eq!(booked(&database), outcomes(&[("cancelled", 5), ("rolled_back", 3)]));
    let database = Database::new();
    fetched(&database, 3, "ROLLBACK");
    assert_eq!(booked(&database), outcomes(&[("cancelled", 8)]));
}

#[test]
fn a_savepoint_takes_back_what_was_given_in_it() {
    let database = Database::new();
    let mut client = database.admin();
    let limited = |count| format!("{} LIMIT {count}", streaming(&quick_and_slow(2, 3), ", 2"));
    client
        .batch_execute(&format!(
            "BEGIN; SAVEPOINT s; {}; ROLLBACK TO s; {}; COMMIT",
            limited(2),
            limited(1)
        ))
        .expect("a block");
    let all = booked(&database);
    assert_eq!((all["committed"], all["rolled_back"]), (1, 2), "{all:?}");
}

#[test]
fn a_limit_of_all_books_all_in_the_transaction() {
    let database = Database::new();
    let mut client = database.admin();
    let sql = format!("{} LIMIT 4", streaming(&many(4, &[]), ""));
    assert_eq!(client.query(&sql, &[]).expect("rows").len(), 4);
    assert_eq!(database.count("hiems.ai_usage_logs WHERE outcome = 'committed'"), 4);
}

// The next call of the session is not disturbed, nor is one while the cursor is open.
#[test]
fn other_calls_of_the_session_go_on_beside_it() {
    let database = Database::new();
    let mut client = database.admin();
    let cursor = streaming(&quick_and_slow(2, 4), ", 3");
    client
        .batch_execute(&format!("BEGIN; DECLARE c NO SCROLL CURSOR FOR {cursor}"))
        .expect("BEGIN");
    for _ in 0..2 {
        client.query_one("FETCH 1 FROM c", &[]).expect("a row");
        hiems_tests::call(&mut client, "{}").expect("an answer");
        submit(&mut client, &many(2, &[]), "").expect("rows");
    }
    let rest = client.query("FETCH ALL FROM c", &[]).expect("rows");
    assert_eq!(rest.len(), 4);
    client.batch_execute("COMMIT").expect("COMMIT");
    hiems_tests::call(&mut client, "{}").expect("an answer");
    database.wait_until_booked();
    assert_eq!(database.count("hiems.ai_usage_logs WHERE outcome = 'committed'"), 13);
}

// The socket is full of answers, so that the gateway cannot write when it is told.
#[test]
fn a_slow_reader_bounds_what_is_sent_and_can_close() {
    let database = Database::new();
    let mut client = database.admin();
    let requests: Vec<Value> =
        (0..300).map(|i| request(&format!("r{i}"), &[("fake_answer_bytes", "100000")])).collect();
    let cursor = streaming(&requests, ", 20");
    client
        .batch_execute(&format!("BEGIN; DECLARE c NO SCROLL CURSOR FOR {cursor}"))
        .expect("BEGIN");
    client.query_one("FETCH 1 FROM c", &[]).expect("a row");
    wait_until("it goes no further", SOON, || {
        let before = database.fake.requests().len();
        std::thread::park_timeout(std::time::Duration::from_millis(300));
        database.fake.requests().len() == before
    });
    let sent = database.fake.requests().len();
    // As many as are allowed are in flight; as many have ended, and wait to be written; a few were read, or lie in
    // the socket.
    assert!((20..50).contains(&sent), "{sent} were sent");
    client.batch_execute("CLOSE c; COMMIT").expect("CLOSE");
    let all = booked(&database);
    assert_eq!(all["committed"], 1);
    assert_eq!(database.fake.requests().len(), all.values().sum::<usize>());
    // What was not read is kept.
    let kept = "hiems_private.answers AS a JOIN hiems.ai_usage_logs AS l ON l.id = a.call_id
                WHERE l.outcome = 'cancelled'";
    assert_eq!(database.count(kept) as usize, all["cancelled"]);
}

#[test]
fn thousands_that_were_given_are_booked() {
    let database = Database::new();
    let mut client = database.admin();
    let mut requests = many(9000, &[]);
    requests.extend(many(3, &[("fake_delay_ms", "30000")]));
    client.batch_execute("BEGIN").expect("BEGIN");
    let sql = format!("{} LIMIT 9000", streaming(&requests, ", 100"));
    assert_eq!(client.query(&sql, &[]).expect("rows").len(), 9000);
    client.batch_execute("COMMIT").expect("COMMIT");
    wait_until("those that were given are booked", SOON, || {
        database.count("hiems.ai_usage_logs WHERE outcome = 'committed'") == 9000
    });
}

/// A cursor over a hundred quick calls, which have been fetched, and two slow ones.
fn hundred_fetched(client: &mut postgres::Client) {
    let cursor = streaming(&quick_and_slow(100, 2), ", 10");
    client
        .batch_execute(&format!("BEGIN; DECLARE c NO SCROLL CURSOR FOR {cursor}"))
        .expect("BEGIN");
    assert_eq!(client.query("FETCH 100 FROM c", &[]).expect("rows").len(), 100);
}

fn booked_so_far(client: &mut postgres::Client) -> i64 {
    client.query_one("SELECT count(*) FROM hiems.ai_usage_logs", &[]).expect("a count").get(0)
}

#[test]
fn rows_are_booked_while_others_are_on_their_way() {
    let fetched = [("CLOSE c; COMMIT", "committed"), ("CLOSE c; ROLLBACK", "rolled_back")];
    for (end, outcome) in fetched {
        let database = Database::new();
        let mut client = database.admin();
        hundred_fetched(&mut client);
        assert_eq!(booked_so_far(&mut client), 64, "the others are booked with the last one");
        client.batch_execute(end).expect(end);
        assert_eq!(booked(&database), outcomes(&[("cancelled", 2), (outcome, 100)]));
    }
}

#[test]
fn a_lock_on_the_ledger_keeps_no_row_from_being_given() {
    let database = Database::new();
    let mut client = database.admin();
    // The gateway has to be told of nothing: the lock is gone before the last one.
    let mut locker = database.admin();
    locker.batch_execute("BEGIN; LOCK TABLE hiems.ai_usage_logs").expect("a lock");
    hundred_fetched(&mut client);
    locker.batch_execute("ROLLBACK").expect("no lock");
    assert_eq!(booked_so_far(&mut client), 0);
    assert_eq!(client.query("FETCH ALL FROM c", &[]).expect("rows").len(), 2);
    assert_eq!(booked_so_far(&mut client), 102);
    client.batch_execute("COMMIT").expect("COMMIT");
    assert_eq!(booked(&database), outcomes(&[("committed", 102)]));
}
