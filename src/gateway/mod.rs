//! The backend's side: hand a call to the gateway, wait for its answer, start the gateway if need be.

mod client;
mod connection;
pub mod protocol;
mod start;

pub use client::{
    Answered, Submitted, check, defer, reseal, seal, settle_now, status, submit, wait_for,
};
