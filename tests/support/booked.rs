//! The ledger compared with the fake's bill.

use std::collections::BTreeMap;

use fake_openrouter::Fake;
use postgres::Client;
use serde_json::Value;

use crate::{Database, SOON, wait_until};

/// Waits until every call that reached this fake is in the ledger, and none is queued.
pub fn wait_until_booked(client: &mut Client, fake: &Fake) {
    const NOTHING_IS_LEFT: &str = "
        SELECT NOT EXISTS (SELECT FROM hiems_private.calls)
           AND NOT EXISTS (SELECT FROM hiems_private.queue WHERE state = 'queued')";
    wait_until("every call is booked", SOON, || {
        fake.in_flight() == 0 && client.query_one(NOTHING_IS_LEFT, &[]).is_ok_and(|row| row.get(0))
    });
}

impl Database<'_> {
    /// Waits until every call that was made is in the ledger.
    pub fn wait_until_booked(&self) {
        wait_until_booked(&mut self.admin(), &self.fake);
    }

    /// The ledger, once every call that was made is in it. It must be the bill: each generation is booked
    /// once, at the bill's cost to the last digit, and no other row has a cost (NULL, or 0 where nothing
    /// was billed).
    pub fn booked(&self) -> Vec<Value> {
        self.wait_until_booked();
        wait_until("what is billed is known", SOON, || self.fake.bill().iter().all(|it| it.billed));
        let bill = self.fake.bill();
        // A call that lies in the spill is not in the journal yet.
        wait_until("there is a row for each generation", SOON, || {
            self.count("hiems.ai_usage_logs WHERE generation_id IS NOT NULL") >= bill.len() as i64
        });
        self.wait_until_booked();
        let rows = self.ledger();
        let mut by_generation = BTreeMap::new();
        for row in &rows {
            match row["generation_id"].as_str() {
                Some(id) => {
                    assert!(by_generation.insert(id, row).is_none(), "booked twice: {row}");
                }
                None => assert!(row["cost_usd"].is_null() || row["cost_usd"] == 0, "{row}"),
            }
        }
        assert_eq!(by_generation.len(), bill.len());
        for generation in bill {
            let row = by_generation.get(&*generation.id);
            let row = row.unwrap_or_else(|| panic!("not booked: {generation:?}"));
            // PostgreSQL writes a number with an exponent out: what it gives for the bill's is compared.
            let cost = match generation.cost.contains(['e', 'E']) {
                true => self.text("SELECT $1::text::numeric::text", &[&generation.cost]),
                false => Some(generation.cost),
            };
            assert_eq!(Some(row["cost_usd"].to_string()), cost, "{row}");
            assert_eq!(row["user_id"].as_str(), generation.user.as_deref());
        }
        rows
    }
}
