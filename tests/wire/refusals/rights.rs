//! Who may not call.

use hiems_tests::{Database, ResultExt};

use super::assert_untouched;

const CALLS: [&str; 2] = [
    r#"SELECT hiems.submit_prompt('openai/gpt-4o-mini', '[{"role": "user", "content": "x"}]')"#,
    "SELECT hiems.complete('hello', 'openai/gpt-4o-mini')",
];

#[test]
fn a_role_without_a_level_may_not_call() {
    let mut database = Database::new();
    let role = database.role("outsider");
    let mut client = database.connect(&role);
    for call in CALLS {
        assert_eq!(client.query_one(call, &[]).sqlstate(), "42501", "{call}");
    }
    database.open_by_hand(&role);
    for call in CALLS {
        let refusal = client.query_one(call, &[]).refusal();
        assert_eq!(refusal.sqlstate, "42501", "{call}");
        assert!(refusal.detail.contains(&role), "{refusal:?}");
        assert!(refusal.hint.contains("hiems.grant_access"), "{refusal:?}");
    }
    assert_untouched(&database);
}

#[test]
fn a_reader_may_call_nothing() {
    let mut database = Database::new();
    let role = database.role_with("reader");
    let mut client = database.connect(&role);
    for call in CALLS {
        assert_eq!(client.query_one(call, &[]).sqlstate(), "42501", "{call}");
    }
    database.open_by_hand(&role);
    for call in CALLS {
        let refusal = client.query_one(call, &[]).refusal();
        assert_eq!(refusal.sqlstate, "42501", "{call}");
        assert_ne!(refusal.hint, "", "{refusal:?}");
    }
    assert_untouched(&database);
}

#[test]
fn a_level_that_was_taken_away_counts_no_more() {
    let mut database = Database::new();
    let role = database.role_with("caller");
    let mut client = database.connect(&role);
    client.query_one(CALLS[0], &[]).expect("an answer");
    let taken: bool = database
        .admin()
        .query_one("SELECT hiems.revoke_access($1)", &[&role])
        .expect("revoked")
        .get(0);
    assert!(taken);
    database.open_by_hand(&role);
    for call in CALLS {
        assert_eq!(client.query_one(call, &[]).sqlstate(), "42501", "{call}");
    }
    database.wait_until_booked();
    assert_eq!(database.fake.requests().len(), 1);
    assert_eq!(database.count("hiems.ai_usage_logs"), 1);
}
