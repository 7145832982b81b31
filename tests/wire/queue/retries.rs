//! What was surely not billed is made again, later; nothing else is.

use hiems_tests::{Database, ResultExt, SOON, wait_until};
use serde_json::json;

use super::{answer_of, assert_bill, enqueue, enqueue_with, state_of};

#[test]
fn a_refused_call_is_made_again_and_each_attempt_counts() {
    let database = Database::new();
    let mut client = database.admin();
    let wishes = [("fake_429_times", "1"), ("fake_retry_after", "1"), ("fake_answer", "at last")];
    let id = enqueue(&mut client, &wishes).expect("an id");
    wait_until("it is back in the queue", SOON, || {
        state_of(&mut client, &id).as_deref() == Some("queued")
            && database.fake.requests().len() == 1
    });
    let row = client
        .query_one(
            "SELECT attempts, run_at IS NOT NULL, last_error FROM hiems.calls
             WHERE id = $1::text::uuid",
            &[&id],
        )
        .expect("the call");
    assert_eq!((row.get(0), row.get(1)), (1, true));
    assert!(row.get::<_, &str>(2).contains("429"), "{row:?}");
    assert_eq!(answer_of(&mut client, &id).expect("an answer"), "at last");
    assert_bill(&database);
    assert_eq!(database.fake.requests().len(), 2);
    assert_eq!(database.ledger()[0]["attempts"], json!(2));
}

#[test]
fn a_call_that_is_refused_each_time_is_given_up_and_booked_as_free() {
    let database = Database::new();
    let mut client = database.admin();
    let wishes = [("fake_503_times", "9"), ("fake_retry_after", "0")];
    let id = enqueue_with(&mut client, &wishes, ", max_attempts => 2").expect("an id");
    let refusal = answer_of(&mut client, &id).refusal();
    assert_eq!(refusal.sqlstate, "PT503", "{refusal:?}");
    database.wait_until_booked();
    let rows = database.ledger();
    assert_eq!((rows.len(), &rows[0]["attempts"]), (1, &json!(2)));
    assert_eq!((&rows[0]["outcome"], &rows[0]["cost_usd"]), (&json!("failed"), &json!(0)));
    assert_eq!(database.fake.requests().len(), 2);
}

#[test]
fn where_openrouter_cannot_be_reached_the_call_waits_and_then_fails_unbooked() {
    let database = Database::new();
    // Nobody listens there.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = nobody.local_addr().expect("an address").port();
    drop(nobody);
    database.set("hiems.base_url", &format!("http://127.0.0.1:{port}/api/v1"));
    database.end_gateway();
    let mut client = database.admin();
    let given_up = enqueue_with(&mut client, &[], ", max_attempts => 1").expect("an id");
    let refusal = answer_of(&mut client, &given_up).refusal();
    assert_eq!(refusal.sqlstate, "PT503");
    assert_eq!(refusal.message, "OpenRouter cannot be reached");
    assert_eq!(state_of(&mut client, &given_up).as_deref(), Some("failed"));
    let waits = enqueue(&mut client, &[]).expect("an id");
    wait_until("it was tried", SOON, || {
        client
            .query_one("SELECT attempts FROM hiems.calls WHERE id = $1::text::uuid", &[&waits])
            .is_ok_and(|row| row.get::<_, i32>(0) > 0)
    });
    database.set("hiems.base_url", &database.fake.base_url());
    database.end_gateway();
    answer_of(&mut client, &waits).expect("an answer");
    assert_bill(&database);
    assert_eq!(database.count("hiems.ai_usage_logs"), 1, "what was never sent is not in it");
    // It says so for as long as answers are kept, and is not cancelled any more.
    let cancelled: bool = client
        .query_one("SELECT hiems.cancel_prompt($1::text::uuid)", &[&given_up])
        .expect("a call")
        .get(0);
    assert!(!cancelled);
}

#[test]
fn what_openrouter_did_not_refuse_itself_is_not_sent_again() {
    let database = Database::new();
    let mut client = database.admin();
    // A page of the edge's is no promise of OpenRouter's to take it later.
    let wishes = [("fake_status", "429"), ("fake_error_shape", "page")];
    let id = enqueue(&mut client, &wishes).expect("an id");
    assert_eq!(answer_of(&mut client, &id).sqlstate(), "PT429");
    database.wait_until_booked();
    let rows = database.ledger();
    assert_eq!((rows.len(), &rows[0]["cost_source"]), (1, &json!("not_billed")));
    assert_eq!(rows[0]["attempts"], json!(1));
    assert_eq!(database.fake.requests().len(), 1);
}
