//! Limits of the process.

/// Has no core of this process written: its memory holds keys. A limit of one byte, and not of none,
/// since that alone stops a core from being piped to a program, too (core(5)).
pub fn forbid_core() {
    let limit = libc::rlimit { rlim_cur: 1, rlim_max: 1 };
    // SAFETY: a plain call on a local value.
    unsafe {
        libc::setrlimit(libc::RLIMIT_CORE, &limit);
    }
}

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

/// What is large is given back to the system as soon as it is free: left to itself, glibc keeps tens of MB
/// once a few prompts of that size have gone through. What is small stays for the next calls: it is had and given back
/// with each commit.
pub fn give_memory_back() {
    // SAFETY: sets parameters of the allocator.
    #[cfg(target_env = "gnu")]
    unsafe {
        const LARGE: i32 = 256 * 1024;
        const SPARE: i32 = 4 * 1024 * 1024;
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        libc::mallopt(libc::M_TRIM_THRESHOLD, SPARE);
    }
}

/// How many wait sets this process may have, each of which takes a file: PostgreSQL leaves the rest to tables.
pub fn wait_sets() -> usize {
    // SAFETY: reads a value of this process.
    usize::try_from(unsafe { pgrx::pg_sys::max_safe_fds }).unwrap_or_default() / 3
}
