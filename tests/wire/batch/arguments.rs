//! What is refused, as a whole or one by one.

use hiems_tests::{Database, ResultExt};
use postgres::Client;
use serde_json::{Value, json};

use super::{booked, many, outcomes, request, submit};

fn refusal(client: &mut Client, arguments: &str) -> (String, String) {
    let sql = format!("SELECT FROM hiems.submit_prompts({arguments})");
    let refusal = client.query(&sql, &[]).map(|_| ()).refusal();
    (refusal.sqlstate, refusal.message)
}

#[test]
fn arguments_that_cannot_be_used_are_refused_before_anything_is_sent() {
    let database = Database::new();
    let mut client = database.admin();
    let cases = [
        ("NULL", "requests cannot be used"),
        ("'{}'", "requests cannot be used"),
        ("'null'", "requests cannot be used"),
        ("'\"x\"'", "requests cannot be used"),
        ("'[]', 0", "max_concurrency is out of range"),
        ("'[]', -1", "max_concurrency is out of range"),
        ("'[]', 10001", "max_concurrency is out of range"),
        ("'[]', 5, ''", "on_error is unknown"),
        ("'[]', 5, 'KEEP'", "on_error is unknown"),
    ];
    for (arguments, message) in cases {
        let expected = ("22023".to_owned(), message.to_owned());
        assert_eq!(refusal(&mut client, arguments), expected, "{arguments}");
    }
    assert!(database.fake.requests().is_empty());
}

#[test]
fn no_requests_are_no_rows_and_need_no_gateway() {
    let database = Database::without_key();
    let mut client = database.admin();
    assert_eq!(submit(&mut client, &[], "").expect("no rows"), []);
    assert_eq!(submit(&mut client, &[], ", NULL, NULL").expect("no rows"), []);
    assert!(database.gateways().is_empty());
    let xid = database.text("SELECT pg_current_xact_id_if_assigned()::text", &[]);
    assert_eq!(xid, None);
}

