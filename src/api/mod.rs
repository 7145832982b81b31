//! The SQL functions. Each takes its arguments, does one thing through the module that owns it, and
//! raises what went wrong; their signatures are the public API.

pub mod access;
pub mod answers;
pub mod batch;
pub mod detached;
pub mod extract;
pub mod health;
pub mod key_check;
pub mod keys;
pub mod ledger;
pub mod prompt;
pub mod queue;
pub mod rates;
pub mod settle;
pub mod stream;
pub mod supabase;
