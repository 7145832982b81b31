//! What a large call has taken is given back to the system.

use hiems_tests::measure::memory_of;
use hiems_tests::{Database, call, directives, user_message};
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
