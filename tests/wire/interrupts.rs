//! Every wait can be cancelled.

#[path = "interrupts/calls.rs"]
mod calls;
#[path = "interrupts/gateway.rs"]
mod gateway;
#[path = "interrupts/start.rs"]
mod start;
