//! What this process may use, and how it ends where it reaches a limit: the only file here with `unsafe` in it.
//!
//! It ends by itself, with status 1, and not by a signal. Where the session that started it is gone, the postmaster may
//! inherit it (in a container it is often process 1), and takes a child that a signal ended for a crash of the server.

use std::fs;

use libc::{c_int, c_void, rlim_t};

use crate::format::{Kind, MEMORY_MB, PROCESSOR_SECONDS};

/// Standard input, output and error, and /dev/urandom, which a statically linked program may ask for the keys of its hash
/// tables.
const FILES: rlim_t = 5;

/// Sets them all, before anything is read.
pub fn set() {
    // Of all processes this one is the first that goes where the system runs out of memory.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    // SAFETY: plain calls; the handlers do nothing but write and end the process, which is allowed in a handler.
    unsafe {
        // Whoever asked is gone: nobody reads the verdict.
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
        for signal in [
            libc::SIGTERM,
            libc::SIGXFSZ,
            libc::SIGXCPU,
            libc::SIGABRT,
            libc::SIGSEGV,
            libc::SIGBUS,
            libc::SIGILL,
        ] {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_signal as extern "C" fn(c_int) as usize;
            // The stack may be what has run out: Rust's start has laid another one for the main thread.
            action.sa_flags = libc::SA_ONSTACK;
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
    }
    limit(libc::RLIMIT_CPU, PROCESSOR_SECONDS, PROCESSOR_SECONDS + 1);
    limit(libc::RLIMIT_AS, MEMORY_MB << 20, MEMORY_MB << 20);
    limit(libc::RLIMIT_NOFILE, FILES, FILES);
    limit(libc::RLIMIT_FSIZE, 0, 0);
    // Neither processes nor threads.
    limit(libc::RLIMIT_NPROC, 0, 0);
    // One octet, and not none: that alone stops a core from being piped to a program, too (core(5)).
    limit(libc::RLIMIT_CORE, 1, 1);
    // A defect, here or in a library.
    std::panic::set_hook(Box::new(|_| end()));
}

/// What is lower already stays so.
fn limit(resource: libc::__rlimit_resource_t, soft: rlim_t, hard: rlim_t) {
    // SAFETY: plain calls on a local value.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        if libc::getrlimit(resource, &mut limit) == 0 {
            limit.rlim_max = limit.rlim_max.min(hard);
            limit.rlim_cur = limit.rlim_max.min(soft);
            libc::setrlimit(resource, &limit);
        }
    }
}

/// Says which limit was reached, and ends the process.
extern "C" fn on_signal(signal: c_int) {
    let kind = match signal {
        libc::SIGXCPU => Kind::OutOfTime,
        // Rust's allocator aborts where there is no more.
        libc::SIGABRT => Kind::OutOfMemory,
        libc::SIGSEGV | libc::SIGBUS => Kind::TooDeep,
        _ => end(),
    };
    let octet = kind as u8;
    // SAFETY: writes one octet of its own.
    unsafe { libc::write(libc::STDOUT_FILENO, (&raw const octet).cast::<c_void>(), 1) };
    end()
}

/// Ends the process without a verdict.
pub fn end() -> ! {
    // SAFETY: ends the process at once.
    unsafe { libc::_exit(1) }
}