/// Good and bad ones, and the places of the bad.
fn mixed() -> (Vec<Value>, Vec<(i32, &'static str)>) {
    let long = "x".repeat(600);
    let requests = vec![
        request("first", &[]),
        json!("no object"),
        json!({"messages": "hi", "modell": "x"}),
        request("fourth", &[]),
        json!({"model": 5, "messages": "hi"}),
        json!({"model": "openai/gpt-4o-mini", "messages": []}),
        json!({"model": "openai/gpt-4o-mini", "messages": "hi", "use_case": long}),
        json!({"model": "openai/gpt-4o-mini", "messages": "hi", "options": {"stream": true}}),
        json!(null),
        request("last", &[]),
    ];
    let bad = [2, 3, 5, 6, 7, 8, 9].map(|place| (place, "22023"));
    (requests, bad.to_vec())
}

#[test]
fn the_bad_ones_are_told_by_their_place_and_the_good_ones_run() {
    let database = Database::new();
    let (requests, bad) = mixed();
    let mut answers = submit(&mut database.admin(), &requests, "").expect("rows");
    answers.sort_by_key(|answer| answer.place);
    assert_eq!(answers.len(), requests.len());
    for answer in &answers {
        let expected = bad.iter().find(|(place, _)| *place == answer.place).map(|(_, code)| *code);
        assert_eq!(answer.code.as_deref(), expected, "{answer:?}");
        assert_eq!(answer.response.is_none(), expected.is_some());
        assert_eq!(answer.message.is_some(), expected.is_some());
        if expected.is_some() {
            assert_eq!(answer.cost.as_deref(), Some("0"), "nothing was sent");
        }
    }
    let message = answers[2].message.as_deref().expect("a message");
    assert!(message.contains("the unknown field \"modell\""), "{message}");
    assert_eq!(booked(&database), outcomes(&[("committed", 3)]));
}

#[test]
fn only_bad_ones_need_no_gateway() {
    let database = Database::without_key();
    let answers = submit(&mut database.admin(), &[json!(1), json!(2)], "").expect("rows");
    assert_eq!(answers.len(), 2);
    assert!(database.gateways().is_empty());
}

#[test]
fn a_bad_one_stops_all_where_errors_are_raised() {
    let database = Database::new();
    let (requests, _) = mixed();
    let refused = submit(&mut database.admin(), &requests, ", on_error => 'raise'").refusal();
    assert_eq!(refused.sqlstate, "22023");
    assert_eq!(refused.message, "request 2: the request cannot be used");
    assert_eq!(refused.detail, "It is not a JSON object.");
    assert!(database.fake.requests().is_empty());
}

#[test]
fn sizes_hold_for_each_and_not_for_all() {
    let database = Database::new();
    let mut client = database.admin();
    client.batch_execute("LOAD 'hiems'; SET hiems.max_request_bytes = '2kB'").expect("a setting");
    let text = "x".repeat(1000);
    let mut requests: Vec<Value> = (0..20).map(|_| request(&text[..500], &[])).collect();
    requests[7] = request("large", &[("note", &"y".repeat(3000))]);
    let answers = submit(&mut client, &requests, "").expect("rows");
    let refused: Vec<_> = answers.iter().filter(|answer| answer.code.is_some()).collect();
    assert_eq!(refused.len(), 1);
    assert_eq!((refused[0].place, refused[0].code.as_deref()), (8, Some("PT413")));
    assert_eq!(booked(&database), outcomes(&[("committed", 19)]));
}

#[test]
fn it_is_refused_where_a_call_is() {
    let mut database = Database::new();
    let stranger = database.role("stranger");
    database.open_by_hand(&stranger);
    let requests = many(2, &[]);
    let mut client = database.connect(&stranger);
    assert_eq!(submit(&mut client, &requests, "").sqlstate(), "42501");
    assert_eq!(submit(&mut client, &[], "").sqlstate(), "42501");
    let mut admin = database.admin();
    let mut read_only = admin.build_transaction().read_only(true).start().expect("BEGIN");
    assert_eq!(submit(&mut read_only, &requests, "").sqlstate(), "25006");
    read_only.rollback().expect("ROLLBACK");
    admin
        .batch_execute(
            "CREATE FUNCTION nosy() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
             CREATE TRIGGER nosy BEFORE INSERT ON hiems.ai_usage_logs
                 FOR EACH ROW EXECUTE FUNCTION nosy()",
        )
        .expect("a trigger");
    assert_eq!(submit(&mut admin, &requests, "").sqlstate(), "55000");
    assert!(database.fake.requests().is_empty());
}

#[test]
fn a_token_s_session_calls_for_its_own_user() {
    let mut database = Database::new();
    let login = database.role("login");
    let web = database.role_with("caller");
    database.admin().batch_execute(&format!("GRANT {web} TO {login}")).expect("a membership");
    database.set("hiems.jwt_session_roles", &login);
    let mut client = database.connect(&login);
    client
        .batch_execute(&format!(
            "SET ROLE {web}; SELECT set_config('request.jwt.claims', '{{\"sub\": \"ann\"}}', false)"
        ))
        .expect("a token");
    let without = |text: &str| {
        let mut request = request(text, &[]);
        request.as_object_mut().expect("an object").remove("user");
        request
    };
    let mut own = without("own");
    own["user"] = json!("ann");
    let requests = [without("first"), request("bob", &[]), own];
    let mut answers = submit(&mut client, &requests, "").expect("rows");
    answers.sort_by_key(|answer| answer.place);
    let codes: Vec<_> = answers.iter().map(|answer| answer.code.as_deref()).collect();
    assert_eq!(codes, [None, Some("42501"), None]);
    let refused = submit(&mut client, &requests, ", on_error => 'raise'").refusal();
    assert_eq!((refused.sqlstate.as_str(), &refused.message[..11]), ("42501", "request 2: "));
    client
        .batch_execute("SET default_transaction_isolation TO 'repeatable read'")
        .expect("a setting");
    assert_eq!(submit(&mut client, &requests, "").sqlstate(), "0A000");
    database.wait_until_booked();
    let users =
        "SELECT string_agg(DISTINCT principal || ' ' || user_id, ',') FROM hiems.ai_usage_logs";
    assert_eq!(database.text(users, &[]).as_deref(), Some("jwt:ann ann"));
    assert_eq!(database.fake.bill().len(), 2);
}
