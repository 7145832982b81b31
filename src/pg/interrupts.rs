//! Cancel, terminate, timeouts and barriers.

use pgrx::pg_sys;

/// Acts on what was asked of this process: raises 57014 on a cancel or a timeout, ends the process on
/// terminate (57P01), takes part in barriers. The ERROR unwinds through Rust, so drops run.
pub fn check() {
    pg_sys::check_for_interrupts!();
}
