//! A bound on how long other people's code may run in the gateway, though it catches cancels.
//!
//! A cancel is an ERROR, and code may catch it and go on. What catches an ERROR rolls a subtransaction back first, as
//! PL/pgSQL's EXCEPTION does: once the time is over, the next cancel is pending from then on, so that each block that
//! catches one is left by the next. What catches errors in other ways, a function in C or a loop of PL/Perl's, is cancelled
//! once more, and then the process ends by a FATAL, which nothing catches, as by pg_terminate_backend(): the postmaster
//! starts the next gateway, and the server goes on. Code that never looks whether it is to end cannot be ended.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use pgrx::pg_sys;

/// How long after the first cancel the second comes, and how long after that the end of the process.
const GRACE: Duration = Duration::from_secs(3);
/// At which ring of the second timer the process ends.
const LAST: u32 = 2;

// pgrx keeps PostgreSQL's timeouts to itself. That of statements is registered in every process with a database:
// it cancels what runs. A process may register others from USER_TIMEOUT on.
unsafe extern "C-unwind" {
    fn RegisterTimeout(id: c_int, handler: unsafe extern "C-unwind" fn()) -> c_int;
    fn enable_timeout_after(id: c_int, milliseconds: c_int);
    fn enable_timeout_every(id: c_int, at: pg_sys::TimestampTz, milliseconds: c_int);
    fn disable_timeout(id: c_int, keep_indicator: bool);
}
const STATEMENT_TIMEOUT: c_int = 3;
const USER_TIMEOUT: c_int = if cfg!(any(feature = "pg15", feature = "pg16")) { 12 } else { 13 };

/// How often the second timer has rung.
static RUNG: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// When the time of what runs is over; None: nothing is bounded.
    static OVER_AT: Cell<Option<Instant>> = const { Cell::new(None) };
    static TIMER: Cell<c_int> = const { Cell::new(0) };
    static AT_THE_END: Cell<Option<fn()>> = const { Cell::new(None) };
}

/// The limit for what runs while it lives.
pub struct TimeLimit(());

impl TimeLimit {
    /// Begins now. `at_the_end` is run by a process that ends since its code did not: it must neither raise nor panic.
    pub fn begin(limit: Duration, at_the_end: fn()) -> TimeLimit {
        static REGISTERED: Once = Once::new();
        // SAFETY: callbacks for the life of this process, which raise nothing.
        REGISTERED.call_once(|| unsafe {
            TIMER.set(RegisterTimeout(USER_TIMEOUT, ring));
            pg_sys::RegisterSubXactCallback(Some(on_subtransaction), std::ptr::null_mut());
            pg_sys::on_proc_exit(Some(on_exit), pg_sys::Datum::from(0));
        });
        AT_THE_END.set(Some(at_the_end));
        OVER_AT.set(Some(Instant::now() + limit));
        RUNG.store(0, Ordering::Relaxed);
        // SAFETY: sets this process's own timers, which drop takes back.
        unsafe {
            let second = pg_sys::GetCurrentTimestamp() + microseconds(limit + GRACE);
            enable_timeout_after(STATEMENT_TIMEOUT, milliseconds(limit));
            enable_timeout_every(TIMER.get(), second, milliseconds(GRACE));
        }
        TimeLimit(())
    }
}

impl Drop for TimeLimit {
    fn drop(&mut self) {
        OVER_AT.set(None);
        // SAFETY: as above. A cancel that comes too late is forgotten by the gateway's loop, and so is an end: nobody
        // else sets the flag in the gateway.
        unsafe {
            disable_timeout(STATEMENT_TIMEOUT, false);
            disable_timeout(TIMER.get(), false);
            pg_sys::ProcDiePending = 0;
        }
        RUNG.store(0, Ordering::Relaxed);
    }
}

fn milliseconds(time: Duration) -> c_int {
    c_int::try_from(time.as_millis()).unwrap_or(c_int::MAX)
}

fn microseconds(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

/// Of the second timer: runs as a signal's handler.
unsafe extern "C-unwind" fn ring() {
    let is_last = RUNG.fetch_add(1, Ordering::Relaxed) + 1 >= LAST;
    // SAFETY: flags of this process, made for handlers.
    unsafe {
        match is_last {
            true => pg_sys::ProcDiePending = 1,
            false => pg_sys::QueryCancelPending = 1,
        }
        pg_sys::InterruptPending = 1;
    }
}

/// Whatever rolled a subtransaction back after its time is cancelled before its next statement.
unsafe extern "C-unwind" fn on_subtransaction(
    event: pg_sys::SubXactEvent::Type,
    _: pg_sys::SubTransactionId,
    _: pg_sys::SubTransactionId,
    _: *mut c_void,
) {
    let is_over = OVER_AT.get().is_some_and(|at| Instant::now() >= at);
    if is_over && event == pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB {
        // SAFETY: flags of this process.
        unsafe {
            pg_sys::QueryCancelPending = 1;
            pg_sys::InterruptPending = 1;
        }
    }
}

unsafe extern "C-unwind" fn on_exit(_: c_int, _: pg_sys::Datum) {
    if RUNG.load(Ordering::Relaxed) >= LAST
        && let Some(at_the_end) = AT_THE_END.get()
    {
        at_the_end();
    }
}
