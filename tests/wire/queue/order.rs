//! In which order calls are made.

use hiems_tests::Database;
use serde_json::{Value, json};

use super::{answer_of, assert_bill, enqueue_many, item};

fn users(database: &Database) -> Vec<String> {
    let requests = database.fake.requests();
    requests.iter().map(|r| r.body["user"].as_str().expect("a user").to_owned()).collect()
}

#[test]
fn a_higher_priority_goes_first_whatever_came_before() {
    let database = Database::with("hiems.queue_concurrency", "1");
    let mut client = database.admin();
    let requests: Vec<Value> = [("a", 0), ("b", -5), ("c", 7), ("d", 0), ("e", 7)]
        .iter()
        .map(|(user, priority)| {
            let mut item = item(&[]);
            item["user"] = json!(user);
            item["priority"] = json!(priority);
            item
        })
        .collect();
    let ids = enqueue_many(&mut client, &json!(requests)).expect("ids");
    for id in &ids {
        answer_of(&mut client, id).expect("an answer");
    }
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
    let requests: Vec<Value> =
        [("later", "1500 ms", 9), ("past", "-1 day", 0), ("soon", "400 ms", 0)]
            .iter()
            .map(|(user, after, priority)| {
                let mut item = item(&[]);
                item["user"] = json!(user);
                item["run_at"] = json!(at(after));
                item["priority"] = json!(priority);
                item
            })
            .collect();
    let ids = enqueue_many(&mut client, &json!(requests)).expect("ids");
    for id in &ids {
        answer_of(&mut client, id).expect("an answer");
    }
    assert_eq!(users(&database), ["past", "soon", "later"]);
}
