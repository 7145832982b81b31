//! What is refused before anything is enqueued.

use hiems_tests::{Database, ResultExt};
use serde_json::json;

use super::{enqueue, enqueue_many, enqueue_with, item, state_of};

#[test]
fn bad_arguments_are_refused_by_name() {
    let database = Database::new();
    let mut client = database.admin();
    let cases = [
        (", priority => 5, max_attempts => 0", "max_attempts cannot be used"),
        (", max_attempts => 1001", "max_attempts cannot be used"),
        (", priority => 101", "priority cannot be used"),
        (", priority => -101", "priority cannot be used"),
        (", priority => 2147483647", "priority cannot be used"),
        (", run_at => 'infinity'", "run_at cannot be used"),
        (", run_at => '-infinity'", "run_at cannot be used"),
        (", idempotency_key => ''", "idempotency_key cannot be used"),
    ];
    for (more, message) in cases {
        let refusal = enqueue_with(&mut client, &[], more).refusal();
        assert_eq!((refusal.sqlstate.as_str(), refusal.message.as_str()), ("22023", message));
    }
    for sql in [
        "SELECT hiems.enqueue_prompt(NULL, '[{\"role\": \"user\"}]')",
        "SELECT hiems.enqueue_prompt('a/b', NULL)",
        "SELECT hiems.enqueue_prompt('a/b', '[]')",
        "SELECT hiems.enqueue_prompt('a/b', '[{\"role\": \"user\"}]', options => '{\"stream\": true}')",
        "SELECT hiems.enqueue_prompts(NULL)",
        "SELECT hiems.enqueue_prompts('{}')",
        "SELECT hiems.enqueue_prompts('3')",
    ] {
        assert_eq!(client.simple_query(sql).sqlstate(), "22023", "{sql}");
    }
    client.batch_execute("BEGIN READ ONLY").expect("a transaction");
    assert_eq!(enqueue(&mut client, &[]).sqlstate(), "25006");
    client.batch_execute("ROLLBACK").expect("the end");
    assert_eq!(database.count("hiems_private.queue"), 0);
}

#[test]
fn a_bad_request_among_many_is_named_by_its_place_and_none_is_enqueued() {
    let database = Database::new();
    let mut client = database.admin();
    let cases = [
        (json!("text"), "the request cannot be used"),
        (json!({"model": "a/b", "messages": [{"role": "user"}], "temperature": 1}), "the request"),
        (json!({"model": 7, "messages": [{"role": "user"}]}), "the request cannot be used"),
        (json!({"model": "a/b", "messages": []}), "messages cannot be used"),
        (json!({"model": "a/b", "messages": [{"role": "user"}], "run_at": "soon"}), "run_at"),
        (json!({"model": "a/b", "messages": [{"role": "user"}], "run_at": 3}), "run_at"),
        (json!({"model": "a/b", "messages": [{"role": "user"}], "priority": 1.5}), "priority"),
        (
            json!({"model": "a/b", "messages": [{"role": "user"}], "max_attempts": "3"}),
            "max_attempts",
        ),
        (
            json!({"model": "a/b", "messages": [{"role": "user"}], "priority": 3_000_000_000_u64}),
            "priority",
        ),
    ];
    for (bad, message) in cases {
        let requests = json!([item(&[]), item(&[]), bad, item(&[])]);
        let refusal = enqueue_many(&mut client, &requests).refusal();
        assert_eq!(refusal.sqlstate, "22023", "{bad}");
        let expected = format!("request 3: {message}");
        assert!(refusal.message.starts_with(&expected), "{bad}: {refusal:?}");
        assert!(!refusal.hint.is_empty() || message != "the request cannot be used");
    }
    assert_eq!(database.count("hiems_private.queue"), 0);
    assert_eq!(database.fake.requests().len(), 0);
}

#[test]
fn a_call_of_the_far_future_waits_and_can_be_cancelled() {
    let database = Database::new();
    let mut client = database.admin();
    let id = enqueue_with(&mut client, &[], ", run_at => '9999-12-31 23:59:59+00', priority => 9")
        .expect("an id");
    let soon = enqueue_with(
        &mut client,
        &[("fake_answer", "first")],
        ", run_at => clock_timestamp() + interval '50 ms'",
    )
    .expect("an id");
    assert_eq!(super::answer_of(&mut client, &soon).expect("an answer"), "first");
    let row = client
        .query_one(
            "SELECT state, run_at = '9999-12-31 23:59:59+00', priority, attempts, max_attempts
             FROM hiems.calls WHERE id = $1::text::uuid",
            &[&id],
        )
        .expect("the call");
    let found = (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4));
    assert_eq!(found, ("queued", true, 9, 0, 10));
    let refusal =
        client.query_one("SELECT hiems.await_prompt($1::text::uuid, '50 ms')", &[&id]).refusal();
    assert_eq!(refusal.sqlstate, "PT408");
    let cancelled: bool = client
        .query_one("SELECT hiems.cancel_prompt($1::text::uuid)", &[&id])
        .expect("a call")
        .get(0);
    assert!(cancelled);
    assert_eq!(state_of(&mut client, &id), None);
    assert_eq!(database.count("hiems_private.requests"), 0);
}

#[test]
fn who_may_not_call_may_not_enqueue() {
    let mut database = Database::new();
    let role = database.role_with("reader");
    let mut client = database.connect(&role);
    for sql in [
        "SELECT hiems.enqueue_prompt('a/b', '[{\"role\": \"user\"}]')",
        "SELECT hiems.enqueue_prompts('[]')",
        "SELECT hiems.cancel_prompt('00000000-0000-0000-0000-000000000000')",
        "SELECT hiems.resume_prompts()",
    ] {
        assert_eq!(client.simple_query(sql).sqlstate(), "42501", "{sql}");
    }
    let caller = database.role_with("caller");
    let mut client = database.connect(&caller);
    assert_eq!(client.simple_query("SELECT hiems.resume_prompts()").sqlstate(), "42501");
    for table in ["queue", "requests"] {
        let sql = format!("SELECT * FROM hiems_private.{table}");
        assert_eq!(client.simple_query(&sql).sqlstate(), "42501", "{sql}");
    }
}

#[test]
fn only_service_and_admin_go_before_others() {
    let mut database = Database::new();
    let later = ", run_at => '9999-12-31', priority => ";
    let caller = database.role_with("caller");
    let mut client = database.connect(&caller);
    let refusal = enqueue_with(&mut client, &[], &format!("{later}1")).refusal();
    assert_eq!(refusal.sqlstate, "42501");
    assert!(refusal.detail.contains("It is 1"), "{refusal:?}");
    let mut first = item(&[]);
    first["priority"] = json!(1);
    let refusal = enqueue_many(&mut client, &json!([item(&[]), first])).refusal();
    assert_eq!(refusal.sqlstate, "42501");
    assert!(refusal.message.starts_with("request 2: "), "{refusal:?}");
    for priority in [0, -1, -100] {
        enqueue_with(&mut client, &[], &format!("{later}{priority}")).expect("it is enqueued");
    }
    for level in ["service", "admin"] {
        let role = database.role_with(level);
        enqueue_with(&mut database.connect(&role), &[], &format!("{later}100")).expect(level);
    }
    assert_eq!(database.count("hiems_private.queue"), 5);
}
