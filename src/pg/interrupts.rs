//! Cancel, terminate, timeouts and barriers.

use pgrx::pg_sys;

/// Acts on what was asked of this process: raises 57014 on a cancel or a timeout, ends the process on
/// terminate (57P01), takes part in barriers. The ERROR unwinds through Rust, so drops run.
///
/// For backends; the gateway uses [`check_in_worker`].
pub fn check() {
    pg_sys::check_for_interrupts!();
}

/// As [`check`], between the gateway's transactions: takes part in barriers. A cancel has nothing to
/// cancel there, and would end the gateway with all its calls; it is forgotten.
pub fn check_in_worker() {
    // SAFETY: a flag of this process, set by a signal handler.
    unsafe { pg_sys::QueryCancelPending = 0 }
    check();
}
