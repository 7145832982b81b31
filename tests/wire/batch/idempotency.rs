//! Requests with an idempotency key of their own.

use std::collections::BTreeMap;

use hiems_tests::{Database, ResultExt, Running};
use serde_json::{Value, json};

use super::{booked, outcomes, request, streaming, submit};

fn keyed(text: &str, key: &str, wishes: &[(&str, &str)]) -> Value {
    let mut request = request(text, wishes);
    request["idempotency_key"] = json!(key);
    request
}

fn is_replayed(response: Option<&String>) -> bool {
    let response: Value = serde_json::from_str(response.expect("a body")).expect("JSON");
    response["hiems"]["replayed"] == true
}

#[test]
fn twins_of_one_batch_are_sent_once() {
    let database = Database::new();
    let twin = || keyed("twin", "k", &[("fake_delay_ms", "300"), ("fake_cost", "0.75")]);
    for more in ["", ", 1", ", 2, 'raise'"] {
        let key = format!("k{more}");
        let twins: Vec<Value> = (0..6)
            .map(|_| {
                let mut twin = twin();
                twin["idempotency_key"] = json!(key);
                twin
            })
            .collect();
        let mut client = database.admin();
        client.batch_execute("SET statement_timeout = '20s'").expect("a setting");
        let answers = submit(&mut client, &twins, more).expect("rows");
        assert_eq!(answers.len(), 6);
        let replays: Vec<_> =
            answers.iter().filter(|answer| is_replayed(answer.response.as_ref())).collect();
        assert_eq!(replays.len(), 5);
        assert!(replays.iter().all(|answer| answer.cost.as_deref() == Some("0")));
        assert!(answers.iter().any(|answer| answer.cost.as_deref() == Some("0.75")));
        assert!(answers.iter().all(|answer| answer.content == answers[0].content));
    }
    assert_eq!(database.fake.requests().len(), 3);
    assert_eq!(booked(&database), outcomes(&[("committed", 3)]));
}

#[test]
fn another_request_under_the_same_key_is_refused() {
    let database = Database::new();
    let requests = [keyed("one", "k", &[]), keyed("other", "k", &[])];
    let answers = submit(&mut database.admin(), &requests, ", 1").expect("rows");
    // The refusal may be there before the answer is: that is written in the same commit.
    let codes: BTreeMap<_, _> =
        answers.iter().map(|answer| (answer.place, answer.code.as_deref())).collect();
    assert_eq!(codes, BTreeMap::from([(1, None), (2, Some("22023"))]));
    assert_eq!(booked(&database), outcomes(&[("committed", 1)]));
}

#[test]
fn batches_with_the_same_keys_do_not_wait_for_each_other_for_ever() {
    let database = Database::new();
    let requests = |from: usize| -> Vec<Value> {
        (0..40)
            .map(|i| (i + from) % 40)
            .map(|i| keyed(&format!("r{i}"), &format!("k{i}"), &[]))
            .collect()
    };
    let running: Vec<Running> = [0, 13, 29]
        .map(|from| {
            let requests = requests(from);
            Running::with(database.admin(), move |client| {
                client.batch_execute("SET statement_timeout = '30s'")?;
                let answers = submit(client, &requests, ", 10")?;
                assert!(answers.iter().all(|answer| answer.content.is_some()), "{answers:?}");
                Ok(String::new())
            })
        })
        .into();
    for running in running {
        running.end().1.expect("rows");
    }
    assert_eq!(database.fake.requests().len(), 40);
    assert_eq!(booked(&database), outcomes(&[("committed", 40)]));
}

// The cursor is not read further; its session asks for what the cursor holds.
#[test]
fn a_cursor_does_not_hold_up_its_own_session() {
    let database = Database::new();
    let mut client = database.admin();
    let mut requests: Vec<Value> = (0..20)
        .map(|i| keyed(&format!("r{i}"), &format!("k{i}"), &[("fake_answer_bytes", "100000")]))
        .collect();
    requests.push(keyed("last", "last", &[]));
    let cursor = streaming(&requests, ", 21");
    client
        .batch_execute(&format!(
            "SET statement_timeout = '20s'; BEGIN; DECLARE c NO SCROLL CURSOR FOR {cursor}"
        ))
        .expect("BEGIN");
    client.query_one("FETCH 1 FROM c", &[]).expect("a row");
    let answers = submit(&mut client, &requests, "").expect("rows");
    assert!(answers.iter().all(|answer| is_replayed(answer.response.as_ref())));
    client.batch_execute("COMMIT").expect("COMMIT");
    database.wait_until_booked();
    assert_eq!(database.fake.requests().len(), 21);
}

#[test]
fn an_unknown_outcome_is_not_sent_again() {
    let database = Database::with("hiems.settlement_timeout", "0");
    let lost = keyed("lost", "k", &[("fake_fault", "reset_before_headers")]);
    let answers = submit(&mut database.admin(), std::slice::from_ref(&lost), "").expect("rows");
    assert_eq!(answers[0].code.as_deref(), Some("PT502"));
    assert_eq!(answers[0].cost, None);
    let again = submit(&mut database.admin(), &[lost], ", on_error => 'raise'").refusal();
    assert_eq!(again.sqlstate, "PT502");
    assert_eq!(database.fake.requests().len(), 1);
}
