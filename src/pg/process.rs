//! Other processes of this server.

use std::os::fd::RawFd;

/// The process that listens behind a connected Unix socket.
pub fn peer(socket: RawFd) -> Option<i32> {
    // SAFETY: a plain call that fills a local value of the length that is given.
    unsafe {
        let mut peer: libc::ucred = std::mem::zeroed();
        let mut length = size_of::<libc::ucred>() as libc::socklen_t;
        let result = libc::getsockopt(
            socket,
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &mut length,
        );
        (result == 0 && peer.pid > 0).then_some(peer.pid)
    }
}

/// Asks a process to end, as pg_terminate_backend does.
pub fn ask_to_end(pid: i32) {
    // SAFETY: a plain call; a process that is gone by now needs no asking.
    unsafe {
        libc::kill(pid, libc::SIGTERM);
    }
}
