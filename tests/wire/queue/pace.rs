//! A model that refuses or is slow holds up no other.

use hiems_tests::{Database, SOON, wait_until};
use postgres::Client;
use serde_json::{Value, json};

use super::{answer_of, assert_bill, enqueue, enqueue_many, item};

/// So many calls of a model, with these wishes.
fn many_of(client: &mut Client, model: &str, count: usize, wishes: &[(&str, &str)]) -> Vec<String> {
    let requests: Vec<Value> = (0..count)
        .map(|i| {
            let mut item = item(wishes);
            item["model"] = json!(model);
            item["user"] = json!(format!("{model}-{i}"));
            item
        })
        .collect();
    enqueue_many(client, &json!(requests)).expect("ids")
}

#[test]
fn a_slow_model_s_long_queue_holds_up_no_other() {
    let database = Database::with("hiems.queue_concurrency", "4");
    let mut client = database.admin();
    let slow = many_of(&mut client, "anthropic/claude-sonnet-4.5", 8, &[("fake_delay_ms", "2500")]);
    wait_until("its share is in flight", SOON, || database.fake.in_flight() == 4);
    for _ in 0..5 {
        let id = enqueue(&mut client, &[]).expect("an id");
        answer_of(&mut client, &id).expect("an answer");
    }
    // Still the first ones of the slow model, and no more than its share.
    assert_eq!(database.fake.in_flight(), 4);
    assert_eq!(database.fake.requests().len(), 9);
    for id in slow {
        answer_of(&mut client, &id).expect("an answer");
    }
    assert_bill(&database);
}

#[test]
fn a_model_that_refuses_is_left_alone_and_the_others_go_on() {
    let database = Database::new();
    let mut client = database.admin();
    let model = "anthropic/claude-sonnet-4.5";
    let wishes = [("fake_429_times", "1"), ("fake_retry_after", "2")];
    let refused = many_of(&mut client, model, 4, &wishes);
    let is_of = |request: &hiems_tests::ReceivedRequest| request.body["model"] == json!(model);
    wait_until("each is refused once", SOON, || {
        database.fake.requests().iter().filter(|request| is_of(request)).count() == 4
    });
    let late = many_of(&mut client, model, 1, &[]);
    for _ in 0..5 {
        let id = enqueue(&mut client, &[]).expect("an id");
        answer_of(&mut client, &id).expect("an answer");
    }
    let sent = database.fake.requests().iter().filter(|request| is_of(request)).count();
    assert_eq!(sent, 4, "nothing of the model is sent while it is to be left alone");
    for id in refused.iter().chain(&late) {
        answer_of(&mut client, id).expect("an answer");
    }
    assert_bill(&database);
    assert_eq!(database.fake.requests().len(), 14);
}

#[test]
fn with_no_concurrency_the_queue_stands_still() {
    let database = Database::with("hiems.queue_concurrency", "0");
    let mut client = database.admin();
    let id = enqueue(&mut client, &[]).expect("an id");
    let timeout = client.query_one("SELECT hiems.await_prompt($1::text::uuid, '700 ms')", &[&id]);
    assert!(timeout.is_err());
    assert_eq!(database.fake.requests().len(), 0);
    database.set("hiems.queue_concurrency", "2");
    client.batch_execute("SELECT pg_reload_conf()").expect("a reload");
    // ALTER DATABASE is read by new sessions alone.
    for pid in database.gateways() {
        client.execute("SELECT pg_terminate_backend($1)", &[&pid]).expect("a signal");
    }
    answer_of(&mut client, &id).expect("an answer");
    assert_bill(&database);
}

#[test]
fn a_call_that_is_refused_for_itself_holds_up_no_other_of_its_model() {
    let database = Database::new();
    let mut client = database.admin();
    // OpenRouter finds no provider for what it asks, and says to come back in 12 s.
    let wishes = [("fake_status", "503"), ("fake_error_shape", "availability")];
    enqueue(&mut client, &wishes).expect("an id");
    wait_until("it is refused", SOON, || database.fake.requests().len() == 1);
    for _ in 0..3 {
        let id = enqueue(&mut client, &[]).expect("an id");
        answer_of(&mut client, &id).expect("an answer");
    }
    assert_eq!(database.fake.requests().len(), 4);
}
