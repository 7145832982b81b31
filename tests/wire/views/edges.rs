//! What is unknown, what is not there, and what was corrected.

use hiems_tests::Database;

use super::{call, insert, rows};

#[test]
fn what_is_unknown_is_null_and_counted() {
    let database = Database::with("hiems.settlement_timeout", "0");
    let mut client = database.admin();
    call(&mut client, "openai/gpt-4o-mini", "ada", None, &[("fake_no_usage", "true")]);
    for view in ["usage_totals", "usage_by_model", "usage_by_use_case", "usage_by_user"] {
        let row = &rows(&mut client, &format!("SELECT * FROM hiems.{view}"))[0];
        for column in ["cost_usd", "cost_sek", "prompt_tokens", "completion_tokens", "total_tokens"]
        {
            assert_eq!(row[column], None, "{view}.{column}");
        }
        assert_eq!(row["calls"].as_deref(), Some("1"), "{view}");
        assert_eq!(row["calls_without_cost"].as_deref(), Some("1"), "{view}");
        assert_eq!(row["calls_without_rate"].as_deref(), Some("0"), "{view}");
    }
}

#[test]
fn an_empty_ledger_has_one_row_of_totals_and_nothing_else() {
    let database = Database::without_key();
    let mut client = database.admin();
    for view in ["usage_totals", "my_usage_totals"] {
        let totals = rows(&mut client, &format!("SELECT * FROM hiems.{view}"));
        assert_eq!(totals.len(), 1, "{view}");
        for (column, value) in &totals[0] {
            let counts =
                column == "calls" || column == "failed_calls" || column.contains("_without_");
            assert_eq!(value.as_deref(), counts.then_some("0"), "{view}.{column}");
        }
    }
    for view in [
        "usage_by_model",
        "usage_by_use_case",
        "usage_by_user",
        "usage_daily",
        "model_statistics",
        "my_usage_by_model",
        "my_usage_daily",
    ] {
        assert_eq!(database.count(&format!("hiems.{view}")), 0, "{view}");
    }
}

/// A correction holds the difference, and is no call.
#[test]
fn a_correction_changes_the_sums_and_not_the_calls() {
    let database = Database::new();
    let mut client = database.admin();
    call(&mut client, "openai/gpt-4o-mini", "ada", None, &[("fake_cost", "0.5")]);
    let model = database.text("SELECT model FROM hiems.ai_usage_logs", &[]).expect("a model");
    insert(
        &database,
        "adjusts, created_at, model, user_id, principal, cost_usd, cost_source, outcome, calls",
        &format!(
            "(SELECT id FROM hiems.ai_usage_logs), now(), '{model}', 'ada', 'role:postgres', -0.2,
             'settled', 'recorded', 0"
        ),
    );
    for view in [
        "usage_totals",
        "usage_by_model",
        "usage_by_use_case",
        "usage_by_user",
        "my_usage_totals",
        "my_usage_by_model",
    ] {
        let row = &rows(&mut client, &format!("SELECT * FROM hiems.{view}"))[0];
        assert_eq!(row["cost_usd"].as_deref(), Some("0.3"), "{view}");
        assert_eq!(row["calls"].as_deref(), Some("1"), "{view}");
    }
}
