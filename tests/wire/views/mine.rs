//! The views of one's own rows.

use hiems_tests::{Database, directives, user_message};
use postgres::Client;

use super::rows;

fn call(client: &mut Client, model: &str, cost: &str) {
    client
        .query_one(
            "SELECT hiems.submit_prompt($1, $2::text::jsonb, options => $3::text::jsonb)::text",
            &[&model, &user_message("hello"), &directives(&[("fake_cost", cost)])],
        )
        .expect("an answer");
}

/// Each view of one's own rows is the view of all, had the ledger no other rows.
fn assert_own(database: &Database, client: &mut Client, principal: &str) {
    let ledger =
        format!("(SELECT * FROM hiems.ai_usage_logs WHERE principal = '{principal}') AS l");
    let sums = "count(*) AS calls, sum(prompt_tokens)::bigint AS prompt_tokens,
        sum(completion_tokens)::bigint AS completion_tokens,
        sum(total_tokens)::bigint AS total_tokens, sum(cost_usd) AS cost_usd,
        sum(cost_sek) AS cost_sek, count(*) - count(cost_usd) AS calls_without_cost,
        count(cost_usd) - count(cost_sek) AS calls_without_rate, 0::bigint AS failed_calls";
    for (view, sql) in [
        ("my_usage_totals", format!("SELECT {sums} FROM {ledger}")),
        ("my_usage_by_model", format!("SELECT model, {sums} FROM {ledger} GROUP BY model")),
        (
            "my_usage_daily",
            format!(
                "SELECT (created_at AT TIME ZONE current_setting('TimeZone'))::date AS day, {sums}
                 FROM {ledger} GROUP BY 1"
            ),
        ),
    ] {
        let expected = rows(&mut database.admin(), &sql);
        let seen = rows(client, &format!("SELECT * FROM hiems.{view}"));
        assert_eq!(seen, expected, "{view} of {principal}");
    }
}

#[test]
fn everybody_sees_its_own_and_a_reader_too() {
    let mut database = Database::new();
    let mut admin = database.admin();
    admin
        .execute("SELECT hiems.set_exchange_rate('USD', 9.5, current_date - 1, 'test')", &[])
        .expect("a rate");
    call(&mut admin, "openai/gpt-4o-mini", "5");
    let caller = database.role_with("caller");
    let both = database.role_with("admin");
    let reader = database.role_with("reader");
    for (role, cost) in [(&caller, "0.25"), (&both, "0.0000001")] {
        let mut client = database.connect(role);
        call(&mut client, "openai/gpt-4o-mini", cost);
        call(&mut client, "openai/gpt-4o-mini", cost);
        call(&mut client, "acme/thinker-7b", cost);
    }
    database.wait_until_booked();
    for role in [&caller, &both, &reader] {
        assert_own(&database, &mut database.connect(role), &format!("role:{role}"));
    }
    assert_own(&database, &mut admin, "role:postgres");
    let own =
        rows(&mut database.connect(&caller), "SELECT calls, cost_usd FROM hiems.my_usage_totals");
    assert_eq!(own[0]["cost_usd"].as_deref(), Some("0.75"));
}

#[test]
fn reading_takes_no_transaction_id() {
    let mut database = Database::new();
    let role = database.role_with("caller");
    let mut client = database.connect(&role);
    let mut transaction = client.build_transaction().read_only(true).start().expect("BEGIN");
    for relation in ["ai_usage_logs", "my_usage_totals", "usage_by_model"] {
        transaction.query(&format!("SELECT * FROM hiems.{relation}"), &[]).expect(relation);
    }
    let assigned = transaction
        .query_one("SELECT pg_current_xact_id_if_assigned()::text", &[])
        .expect("a row")
        .get::<_, Option<String>>(0);
    assert_eq!(assigned, None);
}
