//! Cancel, terminate, timeouts and barriers.

use pgrx::pg_sys;

/// Acts on what was asked of this process: raises 57014 on a cancel or a timeout, ends the process on
/// terminate (57P01), takes part in barriers. The ERROR unwinds through Rust, so drops run.
///
/// For backends; the gateway uses [`check_in_worker`].
pub fn check() {
    pg_sys::check_for_interrupts!();
}

/// As [`check`], between the gateway's transactions: takes part in barriers.
pub fn check_in_worker() {
    forget_cancels();
    check();
}

/// Between the gateway's transactions: a cancel has nothing to cancel there, and would end the gateway with all its
/// calls. It is forgotten; one that comes later, at any moment, is held up until [`let_cancels_in`].
pub fn forget_cancels() {
    // SAFETY: flags of this process. The holdoff first: a signal may come between the two.
    unsafe {
        pg_sys::QueryCancelHoldoffCount = 1;
        pg_sys::QueryCancelPending = 0;
    }
}

/// In a transaction of the gateway's a cancel ends that. An ERROR does the same.
pub fn let_cancels_in() {
    // SAFETY: a count of this process.
    unsafe { pg_sys::QueryCancelHoldoffCount = 0 }
}
