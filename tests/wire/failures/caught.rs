//! A failure inside a transaction that goes on, and one that takes answered calls with it.

use hiems_tests::{Database, ResultExt, directives};
use serde_json::json;

#[test]
fn a_failure_that_is_caught_is_booked_once() {
    let database = Database::new();
    let options = directives(&[("fake_status", "429")]);
    let mut client = database.admin();
    client
        .batch_execute(&format!(
            "CREATE TABLE notes (note text);
             DO $$
             BEGIN
                 PERFORM hiems.submit_prompt('openai/gpt-4o-mini',
                     '[{{\"role\": \"user\", \"content\": \"hello\"}}]', options => '{options}');
             EXCEPTION WHEN SQLSTATE 'PT429' THEN
                 INSERT INTO notes VALUES ('later');
             END
             $$"
        ))
        .expect("the block goes on");
    database.wait_until_booked();
    assert_eq!(database.count("notes"), 1);
    let rows = database.ledger();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["outcome"], "failed");
    assert_eq!(rows[0]["http_status"], json!(429));
    assert_eq!(rows[0]["cost_source"], "not_billed");
}

#[test]
fn calls_that_a_later_failure_rolls_back_are_booked_with_their_costs() {
    let database = Database::new();
    let mut client = database.admin();
    let failed = client.query(
        "SELECT hiems.submit_prompt('openai/gpt-4o-mini',
                    '[{\"role\": \"user\", \"content\": \"hello\"}]', options => o::jsonb)
         FROM unnest($1::text[]) AS o",
        &[&vec![
            directives(&[("fake_cost", "0.0000123")]),
            directives(&[("fake_cost", "0.0004")]),
            directives(&[("fake_status", "502")]),
            directives(&[("fake_cost", "1")]),
        ]],
    );
    assert_eq!(failed.sqlstate(), "PT502");
    database.wait_until_booked();
    let rows: Vec<_> = database
        .ledger()
        .iter()
        .map(|row| {
            let text = |column: &str| row[column].to_string().replace('"', "");
            [text("outcome"), text("cost_usd"), text("cost_source")]
        })
        .collect();
    let expected = [
        ["rolled_back", "0.0000123", "billed"],
        ["rolled_back", "0.0004", "billed"],
        ["failed", "0", "not_billed"],
    ];
    assert_eq!(rows, expected);
    assert_eq!(database.fake.requests().len(), 3, "no call after the failure");
}
