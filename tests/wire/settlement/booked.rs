//! Calls that are booked, and whose row is not right: a correcting row holds the difference.

use hiems_tests::{Database, ResultExt, SOON, call, directives, wait_until};
use serde_json::json;

use super::{assert_adds_up, billed, corrections};

/// What the views say of money and counts; each group has the same one call.
fn views(database: &Database) -> Option<String> {
    let views = [
        "usage_totals",
        "usage_by_model",
        "usage_by_use_case",
        "usage_by_user",
        "usage_daily",
        "my_usage_totals",
        "my_usage_by_model",
        "my_usage_daily",
    ];
    let said = views.map(|view| {
        database.text(
            &format!(
                "SELECT string_agg(concat_ws(' ', calls, cost_usd, calls_without_cost,
                                             calls_without_rate, failed_calls, total_tokens), ' | ')
                 FROM hiems.{view}"
            ),
            &[],
        )
    });
    for (view, words) in views.iter().zip(&said) {
        assert_eq!(words, &said[0], "{view}");
    }
    said.into_iter().next().flatten()
}

#[test]
fn an_answer_without_usage_gets_its_cost_by_a_correcting_row() {
    let database = Database::new();
    let options = directives(&[
        ("fake_no_usage", "true"),
        ("fake_cost", "0.0004970133333333333"),
        ("fake_lookup_lag_ms", "2000"),
    ]);
    let mut admin = database.admin();
    call(&mut admin, &options).expect("an answer");
    // What is not known is not 0.
    assert_eq!(views(&database).as_deref(), Some("1 1 0 0"), "calls, unknown, no rate, failed");
    database.wait_until_booked();
    let rows = database.ledger();
    assert_eq!(rows.len(), 2, "{rows:?}");
    let correction = corrections(&database).remove(0);
    let row = rows.iter().find(|row| row["calls"] == 1).expect("the call's row");
    assert_eq!(correction["adjusts"], row["id"]);
    assert_eq!(correction["cost_source"], "settled");
    for same in [
        "created_at",
        "generation_id",
        "model",
        "model_requested",
        "provider",
        "user_id",
        "use_case",
        "outcome",
        "principal",
        "key_name",
        "role_name",
    ] {
        assert_eq!(correction[same], row[same], "{same}");
    }
    assert_eq!(correction["attempts"], json!(0));
    let bill = billed(&database);
    assert_adds_up(&database, &bill);
    let total = bill.prompt_tokens + bill.completion_tokens;
    assert_eq!(views(&database), Some(format!("1 0.0004970133333333333 0 1 0 {total}")));
    let statistics = database.text(
        "SELECT concat_ws(' ', calls, failed_calls, trim_scale(cost_usd_per_call),
                          trim_scale(prompt_tokens_per_call))
         FROM hiems.model_statistics",
        &[],
    );
    assert_eq!(statistics, Some(format!("1 0 0.0004970133333333333 {}", bill.prompt_tokens)));
}

#[test]
fn what_the_answer_said_wrongly_is_corrected_where_every_cost_is_verified() {
    let database = Database::with("hiems.verify_every_cost", "on");
    database
        .admin()
        .execute("SELECT hiems.set_exchange_rate('USD', 10, current_date, 'test')", &[])
        .expect("a rate");
    let usage = r#"{"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "cost": 0.5}"#;
    let options = directives(&[("fake_usage", usage), ("fake_cost", "0.2")]);
    call(&mut database.admin(), &options).expect("an answer");
    database.wait_until_booked();
    let correction = corrections(&database).remove(0);
    assert_eq!(correction["cost_usd"].to_string(), "-0.3");
    assert_eq!(correction["cost_sek"].to_string(), "-3.0");
    assert_eq!(correction["cost_source"], "billed");
    let bill = billed(&database);
    assert_adds_up(&database, &bill);
    let total = bill.prompt_tokens + bill.completion_tokens;
    assert_eq!(views(&database), Some(format!("1 0.2 0 0 0 {total}")));
}

// Averages are over calls, not over rows.
#[test]
fn tokens_that_were_known_are_not_counted_twice() {
    let database = Database::new();
    let usage = r#"{"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}"#;
    let options = directives(&[("fake_usage", usage), ("fake_cost", "0.25")]);
    call(&mut database.admin(), &options).expect("an answer");
    database.wait_until_booked();
    assert_eq!(corrections(&database)[0]["cost_source"], "settled");
    let bill = billed(&database);
    assert_adds_up(&database, &bill);
    let (prompt, completion) = (bill.prompt_tokens, bill.completion_tokens);
    let statistics = database.text(
        "SELECT concat_ws(' ', calls, trim_scale(prompt_tokens_per_call),
                          trim_scale(completion_tokens_per_call), trim_scale(cost_usd_per_call),
                          cost_usd_per_million_tokens = 1000000 * 0.25 / $1::text::numeric)
         FROM hiems.model_statistics",
        &[&(prompt + completion).to_string()],
    );
    assert_eq!(statistics, Some(format!("1 {prompt} {completion} 0.25 t")));
}

