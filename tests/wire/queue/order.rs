//! In which order calls are made.

use hiems_tests::Database;
use postgres::Client;
use serde_json::{Value, json};

use super::{answer_of, assert_bill, enqueue_many, item};

fn users(database: &Database) -> Vec<String> {
    let requests = database.fake.requests();
    requests.iter().map(|r| r.body["user"].as_str().expect("a user").to_owned()).collect()
}

/// Enqueues a call for each user, not before a time, with a priority; waits until all have been made.
fn make_all(client: &mut Client, calls: &[(&str, Option<String>, i32)]) {
    let requests: Vec<Value> = calls
        .iter()
        .map(|(user, run_at, priority)| {
            let mut item = item(&[]);
            item["user"] = json!(user);
            item["run_at"] = json!(run_at);
            item["priority"] = json!(priority);
            item
        })
        .collect();
    for id in enqueue_many(client, &json!(requests)).expect("ids") {
        answer_of(client, &id).expect("an answer");
    }
}

#[test]
fn a_higher_priority_goes_first_whatever_came_before() {
    let database = Database::with("hiems.queue_concurrency", "1");
    let mut client = database.admin();
    make_all(
        &mut client,
        &[("a", None, 0), ("b", None, -5), ("c", None, 7), ("d", None, 0), ("e", None, 7)],
    );
    assert_eq!(users(&database), ["c", "e", "a", "d", "b"]);
    assert_bill(&database);
}

#[test]
fn one_whose_time_has_come_is_made_and_one_whose_time_has_not_is_in_nobody_s_way() {
    let database = Database::with("hiems.queue_concurrency", "1");
    let mut client = database.admin();
    let at = |after: &str| -> String {
        let sql = format!("SELECT (clock_timestamp() + interval '{after}')::text");
        database.text(&sql, &[]).expect("a time")
    };
    make_all(
        &mut client,
        &[
            ("later", Some(at("1500 ms")), 9),
            ("past", Some(at("-1 day")), 0),
            ("soon", Some(at("400 ms")), 0),
        ],
    );
    assert_eq!(users(&database), ["past", "soon", "later"]);
}
