//! Signals belong to PostgreSQL's thread: every other thread of the process blocks them all.

/// Blocks every signal for the calling thread, and for threads that it starts.
pub fn block_all() -> SignalMask {
    // SAFETY: plain calls on a local set.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        SignalMask(before)
    }
}

/// The mask from before [`block_all`].
pub struct SignalMask(libc::sigset_t);

impl SignalMask {
    /// Puts it back.
    pub fn restore(self) {
        // SAFETY: the set was filled by pthread_sigmask.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, std::ptr::null_mut());
        }
    }
}
