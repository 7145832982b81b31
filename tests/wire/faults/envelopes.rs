//! Errors that come late, inside an answer, or with a bill.

use hiems_tests::{Database, directives};
use serde_json::json;

use super::{assert_is_settled, assert_is_the_bills, failed_call};

// The status line was out when the provider failed: the code inside counts. The generation exists, and
// that it was free is not said.
#[test]
fn an_error_at_status_200_goes_by_its_own_code() {
    let database = Database::new();
    let cases = [
        ("429", "PT429", "rate_limit_exceeded"),
        ("402", "PT402", "payment_required"),
        ("502", "PT502", "provider_unavailable"),
        ("server_error", "PT502", "server_error"),
    ];
    for (code, sqlstate, error_code) in cases {
        let (refusal, row, billed) =
            failed_call(&database, &directives(&[("fake_late_error", code)]));
        assert_eq!(refusal.sqlstate, sqlstate, "{code}: {refusal:?}");
        assert!(refusal.detail.contains("HTTP 200"), "{code}: {refusal:?}");
        assert_eq!(row["error_code"], error_code, "{code}");
        assert_eq!(row["http_status"], json!(200), "{code}");
        assert_is_settled(&row, &billed);
    }
}

// Zero completion insurance: what ends in an error is free, but for the tools that ran.
#[test]
fn an_error_inside_a_choice_costs_what_the_bill_says() {
    let database = Database::new();
    for (tool, cost) in [(None, "0"), (Some("0.0050"), "0.0050")] {
        let mut wishes = vec![("fake_finish_reason", "error")];
        wishes.extend(tool.map(|tool| ("fake_tool_cost", tool)));
        let (refusal, row, billed) = failed_call(&database, &directives(&wishes));
        assert_eq!(refusal.sqlstate, "PT502", "{refusal:?}");
        assert!(refusal.detail.contains("Provider disconnected"), "{refusal:?}");
        assert_eq!(row["outcome"], "failed");
        assert_eq!(row["finish_reason"], "error");
        assert_eq!(row["error_code"], "provider_unavailable");
        assert_eq!(billed.cost, cost);
        assert_is_the_bills(&row, &billed);
    }
}

#[test]
fn an_error_that_names_its_cost_is_booked_with_it() {
    let database = Database::new();
    let cases = [
        ("fake_status", "400", "22023", "400"),
        ("fake_status", "502", "PT502", "502"),
        ("fake_status", "408", "PT504", "408"),
        ("fake_late_error", "400", "22023", "200"),
    ];
    for (wish, code, sqlstate, status) in cases {
        let options =
            directives(&[(wish, code), ("fake_billed_error", "true"), ("fake_cost", "0.000120")]);
        let (refusal, row, billed) = failed_call(&database, &options);
        assert_eq!(refusal.sqlstate, sqlstate, "{wish} {code}: {refusal:?}");
        assert_eq!(row["outcome"], "failed", "{wish} {code}");
        assert_eq!(row["http_status"].to_string(), status);
        assert_is_the_bills(&row, &billed);
    }
}

// The generation ran on behind the error, and the error does not say what it cost.
#[test]
fn what_an_error_that_was_billed_did_cost_is_looked_up() {
    let database = Database::new();
    for wish in [
        ("fake_status", "524"),
        ("fake_status", "408"),
        ("fake_status", "504"),
        ("fake_error_shape", "page"),
    ] {
        let mut wishes = vec![
            ("fake_billed_error", "true"),
            ("fake_no_usage", "true"),
            ("fake_cost", "0.25"),
            wish,
        ];
        if wish.0 != "fake_status" {
            wishes.push(("fake_status", "502"));
        }
        let (_, row, billed) = failed_call(&database, &directives(&wishes));
        assert_is_settled(&row, &billed);
    }
    let told = [r#"{"completion_tokens": 12}"#, r#"{"cost": 1e999}"#];
    for usage in told {
        let options = directives(&[
            ("fake_status", "502"),
            ("fake_billed_error", "true"),
            ("fake_usage", usage),
        ]);
        let (_, row, billed) = failed_call(&database, &options);
        assert_is_settled(&row, &billed);
    }
}
