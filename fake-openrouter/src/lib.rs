//! A local stand-in for OpenRouter's chat completions API, quirks included.
//!
//! Tests, the demo and the benchmarks call it over HTTP instead of the paid service, and compare
//! what the caller wrote down with the bill kept here. It invents its answers, yet never its
//! arithmetic: each cost is fixed once, as the literal number token the response carries, and is
//! only ever summed as an exact decimal.
//!
//! What a request wants the fake to do, it says by `fake_*` keys of its own `metadata`; `control`
//! has the table of them, and `fault` that of what breaks on the way. Keys that begin
//! `sk-or-v1-mgmt-` are management keys; any other `sk-or-` key is a normal one. `Config` sets what
//! holds for all requests: accepted keys, delays, TLS, credits.
//!
//! Not here: other endpoints than those listed in `routes` (`/keys`, `/analytics`, ...); limits of its
//! own accord, on rates, credits or keys; server tools that do anything; a response cache by header
//! (`fake_cache_hit` says what a hit looks like); the echo of `debug`.
//!
//! The modules in reading order:
//!
//! - `config` and `fake`: what can be set, and the running server as a value; `listener` counts
//!   the connections it accepts, `tls` makes its certificate, `connection` can be cut.
//! - `state`, `bill`, `in_flight`, `storms`: what all requests share; the bill is the only record
//!   of money.
//! - `routes`: one HTTP endpoint, one file. The path of a chat completion goes from `auth` over
//!   `order` (what was asked) and `control` (how the caller wants the fake to behave) to
//!   `generate` (what happened upstream) and `answer` (the bytes that say so), over `fault` (what
//!   becomes of them on the way), or ends early in `refusal`.
//! - `models`, `money`, `words`, `clock`: the catalogue, number tokens, invented text, dates.

mod answer;
mod auth;
mod bill;
mod clock;
mod config;
mod connection;
mod control;
mod fake;
mod fault;
mod generate;
mod in_flight;
mod listener;
mod models;
mod money;
mod order;
mod refusal;
mod routes;
mod state;
mod storms;
mod tls;
mod words;

pub use bill::{Generation, ReceivedRequest};
pub use config::Config;
pub use fake::Fake;
