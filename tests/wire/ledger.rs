//! What a ledger row holds.

mod append_only;
mod booking;
mod costs;
mod identity;
mod retention;
mod row;
mod texts;
