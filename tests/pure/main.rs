//! Runs the unit tests of the parts that know no PostgreSQL, and compares them with OpenRouter's
//! description of its API. That they compile here, without pgrx, is the proof of it.
#![allow(dead_code)]

mod contract;
#[path = "../../src/openrouter/mod.rs"]
mod openrouter;
#[path = "../../src/vault/mod.rs"]
mod vault;
