//! Calls that fail among others.

use hiems_tests::{Database, ResultExt};
use serde_json::Value;

use super::{booked, many, outcomes, outcomes_of, request, submit};

#[test]
fn each_failure_is_told_and_the_others_go_on() {
    let database =
        Database::with_all(&[("hiems.max_attempts", "2"), ("hiems.request_timeout", "2s")]);
    let requests = [
        request("good", &[("fake_cost", "0.25")]),
        request("limited", &[("fake_429_times", "9"), ("fake_retry_after", "0")]),
        request("poor", &[("fake_status", "402")]),
        request("broken", &[("fake_status", "500")]),
        request("late", &[("fake_header_delay_ms", "4000")]),
        request("unreadable", &[("fake_body", "no JSON")]),
        request(
            "billed",
            &[("fake_billed_error", "true"), ("fake_status", "502"), ("fake_cost", "0.5")],
        ),
        request("again", &[("fake_503_times", "1"), ("fake_cost", "0.125")]),
    ];
    let mut answers = submit(&mut database.admin(), &requests, "").expect("rows");
    answers.sort_by_key(|answer| answer.place);
    let seen: Vec<_> = answers.iter().map(|a| (a.code.as_deref(), a.cost.as_deref())).collect();
    let expected = [
        (None, Some("0.25")),
        (Some("PT429"), Some("0")),
        (Some("PT402"), Some("0")),
        (Some("PT502"), Some("0")),
        // What is not known is NULL.
        (Some("PT504"), None),
        (Some("PT502"), None),
        (Some("PT502"), Some("0.5")),
        (None, Some("0.125")),
    ];
    assert_eq!(seen, expected);
    for failed in answers.iter().filter(|answer| answer.code.is_some()) {
        assert!(failed.message.as_deref().expect("a message").contains("(call 0"), "{failed:?}");
        assert_eq!((&failed.response, &failed.content), (&None, &None));
    }
    database.wait_until_booked();
    let all = outcomes_of(&database.ledger());
    assert_eq!(all, outcomes(&[("committed", 2), ("failed", 5), ("unknown", 1)]));
    // The unreadable one's cost is found out later; the late one's generation has no id.
    let unknown = "SELECT string_agg(user_id, ' ') FROM hiems.ai_usage_logs WHERE cost_usd IS NULL";
    assert_eq!(database.text(unknown, &[]).as_deref(), Some("late"));
    for generation in database.fake.bill() {
        let cost = "SELECT cost_usd::text FROM hiems.ai_usage_logs WHERE generation_id = $1";
        if generation.user.as_deref() != Some("late") {
            assert_eq!(database.text(cost, &[&generation.id]), Some(generation.cost));
        }
    }
}

#[test]
fn without_a_key_each_is_refused() {
    let database = Database::without_key();
    let mut client = database.admin();
    let answers = submit(&mut client, &many(3, &[]), "").expect("rows");
    assert!(answers.iter().all(
        |answer| answer.code.as_deref() == Some("PT503") && answer.cost.as_deref() == Some("0")
    ));
    let refused = submit(&mut client, &many(3, &[]), ", on_error => 'raise'").refusal();
    assert_eq!(refused.sqlstate, "PT503");
    assert!(refused.message.ends_with(": no OpenRouter key is stored"), "{}", refused.message);
    assert_eq!(database.count("hiems_private.calls"), 0);
}

#[test]
fn the_first_failure_stops_what_is_not_sent() {
    let database = Database::new();
    let mut requests = many(40, &[("fake_delay_ms", "500")]);
    requests[2] = request("r3", &[("fake_status", "402"), ("fake_delay_ms", "200")]);
    let refused = submit(&mut database.admin(), &requests, ", 8, on_error => 'raise'").refusal();
    assert_eq!(refused.sqlstate, "PT402");
    assert!(refused.message.starts_with("request 3: "), "{}", refused.message);
    assert!(refused.detail.starts_with("call 0"), "{}", refused.detail);
    // Those that were in flight are finished, and booked; their answers are kept.
    let all = booked(&database);
    assert_eq!(all, outcomes(&[("cancelled", 7), ("failed", 1)]));
    assert_eq!(database.fake.requests().len(), 8);
    let kept = "hiems_private.answers AS a JOIN hiems.ai_usage_logs AS l ON l.id = a.call_id";
    assert_eq!(database.count(kept), 7);
}

#[test]
fn what_ended_before_the_first_failure_is_rolled_back_with_its_statement() {
    let database = Database::new();
    let mut requests = many(4, &[]);
    requests[3] = request("r4", &[("fake_status", "404"), ("fake_delay_ms", "500")]);
    let refused = submit(&mut database.admin(), &requests, ", on_error => 'raise'").refusal();
    assert_eq!(refused.sqlstate, "PT404");
    assert_eq!(booked(&database), outcomes(&[("failed", 1), ("rolled_back", 3)]));
}

#[test]
fn a_retry_that_waits_is_not_sent_after_a_failure() {
    let database = Database::new();
    let requests: Vec<Value> = vec![
        request("r1", &[("fake_429_times", "1"), ("fake_retry_after", "3")]),
        request("r2", &[("fake_status", "402"), ("fake_delay_ms", "500")]),
    ];
    let refused = submit(&mut database.admin(), &requests, ", on_error => 'raise'").refusal();
    assert_eq!(refused.sqlstate, "PT402");
    assert_eq!(booked(&database), outcomes(&[("failed", 2)]));
    assert_eq!(database.fake.requests().len(), 2);
}
