//! A local stand-in for OpenRouter's chat completions API, quirks included.
//!
//! Tests, the demo and the benchmarks call it over HTTP instead of the paid service, and compare
//! what the caller wrote down with the bill kept here. It invents its answers, yet never its
//! arithmetic: each cost is fixed once, as the literal number token the response carries, and is
//! only ever summed as an exact decimal.
//!
//! Not here: streaming (`stream: true` is refused), other endpoints than those listed in
//! [`routes`], TLS, rate limits.
//!
//! The modules in reading order:
//!
//! - `config` and `fake`: what can be set, and the running server as a value; `listener` counts
//!   the connections it accepts.
//! - `state`, `bill`, `in_flight`: what all requests share; the bill is the only record of money.
//! - `routes`: one HTTP endpoint, one file. The path of a chat completion goes from `auth` over
//!   `order` (what was asked) and `control` (how the caller wants the fake to behave) to
//!   `generate` (what happened upstream) and `answer` (the bytes that say so), or ends early in
//!   `refusal`.
//! - `models`, `money`, `words`, `clock`: the catalogue, number tokens, invented text, dates.

mod answer;
mod auth;
mod bill;
mod clock;
mod config;
mod control;
mod fake;
mod generate;
mod in_flight;
mod listener;
mod models;
mod money;
mod order;
mod refusal;
mod routes;
mod state;
mod words;

pub use bill::{Generation, ReceivedRequest};
pub use config::Config;
pub use fake::Fake;
