//! Whoever makes more calls at once than there is room for leaves some to others.

use std::time::{Duration, Instant};

use hiems_tests::{Database, ResultExt, Running, call, directives, wait_until};

use super::{SOON, many, submit};

fn caller(database: &mut Database, name: &str) -> String {
    let role = database.role(name);
    let grant = "SELECT hiems.grant_access($1, 'caller')";
    database.admin().execute(grant, &[&role]).expect("a level");
    role
}

/// A batch of a role's, all of it at once; each call takes so long.
fn batch(database: &Database, role: &str, calls: usize, milliseconds: &str) -> Running {
    let requests = many(calls, &[("fake_delay_ms", milliseconds)]);
    Running::with(database.connect(role), move |client| {
        submit(client, &requests, ", 1000").map(|answers| {
            answers.iter().filter(|answer| answer.content.is_some()).count().to_string()
        })
    })
}

/// How many calls of a role's are on their way to OpenRouter.
fn sent(database: &Database, role: &str) -> i64 {
    let of = format!(
        "hiems_private.calls WHERE state = 'sent' AND principal = 'role:{}'",
        role.replace('\'', "''")
    );
    database.count(&of)
}

#[test]
fn a_batch_leaves_room_for_others_and_half_of_all_if_they_want_it() {
    let mut database = Database::with("hiems.max_in_flight", "20");
    let (greedy, other) = (caller(&mut database, "greedy"), caller(&mut database, "other"));
    let first = batch(&database, &greedy, 120, "700");
    wait_until("it has all but a tenth", SOON, || database.fake.in_flight() == 18);
    // Who has more than its share already is told so.
    let refusal = call(&mut database.connect(&greedy), "{}").refusal();
    assert_eq!(refusal.sqlstate, "PT429");
    assert!(refusal.detail.contains("other callers"), "{refusal:?}");
    assert!(refusal.hint.contains("hiems.max_share"), "{refusal:?}");
    for _ in 0..5 {
        call(&mut database.connect(&other), "{}").expect("there is room");
    }
    let second = batch(&database, &other, 60, "700");
    wait_until("both have a half", SOON, || sent(&database, &other) >= 9);
    assert!(sent(&database, &greedy) <= 11);
    // One that comes third finds a place as soon as one is free.
    let third = caller(&mut database, "third");
    let began = Instant::now();
    wait_until("the third is served", SOON, || call(&mut database.connect(&third), "{}").is_ok());
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!(second.end().1.expect("rows"), "60");
    assert_eq!(first.end().1.expect("rows"), "120");
    assert_eq!(database.fake.most_in_flight(), 20);
}

#[test]
fn the_queue_goes_on_beside_a_batch() {
    let mut database = Database::with("hiems.max_in_flight", "20");
    let (greedy, other) = (caller(&mut database, "greedy"), caller(&mut database, "other"));
    let running = batch(&database, &greedy, 200, "500");
    wait_until("it has all but a tenth", SOON, || database.fake.in_flight() == 18);
    let enqueue = "SELECT hiems.enqueue_prompt('openai/gpt-4o-mini', '[{\"role\":\"user\",\"content\":\"q\"}]')";
    let mut client = database.connect(&other);
    client.execute(enqueue, &[]).expect("it is enqueued");
    wait_until("it is made", SOON, || {
        database.fake.requests().iter().any(|request| request.body.to_string().contains("\"q\""))
    });
    let sent = database.fake.requests().len();
    assert!(sent < 150, "after {sent} of the batch's");
    assert_eq!(running.end().1.expect("rows"), "200");
}

#[test]
fn without_shares_whoever_comes_first_has_all() {
    let mut database = Database::without_key();
    database.set("hiems.max_in_flight", "20");
    database.set("hiems.max_share", "100");
    database.store_key();
    let greedy = caller(&mut database, "greedy");
    let running = batch(&database, &greedy, 40, "700");
    wait_until("it has all", SOON, || database.fake.in_flight() == 20);
    let refusal = call(&mut database.admin(), &directives(&[])).refusal();
    assert_eq!(refusal.sqlstate, "PT429");
    assert!(refusal.detail.contains("hiems.max_in_flight is reached"), "{refusal:?}");
    assert_eq!(running.end().1.expect("rows"), "40");
}
