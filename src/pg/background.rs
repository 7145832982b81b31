//! The gateway as a background worker: starting one, and its entry point.

use std::time::Duration;

use pgrx::bgworkers::{
    BackgroundWorker, BackgroundWorkerBuilder, DynamicBackgroundWorker, SignalWakeFlags,
};
use pgrx::prelude::*;

use crate::worker::{self, Left};

/// A gateway that this backend has asked the postmaster to start.
pub struct Started(DynamicBackgroundWorker);

impl Started {
    /// True once it has ended (or could not be started).
    pub fn has_ended(&self) -> bool {
        use pgrx::bgworkers::BackgroundWorkerStatus::{NotYetStarted, Stopped};
        !matches!(self.0.pid(), Ok(_) | Err(NotYetStarted)) || matches!(self.0.pid(), Err(Stopped))
    }
}

/// Asks the postmaster for a gateway in this database. None: no free worker slot.
pub fn start_gateway() -> Option<Started> {
    // SAFETY: read state of this process.
    let (database, pid) = unsafe { (pg_sys::MyDatabaseId, pg_sys::MyProcPid) };
    BackgroundWorkerBuilder::new(&format!("hiems gateway {}", database.to_u32()))
        .set_type("hiems gateway")
        .set_library("hiems")
        .set_function("hiems_gateway_main")
        .set_argument(database.into_datum())
        .enable_shmem_access(None)
        .enable_spi_access()
        // After a crash of the server, or where it has left work behind: else it ends with 0.
        .set_restart_time(Some(Duration::from_secs(1)))
        .set_notify_pid(pid)
        .load_dynamic()
        .ok()
        .map(Started)
}

/// The gateway's entry point; its argument is the database's OID.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn hiems_gateway_main(argument: pg_sys::Datum) {
    // Handlers that set a flag and the latch, nothing else: PostgreSQL's own `die` would end the
    // process between a bill and its record.
    BackgroundWorker::attach_signal_handlers(SignalWakeFlags::SIGHUP | SignalWakeFlags::SIGTERM);
    // SAFETY: the argument was made by start_gateway.
    let database = unsafe { pg_sys::Oid::from_datum(argument, false) };
    let Some(database) = database.filter(|database| worker::may_start(database.to_u32())) else {
        return;
    };
    BackgroundWorker::connect_worker_to_spi_by_oid(Some(database), None);
    if worker::run() == Left::WithWork {
        // The postmaster starts it again.
        // SAFETY: the end of this process.
        unsafe { pg_sys::proc_exit(1) }
    }
}

/// True once, after a reload was asked for.
pub fn reload_asked() -> bool {
    BackgroundWorker::sighup_received()
}

/// True once, after this worker was asked to end.
pub fn end_asked() -> bool {
    BackgroundWorker::sigterm_received()
}