// With a provider key of one's own the provider's bill comes with the record, too.
#[test]
fn the_providers_own_bill_is_settled_once() {
    let database = Database::with("hiems.verify_every_cost", "on");
    let mut admin = database.admin();
    for wishes in [
        &[("fake_byok", "true"), ("fake_upstream_cost", "0.5")][..],
        &[("fake_byok", "true"), ("fake_upstream_cost", "0.25"), ("fake_no_usage", "true")][..],
    ] {
        call(&mut admin, &directives(wishes)).expect("an answer");
    }
    database.wait_until_booked();
    let total = database.text(
        "SELECT concat_ws(' ', calls, trim_scale(byok_upstream_cost_usd), calls_without_cost)
         FROM hiems.usage_totals",
        &[],
    );
    assert_eq!(total.as_deref(), Some("2 0.75 0"));
    assert_eq!(corrections(&database).len(), 1);
}

#[test]
fn what_is_right_is_not_corrected() {
    let database = Database::with("hiems.verify_every_cost", "on");
    call(&mut database.admin(), "{}").expect("an answer");
    database.wait_until_booked();
    assert_eq!(database.fake.lookups(), [billed(&database).id]);
    assert_eq!(corrections(&database).len(), 0);
    assert_adds_up(&database, &billed(&database));
}

// Only where there is a doubt: a look costs time, and OpenRouter's patience.
#[test]
fn what_is_not_in_doubt_is_not_looked_up() {
    let database = Database::new();
    let mut admin = database.admin();
    call(&mut admin, "{}").expect("an answer");
    assert_eq!(call(&mut admin, &directives(&[("fake_status", "402")])).sqlstate(), "PT402");
    database.wait_until_booked();
    admin.execute("SELECT hiems.settle_now()", &[]).expect("a settlement");
    assert_eq!(database.fake.lookups(), Vec::<String>::new());
}

// An error that names a generation was not billed, as far as it says.
#[test]
fn an_error_that_was_billed_after_all_is_corrected() {
    let database = Database::new();
    let options = directives(&[
        ("fake_status", "502"),
        ("fake_billed_error", "true"),
        ("fake_no_usage", "true"),
        ("fake_cost", "0.125"),
    ]);
    assert_eq!(call(&mut database.admin(), &options).sqlstate(), "PT502");
    database.wait_until_booked();
    let rows = database.ledger();
    let row = rows.iter().find(|row| row["calls"] == 1).expect("the call's row");
    assert_eq!(
        (&row["cost_source"], row["cost_usd"].to_string()),
        (&json!("not_billed"), "0".to_owned())
    );
    let correction = corrections(&database).remove(0);
    assert_eq!(correction["cost_usd"].to_string(), "0.125");
    assert_adds_up(&database, &billed(&database));
    let bill = billed(&database);
    let total = bill.prompt_tokens + bill.completion_tokens;
    assert_eq!(views(&database), Some(format!("1 0.125 0 1 1 {total}")));
}

// A caller that holds its transaction open has its row to itself.
#[test]
fn a_correction_waits_for_the_caller_s_commit() {
    let database = Database::new();
    let mut caller = database.admin();
    let mut transaction = caller.transaction().expect("BEGIN");
    let options = directives(&[("fake_no_usage", "true")]);
    transaction
        .execute(
            "SELECT hiems.submit_prompt('openai/gpt-4o-mini', '[{\"role\":\"user\",\"content\":\"x\"}]',
                    options => $1::text::jsonb)",
            &[&options],
        )
        .expect("an answer");
    let mut admin = database.admin();
    let asked = admin.query_one("SELECT settled FROM hiems.settle_now()", &[]).expect("a row");
    assert_eq!(asked.get::<_, i64>(0), 0);
    assert_eq!(database.fake.lookups().len(), 0);
    transaction.commit().expect("COMMIT");
    wait_until("the correction", SOON, || corrections(&database).len() == 1);
    database.wait_until_booked();
    assert_adds_up(&database, &billed(&database));
}
