//! A program of hiems's own that works for this session, in a process that shares nothing with it but a socket.

use std::ffi::{CStr, CString, OsStr, c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicI32, Ordering};

use pgrx::pg_sys;

/// A running program. Dropped, also by the unwinding of an ERROR, it is ended.
pub struct Program {
    pid: libc::pid_t,
    /// Its standard input and output.
    pub stream: UnixStream,
}

/// The program that runs, 0 for none: a session that is terminated unwinds nothing.
static RUNNING: AtomicI32 = AtomicI32::new(0);

/// The path of a file that lies in the folder that this library was loaded from.
pub fn beside_library(name: &str) -> Option<PathBuf> {
    // SAFETY: dladdr fills a local value; the path it gives is the loader's, and copied at once.
    let library = unsafe {
        let mut info: libc::Dl_info = std::mem::zeroed();
        let found = libc::dladdr((&raw const RUNNING).cast::<c_void>(), &mut info);
        if found == 0 || info.dli_fname.is_null() {
            return None;
        }
        PathBuf::from(OsStr::from_bytes(CStr::from_ptr(info.dli_fname).to_bytes()))
    };
    Some(library.with_file_name(name))
}

impl Program {
    /// Starts a program, without arguments and without an environment. It has no file of this process's open, and is in
    /// a process group of its own: what is signalled to the session's group is not for it.
    pub fn start(path: &Path) -> io::Result<Program> {
        end_with_session();
        let (ours, its) = UnixStream::pair()?;
        let path = CString::new(path.as_os_str().as_bytes())?;
        let mut pid = 0;
        let files = Files::handing_over(its.as_raw_fd())?;
        let attributes = Attributes::new()?;
        let arguments = [path.as_ptr().cast_mut(), std::ptr::null_mut()];
        let environment = [std::ptr::null_mut()];
        // SAFETY: all that it is given lives until it returns, which is when the program runs, or cannot.
        checked(unsafe {
            libc::posix_spawn(
                &mut pid,
                path.as_ptr(),
                &files.0,
                &attributes.0,
                arguments.as_ptr(),
                environment.as_ptr(),
            )
        })?;
        RUNNING.store(pid, Ordering::Relaxed);
        Ok(Program { pid, stream: ours })
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        RUNNING.store(0, Ordering::Relaxed);
        end(self.pid);
    }
}

/// Ends a program, if it runs still, and takes it out of the system's list.
fn end(pid: libc::pid_t) {
    // SAFETY: plain calls on a child that nobody else has waited for, so that its number is still its own.
    unsafe {
        libc::kill(pid, libc::SIGKILL);
        let mut status = 0;
        while libc::waitpid(pid, &mut status, 0) == -1
            && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
        {}
    }
}

/// From now on the program that runs ends when this process does.
fn end_with_session() {
    static ONCE: Once = Once::new();
    // SAFETY: the function stays: PostgreSQL unloads no library. It raises nothing.
    ONCE.call_once(|| unsafe { pg_sys::on_proc_exit(Some(at_exit), pg_sys::Datum::null()) });
}

/// Called by PostgreSQL when this process ends in order, on FATAL errors, too.
unsafe extern "C-unwind" fn at_exit(_: c_int, _: pg_sys::Datum) {
    match RUNNING.swap(0, Ordering::Relaxed) {
        0 => {}
        pid => end(pid),
    }
}

/// What the program has open.
struct Files(libc::posix_spawn_file_actions_t);

impl Files {
    /// This socket as its standard input and output, and nothing else.
    fn handing_over(socket: RawFd) -> io::Result<Files> {
        // Before PostgreSQL 16 its own descriptors are handed on to programs.
        let open = std::fs::read_dir("/proc/self/fd")?;
        let open = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        // SAFETY: plain calls on a local value; closing what is closed by then is no error.
        unsafe {
            let mut files = Files(std::mem::zeroed());
            let actions = &raw mut files.0;
            checked(libc::posix_spawn_file_actions_init(actions))?;
            checked(libc::posix_spawn_file_actions_adddup2(actions, socket, 0))?;
            checked(libc::posix_spawn_file_actions_adddup2(actions, socket, 1))?;
            let null = c"/dev/null".as_ptr();
            checked(libc::posix_spawn_file_actions_addopen(actions, 2, null, libc::O_WRONLY, 0))?;
            for descriptor in open.filter(|descriptor: &RawFd| *descriptor > 2) {
                checked(libc::posix_spawn_file_actions_addclose(actions, descriptor))?;
            }
            Ok(files)
        }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // SAFETY: initialised, and not used any more.
        unsafe { libc::posix_spawn_file_actions_destroy(&mut self.0) };
    }
}

/// How the program begins.
struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    /// With the system's own answer to every signal, none of them blocked, in a process group of its own.
    fn new() -> io::Result<Attributes> {
        let flags = libc::POSIX_SPAWN_SETSIGDEF
            | libc::POSIX_SPAWN_SETSIGMASK
            | libc::POSIX_SPAWN_SETPGROUP;
        // SAFETY: plain calls on local values.
        unsafe {
            let mut attributes = Attributes(std::mem::zeroed());
            let own = &raw mut attributes.0;
            checked(libc::posix_spawnattr_init(own))?;
            let mut signals: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut signals);
            checked(libc::posix_spawnattr_setsigmask(own, &signals))?;
            libc::sigfillset(&mut signals);
            checked(libc::posix_spawnattr_setsigdefault(own, &signals))?;
            checked(libc::posix_spawnattr_setpgroup(own, 0))?;
            checked(libc::posix_spawnattr_setflags(own, flags as libc::c_short))?;
            Ok(attributes)
        }
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised, and not used any more.
        unsafe { libc::posix_spawnattr_destroy(&mut self.0) };
    }
}

fn checked(error: c_int) -> io::Result<()> {
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}
