//! A redirect is an answer, not an order: the key and the prompt go nowhere else.

use hiems_tests::{Config, Database, Fake, ResultExt, call, directives};
use serde_json::json;

use super::assert_cost_is_unknown;

#[test]
fn a_redirect_is_not_followed() {
    let database = Database::new();
    let elsewhere = Fake::start(Config::default()).expect("another fake");
    let target = format!("{}/chat/completions", elsewhere.base_url());
    for status in ["301", "302", "303", "307", "308"] {
        // Elsewhere, and to the very address that was asked.
        for wishes in [
            &[("fake_status", status), ("fake_location", &*target)][..],
            &[("fake_status", status)][..],
        ] {
            let before = database.fake.requests().len();
            let refusal = call(&mut database.admin(), &directives(wishes)).refusal();
            assert_eq!(refusal.sqlstate, "PT502", "{status}: {refusal:?}");
            assert!(refusal.detail.contains(&format!("HTTP {status}")), "{refusal:?}");
            database.wait_until_booked();
            let row = database.ledger().pop().expect("a row");
            assert_eq!(row["outcome"], "failed", "{status}");
            assert_eq!(row["http_status"].to_string(), status);
            assert_eq!(row["attempts"], json!(1), "{status}");
            assert_cost_is_unknown(&row);
            assert_eq!(database.fake.requests().len(), before + 1, "{status}: sent once");
        }
    }
    assert_eq!(elsewhere.connections(), 0, "nobody went there");
    assert!(database.fake.bill().is_empty());
}
