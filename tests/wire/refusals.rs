//! What is refused before anything is sent.

mod arguments;
mod rights;
mod settings;
mod transactions;

use hiems_tests::Database;

/// Panics if anything has left for OpenRouter, or stands in the journal or in the ledger.
fn assert_untouched(database: &Database) {
    assert_eq!(database.fake.requests().len(), 0, "requests");
    assert_eq!(database.fake.connections(), 0, "connections");
    assert_eq!(database.count("hiems_private.calls"), 0, "the journal");
    assert_eq!(database.count("hiems.ai_usage_logs"), 0, "the ledger");
}
