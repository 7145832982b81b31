//! The views equal sums over the ledger.
