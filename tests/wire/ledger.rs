//! What a ledger row holds.

#[path = "ledger/append_only.rs"]
mod append_only;
#[path = "ledger/booking.rs"]
mod booking;
#[path = "ledger/costs.rs"]
mod costs;
#[path = "ledger/identity.rs"]
mod identity;
#[path = "ledger/retention.rs"]
mod retention;
#[path = "ledger/row.rs"]
mod row;
#[path = "ledger/texts.rs"]
mod texts;
