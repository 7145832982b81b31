//! Waiting that ends for the process's latch (signals, cancel), one descriptor, or time.

use std::os::fd::RawFd;
use std::time::Duration;

use pgrx::pg_sys;

/// What to wait for on the descriptor.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    Readable,
    Writable,
}

impl Interest {
    fn events(self) -> u32 {
        match self {
            Interest::Readable => pg_sys::WL_SOCKET_READABLE,
            Interest::Writable => pg_sys::WL_SOCKET_WRITEABLE,
        }
    }
}

/// A wait set kept for as long as the descriptor: making one for every wait costs a third of the
/// calls per second. Leaves the process when the postmaster dies.
pub struct WaitSet {
    set: *mut pg_sys::WaitEventSet,
    interest: Interest,
}

/// The place of the descriptor in the set.
const DESCRIPTOR: i32 = 2;

impl WaitSet {
    /// A set over this process's latch and `descriptor`, which must outlive it.
    pub fn new(descriptor: RawFd) -> WaitSet {
        // SAFETY: the set lives in TopMemoryContext until it is freed in drop; MyLatch is this
        // process's own.
        unsafe {
            #[cfg(any(feature = "pg15", feature = "pg16"))]
            let set = pg_sys::CreateWaitEventSet(pg_sys::TopMemoryContext, 3);
            #[cfg(not(any(feature = "pg15", feature = "pg16")))]
            let set = pg_sys::CreateWaitEventSet(std::ptr::null_mut(), 3);
            let none = std::ptr::null_mut();
            pg_sys::AddWaitEventToSet(set, pg_sys::WL_LATCH_SET, -1, pg_sys::MyLatch, none);
            pg_sys::AddWaitEventToSet(
                set,
                pg_sys::WL_EXIT_ON_PM_DEATH,
                -1,
                std::ptr::null_mut(),
                none,
            );
            let interest = Interest::Readable;
            pg_sys::AddWaitEventToSet(
                set,
                interest.events(),
                descriptor,
                std::ptr::null_mut(),
                none,
            );
            WaitSet { set, interest }
        }
    }

    /// Waits at most `timeout` (None: for ever). Returns on the latch, which is reset, on the
    /// descriptor, or on time; the caller looks at what there is to do, and at interrupts first.
    pub fn wait(&mut self, interest: Interest, timeout: Option<Duration>) {
        let milliseconds = timeout.map_or(-1, |t| t.as_millis().min(3_600_000) as i64);
        // SAFETY: the set is live; the events it reports are written to a local array.
        unsafe {
            if interest != self.interest {
                pg_sys::ModifyWaitEvent(
                    self.set,
                    DESCRIPTOR,
                    interest.events(),
                    std::ptr::null_mut(),
                );
                self.interest = interest;
            }
            let mut occurred: [pg_sys::WaitEvent; 3] = std::mem::zeroed();
            pg_sys::WaitEventSetWait(
                self.set,
                milliseconds as _,
                occurred.as_mut_ptr(),
                3,
                pg_sys::PG_WAIT_EXTENSION,
            );
            pg_sys::ResetLatch(pg_sys::MyLatch);
        }
    }
}

impl Drop for WaitSet {
    fn drop(&mut self) {
        // SAFETY: made in new, freed once.
        unsafe { pg_sys::FreeWaitEventSet(self.set) }
    }
}

/// Waits on the latch alone, at most `timeout`, and resets it.
pub fn wait_for_latch(timeout: Duration) {
    // SAFETY: MyLatch is this process's own.
    unsafe {
        pg_sys::WaitLatch(
            pg_sys::MyLatch,
            (pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH) as i32,
            timeout.as_millis() as _,
            pg_sys::PG_WAIT_EXTENSION,
        );
        pg_sys::ResetLatch(pg_sys::MyLatch);
    }
}
