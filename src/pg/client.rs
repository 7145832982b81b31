//! The session's client.

use std::ffi::c_int;

/// PostgreSQL's functions for talking to the client, as in `libpq/libpq.h` of 15 to 18; those behind the third
/// are of no use here.
#[repr(C)]
struct Methods {
    comm_reset: extern "C-unwind" fn(),
    flush: extern "C-unwind" fn() -> c_int,
    flush_if_writable: extern "C-unwind" fn() -> c_int,
}

unsafe extern "C-unwind" {
    // pgrx does not bind it.
    static PqCommMethods: *const Methods;
}

/// Sends the client the rows that wait for a full buffer, as far as can be done without waiting. A client that
/// has gone is noticed at the next look for interrupts.
pub fn flush() {
    // SAFETY: the table is there from the start of the process on. Where nothing waits (there may be no client
    // at all) it does nothing; it raises nothing, since it only writes to the socket.
    unsafe { ((*PqCommMethods).flush_if_writable)() };
}
