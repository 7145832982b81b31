//! What a large call has taken is given back to the system.

use hiems_tests::measure::memory_of;
use hiems_tests::{Canned, Database, ResultExt, SOON, call, directives, user_message, wait_until};
use postgres::Client;

const MEGABYTES: usize = 5;
const CALLS: usize = 8;

fn large_call(client: &mut Client) {
    let prompt = user_message(&"x".repeat(MEGABYTES << 20));
    let options = directives(&[("fake_answer_bytes", &(MEGABYTES << 20).to_string())]);
    let length: i32 = client
        .query_one(
            "SELECT length(hiems.submit_prompt('openai/gpt-4o-mini', $1::text::jsonb,
                                               options => $2::text::jsonb)::text)",
            &[&prompt, &options],
        )
        .expect("an answer")
        .get(0);
    assert!(usize::try_from(length).is_ok_and(|length| length > MEGABYTES << 20), "{length}");
}

#[test]
fn a_session_keeps_no_memory_of_large_calls() {
    let database = Database::new();
    let mut client = database.admin();
    // What the first call of a session takes stays.
    call(&mut client, "{}").expect("an answer");
    let pid = client.query_one("SELECT pg_backend_pid()", &[]).expect("a session").get(0);
    let before = memory_of(pid);
    for _ in 0..CALLS {
        large_call(&mut client);
    }
    // With the next statement a session lets go of what the last one had.
    client.query_one("SELECT 1", &[]).expect("it");
    let kept = memory_of(pid) - before;
    assert!(kept < MEGABYTES as f64, "{kept} MB");
}

#[test]
fn a_refused_argument_leaves_nothing_in_the_session() {
    let database = Database::new();
    let mut client = database.admin();
    call(&mut client, "{}").expect("an answer");
    let pid = client.query_one("SELECT pg_backend_pid()", &[]).expect("a session").get(0);
    let statements = [
        "SELECT hiems.has_level(repeat('x', 10000000))",
        "SELECT hiems.submit_prompts('[]', 1, repeat('x', 10000000))",
        "SELECT hiems.grant_access('postgres', repeat('x', 10000000))",
        "SELECT hiems.revoke_access('postgres', repeat('x', 10000000))",
    ];
    let mut refuse = |times: usize| {
        for sql in statements {
            for _ in 0..times {
                let refusal = client.query(sql, &[]).refusal();
                assert_eq!(refusal.sqlstate, "22023", "{sql}");
                assert!(refusal.detail.len() < 1000, "{sql}");
            }
        }
        client.query_one("SELECT 1", &[]).expect("it");
    };
    refuse(1);
    let before = memory_of(pid);
    refuse(5);
    let kept = memory_of(pid) - before;
    assert!(kept < 20.0, "{kept} MB");
}

/// What a slow reader has not taken yet waits in the gateway: of tiny events, too, not much more than them.
#[test]
fn a_stream_of_tiny_events_takes_little_more_than_they_are_long() {
    const EVENTS: usize = 1_000_000;
    let canned = Canned::start();
    let database = Database::with_all(&[
        ("hiems.base_url", &canned.base_url()),
        ("hiems.settlement_timeout", "0"),
    ]);
    let end = "data: {\"choices\":[],\"usage\":{\"cost\":0.5}}\n\ndata: [DONE]\n\n";
    let body = "data:{}\n\n".repeat(EVENTS) + end;
    canned.answer(
        200,
        "content-type: text/event-stream\r\nx-generation-id: gen-1\r\n",
        body.as_bytes(),
    );
    let gateway = database.gateways()[0];
    let before = memory_of(gateway);
    let mut client = database.admin();
    client
        .batch_execute(
            "BEGIN; DECLARE c CURSOR FOR SELECT hiems.stream_prompt('a/b', '[{\"role\":\"user\",\"content\":\"x\"}]');
             FETCH 1 FROM c",
        )
        .expect("the first of it");
    wait_until("all of it has come", SOON, || {
        database.count("hiems_private.calls WHERE state = 'answered'") == 1
    });
    let taken = memory_of(gateway) - before;
    println!("{EVENTS} events of 9 bytes took {taken} MB");
    assert!(taken < 100.0, "{taken} MB");
    client.batch_execute("MOVE FORWARD ALL IN c").expect("the rest of it");
    client.batch_execute("COMMIT").expect("a commit");
    database.wait_until_booked();
    assert_eq!(database.ledger()[0]["cost_usd"].to_string(), "0.5");
}
