//! Many sessions that break off in every way: the ledger equals the bill.
