//! Amounts that do not follow from the tokens.

use hiems_tests::{Database, directives};
use serde_json::{Value, json};

use super::{answered_call, assert_is_the_bills};

// The details never prove the cost: a web search stands in the cost alone.
#[test]
fn a_server_tools_price_is_in_the_cost_and_in_nothing_else() {
    let database = Database::new();
    let (answer, row, billed) =
        answered_call(&database, &directives(&[("fake_tool_cost", "0.007")]));
    assert_is_the_bills(&row, &billed);
    assert_eq!(answer["usage"]["server_tool_use_details"]["web_search_requests"], json!(1));
    let upstream = billed.upstream_cost.as_deref().expect("an upstream cost");
    assert_eq!(row["upstream_cost_usd"].to_string(), upstream);
    let more = database.text(
        "SELECT (cost_usd > upstream_cost_usd AND cost_usd >= 0.007)::text FROM hiems.ai_usage_logs",
        &[],
    );
    assert_eq!(more.as_deref(), Some("true"));
    // With server tools the answer does not say whose key paid.
    assert_eq!(row["is_byok"], Value::Null);
}

#[test]
fn a_fee_on_ones_own_key_is_the_cost() {
    let database = Database::new();
    let options = directives(&[("fake_byok", "true"), ("fake_cost", "0.0000151")]);
    let (_, row, billed) = answered_call(&database, &options);
    assert_is_the_bills(&row, &billed);
    assert_eq!(row["is_byok"], json!(true));
    let upstream = billed.upstream_cost.expect("the provider's bill");
    assert_ne!(upstream, billed.cost);
    assert_eq!(row["upstream_cost_usd"].to_string(), upstream);
}

#[test]
fn an_upstream_cost_that_is_null_is_not_known() {
    let database = Database::new();
    let (_, row, billed) = answered_call(&database, &directives(&[("fake_upstream_cost", "null")]));
    assert_is_the_bills(&row, &billed);
    assert_eq!(row["upstream_cost_usd"], Value::Null);
}

#[test]
fn every_count_of_tokens_is_booked() {
    let database = Database::new();
    let options = directives(&[
        ("fake_cached_tokens", "900"),
        ("fake_cache_write_tokens", "70"),
        ("fake_reasoning_tokens", "33"),
    ]);
    let (_, row, billed) = answered_call(&database, &options);
    assert_is_the_bills(&row, &billed);
    assert_eq!(row["cached_tokens"], json!(900));
    assert_eq!(row["cache_write_tokens"], json!(70));
    assert_eq!(row["reasoning_tokens"], json!(33));
    // They are inside the others.
    let total = billed.prompt_tokens + billed.completion_tokens;
    assert_eq!(row["total_tokens"], json!(total));
}

#[test]
fn an_empty_answer_is_free_and_a_cached_one_counts_nothing() {
    let database = Database::new();
    let (_, row, billed) = answered_call(&database, &directives(&[("fake_empty", "true")]));
    assert_is_the_bills(&row, &billed);
    assert_eq!(billed.cost, "0");
    assert_eq!(row["completion_tokens"], json!(0));
    assert_ne!(row["prompt_tokens"], json!(0));
    assert_eq!(row["finish_reason"], Value::Null);
    let (_, row, billed) = answered_call(&database, &directives(&[("fake_cache_hit", "true")]));
    assert_is_the_bills(&row, &billed);
    assert_eq!((&row["cost_usd"], &row["total_tokens"]), (&json!(0), &json!(0)));
}

#[test]
fn a_usage_of_odd_types_is_not_known_and_harms_nothing() {
    // Nobody asks OpenRouter for what these cost.
    let database = Database::with("hiems.settlement_timeout", "0");
    let usages = [
        "null",
        "[]",
        "\"free\"",
        "{}",
        r#"{"cost": null, "prompt_tokens": null, "is_byok": null, "cost_details": null}"#,
        r#"{"cost": "0.01", "prompt_tokens": "5", "total_tokens": 1.5, "is_byok": "false"}"#,
        r#"{"cost": true, "prompt_tokens": 99999999999999999999, "total_tokens": {}}"#,
        r#"{"cost": [0.01], "prompt_tokens_details": 7, "cost_details": [1]}"#,
        r#"{"cost": 1e999999}"#,
    ];
    for usage in usages {
        let (_, row, billed) = answered_call(&database, &directives(&[("fake_usage", usage)]));
        assert_eq!(row["generation_id"], json!(billed.id), "{usage}");
        assert_eq!(row["cost_source"], "unknown", "{usage}");
        for unknown in ["cost_usd", "prompt_tokens", "total_tokens", "is_byok"] {
            assert_eq!(row[unknown], Value::Null, "{usage}: {unknown}");
        }
    }
    let totals = database
        .text("SELECT concat_ws(' ', calls, calls_without_cost) FROM hiems.usage_totals", &[]);
    assert_eq!(totals.as_deref(), Some("9 9"));
}
