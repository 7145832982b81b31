//! The gateway as a background worker: starting one, and its entry point.

use pgrx::bgworkers::{
    BackgroundWorker, BackgroundWorkerBuilder, DynamicBackgroundWorker, SignalWakeFlags,
};
use pgrx::prelude::*;

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
        .set_restart_time(None)
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
    BackgroundWorker::connect_worker_to_spi_by_oid(database, None);
    crate::worker::run();
}

/// True once, after a reload was asked for.
pub fn reload_asked() -> bool {
    BackgroundWorker::sighup_received()
}

/// True once, after this worker was asked to end.
pub fn end_asked() -> bool {
    BackgroundWorker::sigterm_received()
}
