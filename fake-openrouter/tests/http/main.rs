//! The fake as its users see it: over HTTP, on a port of its own per test.

mod account;
mod answer;
mod client;
mod departure;
mod errors;
mod faults;
mod streams;
