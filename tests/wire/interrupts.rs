//! Every wait can be cancelled.

mod calls;
mod gateway;
mod start;
