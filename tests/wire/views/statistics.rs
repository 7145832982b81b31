//! What a call of a model costs and takes on average.

use hiems_tests::Database;

use super::{insert, rows};

/// Tokens, cost, latency and outcome of a call that never was.
fn made(database: &Database, model: &str, provider: &str, values: &str) {
    insert(
        database,
        "created_at, principal, calls, model_requested, model, provider, prompt_tokens,
         completion_tokens, total_tokens, cost_usd, cost_source, latency_ms, outcome",
        &format!("now(), 'p', 1, 'asked/for', {model}, {provider}, {values}"),
    );
}

fn used() -> Database<'static> {
    let database = Database::without_key();
    let a = ("'v/a'", "'One'");
    made(&database, a.0, a.1, "10, 20, 30, 0.003, 'billed', 100, 'committed'");
    made(&database, a.0, a.1, "11, 40, 51, 0.005, 'billed', 300, 'rolled_back'");
    // Its cost is not known, its tokens are.
    made(&database, a.0, a.1, "12, 60, 72, NULL, 'unknown', 900, 'committed'");
    // Neither is known.
    made(&database, a.0, a.1, "NULL, NULL, NULL, NULL, 'unknown', 50, 'unknown'");
    made(&database, a.0, a.1, "NULL, NULL, NULL, 0, 'not_billed', 7, 'failed'");
    // A refusal that names no model and no provider.
    made(&database, "NULL", "NULL", "NULL, NULL, NULL, 0, 'not_billed', NULL, 'failed'");
    // Nothing is known of it.
    made(&database, "'v/b'", "'Two'", "NULL, NULL, NULL, NULL, 'unknown', NULL, 'unknown'");
    // No tokens, and at once.
    made(&database, "'v/c'", "'Two'", "0, 0, 0, 0, 'billed', 0, 'committed'");
    // The same model by another provider.
    made(&database, a.0, "'Two'", "1, 2, 3, 0.000001, 'billed', 10, 'committed'");
    database
}

#[test]
fn averages_are_over_what_is_known() {
    let database = used();
    let mut client = database.admin();
    let seen = rows(
        &mut client,
        "SELECT model, provider, calls, failed_calls,
                trim_scale(cost_usd_per_call)::text AS cost,
                round(cost_usd_per_million_tokens, 6)::text AS million,
                trim_scale(round(prompt_tokens_per_call, 6))::text AS prompt,
                trim_scale(round(completion_tokens_per_call, 6))::text AS completion,
                trim_scale(round(latency_ms_average, 6))::text AS average,
                trim_scale(round(latency_ms_p50::numeric, 6))::text AS p50,
                trim_scale(round(latency_ms_p95::numeric, 6))::text AS p95,
                round(completion_tokens_per_second, 6)::text AS speed
         FROM hiems.model_statistics",
    );
    let said: Vec<String> = seen
        .iter()
        .map(|row| {
            [
                "model",
                "provider",
                "calls",
                "failed_calls",
                "cost",
                "million",
                "prompt",
                "completion",
                "average",
                "p50",
                "p95",
                "speed",
            ]
            .map(|column| row[column].clone().unwrap_or_else(|| "-".to_owned()))
            .join(" ")
        })
        .collect();
    assert_eq!(
        said,
        [
            "asked/for - 1 1 0 - - - - - - -",
            // 0.008 over 3 calls and 81 tokens; 120 tokens in 1300 ms; 5 latencies.
            "v/a One 5 1 0.00266666666666666667 98.765432 11 40 271.4 100 780 92.307692",
            "v/a Two 1 0 0.000001 0.333333 1 2 10 10 10 200.000000",
            "v/b Two 1 0 - - - - - - - -",
            "v/c Two 1 0 0 - 0 0 0 0 0 -",
        ]
    );
}

#[test]
fn every_statistic_is_looked_at_here() {
    let database = Database::without_key();
    let columns = database.text(
        "SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute
         WHERE attrelid = 'hiems.model_statistics'::regclass AND attnum > 0",
        &[],
    );
    assert_eq!(
        columns.as_deref(),
        Some(
            "model provider calls failed_calls cost_usd_per_call cost_usd_per_million_tokens \
             prompt_tokens_per_call completion_tokens_per_call latency_ms_average latency_ms_p50 \
             latency_ms_p95 completion_tokens_per_second"
        )
    );
}
