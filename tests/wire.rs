//! hiems over the wire. One file per promise.

#[path = "wire/call.rs"]
mod call;
