//! Every wait can be cancelled.

#[path = "interrupts/calls.rs"]
mod calls;
#[path = "interrupts/start.rs"]
mod start;
