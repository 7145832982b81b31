//! The backend's side: hand a call to the gateway, wait for its answer, start the gateway if need be.

mod client;
mod connection;
mod enqueued;
mod many;
pub mod protocol;
mod start;
mod stream;

pub use enqueued::look_at_end;

pub use client::{
    Answered, Submitted, adopt, check, defer, reseal, seal, settle_now, status, submit,
    take_principal, wait_for,
};
pub use many::{Ended, Sent};
pub use stream::{Next, Open, Stream, stream};
