//! Costs, to the last digit.

use hiems_tests::{Database, ResultExt, SOON, call, cluster, directives, wait_until};
use serde_json::{Value, json};

#[test]
fn a_cost_is_the_token_of_the_answer() {
    let database = Database::new();
    let mut client = database.admin();
    let cases = [
        ("0.0076509169000000005", "0.0076509169000000005"),
        ("0.0004970133333333333", "0.0004970133333333333"),
        ("4.2e-7", "0.00000042"),
        ("4.2000000000000006e-12", "0.0000000000042000000000000006"),
        ("0", "0"),
        ("1e-19", "0.0000000000000000001"),
        ("-0.5", "-0.5"),
        ("1.50", "1.50"),
        ("0.000", "0.000"),
        ("12E+2", "1200"),
        ("123456789012345678901234567890.5", "123456789012345678901234567890.5"),
    ];
    for (token, cost) in cases {
        let answer = call(&mut client, &directives(&[("fake_cost", token)])).expect(token);
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        assert_eq!(answer["usage"]["cost"].to_string(), cost);
    }
    let rows = database.ledger();
    let bill = database.fake.bill();
    assert_eq!(rows.len(), cases.len());
    for ((row, generation), (token, cost)) in rows.iter().zip(&bill).zip(cases) {
        assert_eq!(generation.cost, token);
        assert_eq!(row["generation_id"], json!(generation.id));
        assert_eq!(row["cost_usd"].to_string(), cost, "{token}");
        assert_eq!(row["upstream_cost_usd"].to_string(), cost, "{token}");
        assert_eq!(row["cost_source"], "billed", "{token}");
        assert_eq!(row["is_byok"], json!(false), "{token}");
    }
    let sum = database.text(
        "SELECT (t.cost_usd = (SELECT sum(c::numeric) FROM unnest($1::text[]) AS c))::text
         FROM hiems.usage_totals AS t",
        &[&cases.map(|(token, _)| token).to_vec()],
    );
    assert_eq!(sum.as_deref(), Some("true"));
}

#[test]
fn without_a_wish_the_cost_is_the_bills() {
    let database = Database::new();
    let mut client = database.admin();
    for model in ["openai/gpt-4o-mini", "anthropic/claude-sonnet-4.5"] {
        for _ in 0..5 {
            client
                .query_one("SELECT hiems.complete('Say something.', $1)", &[&model])
                .expect("an answer");
        }
    }
    for generation in database.fake.bill() {
        let booked = database.text(
            "SELECT (cost_usd = $2::text::numeric
                     AND prompt_tokens + completion_tokens = total_tokens
                     AND total_tokens = $3)::text
             FROM hiems.ai_usage_logs WHERE generation_id = $1",
            &[
                &generation.id,
                &generation.cost,
                &((generation.prompt_tokens + generation.completion_tokens) as i64),
            ],
        );
        assert_eq!(booked.as_deref(), Some("true"), "{generation:?}");
    }
    assert_eq!(database.count("hiems.ai_usage_logs"), 10);
}

// The call answers, since the answer is paid for; what it cost is not taken from it.
#[test]
fn a_cost_out_of_all_range_is_not_known() {
    let database = Database::new();
    let mut client = database.admin();
    let long = format!("0.{}1", "0".repeat(120));
    for token in ["1e400", "1e-70", "-1e61", long.as_str()] {
        call(&mut client, &directives(&[("fake_cost", token)])).expect("an answer");
        let row = database.ledger().pop().expect("a row");
        assert_eq!(row["cost_usd"], Value::Null, "{token}");
        assert_eq!(row["upstream_cost_usd"], Value::Null, "{token}");
        assert_eq!(row["cost_source"], "unknown", "{token}");
        assert_eq!(row["outcome"], "committed", "{token}");
        let warning = format!("hiems call {}: the cost", row["id"].as_str().expect("an id"));
        wait_until("the log says so", SOON, || cluster().log().contains(&warning));
    }
    let totals = database
        .text("SELECT concat_ws(' ', calls, calls_without_cost) FROM hiems.usage_totals", &[]);
    assert_eq!(totals.as_deref(), Some("4 4"));
}

// numeric, and so jsonb, has no room for it. The call may answer without it, or raise; it may not lose
// the row, nor leave the caller without the call's id.
#[test]
fn an_answer_with_a_number_that_jsonb_refuses_is_not_lost() {
    let database = Database::with("hiems.settlement_timeout", "0");
    let mut client = database.admin();
    let answered = call(&mut client, &directives(&[("fake_cost", "1e150000")]));
    database.wait_until_booked();
    let rows = database.ledger();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["generation_id"], json!(database.fake.bill()[0].id));
    assert_eq!(rows[0]["cost_usd"], Value::Null);
    assert_eq!(rows[0]["cost_source"], "unknown");
    if answered.is_err() {
        let refusal = answered.refusal();
        let id = rows[0]["id"].as_str().expect("an id");
        assert!(refusal.detail.contains(id), "{refusal:?}");
    }
}

#[test]
fn with_a_key_of_ones_own_fee_and_providers_bill_stay_apart() {
    let database = Database::new();
    let mut client = database.admin();
    call(&mut client, &directives(&[("fake_byok", "true")])).expect("an answer");
    call(&mut client, &directives(&[("fake_cost", "0.25")])).expect("an answer");
    let rows = database.ledger();
    assert_eq!(rows[0]["cost_usd"].to_string(), "0");
    assert_eq!(rows[0]["cost_source"], "billed");
    assert_eq!(rows[0]["is_byok"], json!(true));
    let upstream = database.fake.bill()[0].upstream_cost.clone();
    assert_ne!(upstream.as_deref(), Some("0"));
    let equal = database.text(
        "SELECT concat_ws(' ', (SELECT upstream_cost_usd FROM hiems.ai_usage_logs WHERE is_byok)
                                   = $1::text::numeric,
                          byok_upstream_cost_usd = $1::text::numeric, cost_usd)
         FROM hiems.usage_totals",
        &[&upstream],
    );
    assert_eq!(equal.as_deref(), Some("t t 0.25"));
}

#[test]
fn whose_key_paid_is_not_guessed() {
    let database = Database::new();
    let options = directives(&[("fake_no_is_byok", "true"), ("fake_cost", "0.01")]);
    call(&mut database.admin(), &options).expect("an answer");
    let row = database.ledger().remove(0);
    assert_eq!(row["is_byok"], Value::Null);
    assert_eq!(row["cost_usd"].to_string(), "0.01");
    assert_eq!(row["cost_source"], "billed");
}
