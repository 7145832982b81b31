//! Custody of the OpenRouter keys: sealed in the table, open only in the gateway.

pub mod blot;
pub mod key_source;
pub mod master_key;
pub mod seal;
mod secret_file;
