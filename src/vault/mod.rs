//! Custody of the OpenRouter keys: sealed in the table, open only in the gateway.

pub mod master_key;
pub mod seal;
