//! What a ledger row holds.
