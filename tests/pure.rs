//! Runs the unit tests of the parts that know no PostgreSQL. That they compile here, without pgrx,
//! is the proof of it.
#![allow(dead_code)]

#[path = "../src/openrouter/mod.rs"]
mod openrouter;
#[path = "../src/vault/mod.rs"]
mod vault;
