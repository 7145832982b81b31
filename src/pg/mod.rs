//! PostgreSQL's C interface, made safe: the only folder with `unsafe` in it.
//!
//! Owns what cannot be said in safe Rust, and nothing else: no SQL of a table, no rule of hiems.

pub mod append;
pub mod arguments;
pub mod background;
pub mod client;
pub mod drop_guard;
pub mod error_detail;
pub mod identity;
pub mod interrupts;
pub mod limits;
pub mod lock;
pub mod memory;
pub mod notify;
pub mod procedure;
pub mod process;
pub mod program;
pub mod report;
pub mod savepoint;
pub mod session;
pub mod signals;
pub mod spi;
pub mod time;
mod time_limit;
pub mod time_zone;
pub mod triggers;
pub mod wait;
pub mod xact;
