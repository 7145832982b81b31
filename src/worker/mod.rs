//! The gateway's life: one process per database, started by the first call, gone when idle.
//!
//! Its main thread is PostgreSQL's: all SQL runs here, many calls to a transaction. tokio's threads
//! hold the sockets and speak HTTP, and touch nothing of PostgreSQL's.

mod admission;
mod batch;
mod call;
mod ended;
mod events;
mod gateway;
mod generation_ids;
mod journal;
mod key_check;
mod key_requests;
mod look_ups;
mod own_session;
mod queued;
mod server;
mod settlement;
mod spill;

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use pgrx::{debug1, log, warning};

use crate::gateway::protocol::{Files, Greeting, HELLO};
use crate::pg::{background, identity, interrupts, limits, signals, wait};

/// How long to wait for a leaving predecessor.
const PREDECESSOR: Duration = Duration::from_secs(15);

/// How a gateway has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// There is nothing for another to do before somebody asks for it.
    InOrder,
    /// Calls are queued: another is to go on.
    WithWork,
}

/// How often a gateway may be started without coming as far as its database: that may be dropped.
const STARTS: usize = 5;

/// False where gateways of this database were started in vain for some times: then nobody starts it again
/// by itself. To be asked before the connection to the database is made, which ends the process where it
/// cannot.
pub fn may_start(database: u32) -> bool {
    let path = Files::starts(database);
    let starts = std::fs::read(&path).map_or(0, |starts| starts.len());
    if starts >= STARTS {
        let _ = std::fs::remove_file(&path);
        return false;
    }
    // Without the file it is only started again more often.
    let _ = std::fs::write(&path, vec![b'.'; starts + 1]);
    true
}

/// The gateway, from after its connection to the database until it leaves.
pub fn run() -> Left {
    let _ = std::fs::remove_file(Files::starts(identity::database_oid()));
    own_session::pin();
    limits::raise_open_files();
    limits::forbid_core();
    limits::give_memory_back();
    let files = Files::of_database(identity::database_oid());
    let lock = match take_lock(&files) {
        Ok(Some(lock)) => lock,
        Ok(None) => return Left::InOrder,
        Err(error) => {
            warning!("the hiems gateway cannot use the folder {}: {error}", files.folder.display());
            return Left::InOrder;
        }
    };
    let mut left = Left::InOrder;
    // Signals of the runtime's threads would be lost to PostgreSQL's.
    let mask = signals::block_all();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("hiems-http")
        .on_thread_start(|| {
            signals::block_all();
        })
        .enable_all()
        .build();
    mask.restore();
    match runtime {
        Ok(runtime) => match gateway::Gateway::start(&runtime, &files) {
            Ok(gateway) => {
                left = gateway.work();
                // Replies were flushed; what is still open now belongs to calls given up.
                runtime.shutdown_timeout(Duration::from_millis(200));
            }
            Err(reason) => log!("the hiems gateway does not start: {reason}"),
        },
        Err(error) => warning!("the hiems gateway cannot start its threads: {error}"),
    }
    drop(lock);
    debug1!("the hiems gateway has left");
    left
}

/// The lock that makes one gateway a database's only one; waits for a leaving predecessor.
fn take_lock(files: &Files) -> std::io::Result<Option<File>> {
    DirBuilder::new().recursive(true).mode(0o700).create(&files.folder)?;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&files.lock)?;
    let deadline = Instant::now() + PREDECESSOR;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) => {}
        }
        interrupts::check_in_worker();
        // One that is ready needs no second; one that leaves has no socket any more.
        if is_served(files) || background::end_asked() || Instant::now() > deadline {
            return Ok(None);
        }
        wait::wait_for_latch(Duration::from_millis(5));
    }
}

/// True if a gateway of this library's version is ready; one of an older version is told to leave by
/// whoever started this one.
fn is_served(files: &Files) -> bool {
    let mut hello = [0; HELLO.len()];
    let greeted = UnixStream::connect(&files.socket).and_then(|mut stream| {
        stream.set_read_timeout(Some(Duration::from_millis(500)))?;
        stream.read_exact(&mut hello)
    });
    greeted.is_ok() && Greeting::read(hello) != Some(Greeting::Older)
}
