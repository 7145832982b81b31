//! Limits of the process.

/// Raises the number of files that this process may have open as far as it may: the gateway has one for
/// each backend that has called, and one for each call in flight.
pub fn raise_open_files() {
    // SAFETY: plain calls on a local value.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
}
