//! Transactions: the caller's, and the gateway's own.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use pgrx::pg_sys::panic::CaughtError;
use pgrx::prelude::*;

use super::time_limit::TimeLimit;
use super::{interrupts, session};

/// The caller's top-level transaction id, 64 bits; assigned if it has none yet. An error where
/// writing is not allowed: ask [`is_read_only`] first.
pub fn top_level_xid() -> u64 {
    // SAFETY: called inside a transaction.
    unsafe { pg_sys::GetTopFullTransactionId().value }
}

/// The id of the innermost transaction that this statement runs in, 64 bits: a savepoint's, or the
/// top-level one's.
pub fn innermost_xid() -> u64 {
    // SAFETY: called inside a transaction.
    unsafe { pg_sys::GetCurrentFullTransactionId().value }
}

/// True while the transaction, or the innermost savepoint's, is under way: false outside of one, and while one
/// is rolled back.
pub fn is_under_way() -> bool {
    // SAFETY: reads state of this process.
    unsafe { pg_sys::IsTransactionState() }
}

/// The caller's transaction is durable before its commit is confirmed, as one is that has written something.
/// One that has not is confirmed before, and can be undone by a crash.
pub fn force_durable_commit() {
    // SAFETY: sets a flag of this process, which the end of the transaction clears.
    unsafe { pg_sys::ForceSyncCommit() }
}

/// True once a transaction of this server's has ended. `xid` is a recent one.
pub fn is_over(xid: u64) -> bool {
    let [.., a, b, c, d] = xid.to_be_bytes();
    let short = u32::from_be_bytes([a, b, c, d]);
    // SAFETY: reads shared state.
    unsafe { !pg_sys::TransactionIdIsInProgress(pg_sys::TransactionId::from(short)) }
}

/// [`is_over`], with one look at each transaction, which may have made many calls.
pub fn over() -> impl FnMut(u64) -> bool {
    let mut known: HashMap<u64, bool> = HashMap::new();
    move |xid| *known.entry(xid).or_insert_with(|| is_over(xid))
}

/// The current transaction's commit does not wait until it is durable: a crash may undo it, whole.
pub fn commit_without_waiting() {
    session::set_locally(c"synchronous_commit", c"off");
}

/// Up to where the log has to be on disk for the last commit of this process to be durable.
pub fn last_commit() -> u64 {
    // SAFETY: reads a value of this process.
    unsafe { pg_sys::XactLastCommitEnd }
}

/// Has the log on disk up to there; nothing where it is already.
pub fn make_durable(up_to: u64) {
    // SAFETY: takes locks in shared memory, and gives them back; what cannot be written is a PANIC.
    unsafe { pg_sys::XLogFlush(up_to) }
}

/// True in a READ ONLY transaction.
pub fn is_read_only() -> bool {
    // SAFETY: reads a flag of this process.
    unsafe { pg_sys::XactReadOnly }
}

/// True where transactions run at READ COMMITTED (READ UNCOMMITTED is the same in PostgreSQL).
pub fn is_read_committed() -> bool {
    // SAFETY: reads a value of this process.
    unsafe { pg_sys::XactIsoLevel <= pg_sys::XACT_READ_COMMITTED as i32 }
}

/// True in a parallel worker, and in a query that has some: nothing can be written there.
pub fn is_parallel() -> bool {
    // SAFETY: reads state of this process.
    unsafe { pg_sys::IsInParallelMode() }
}

/// True on a standby.
pub fn is_in_recovery() -> bool {
    // SAFETY: reads shared state.
    unsafe { pg_sys::RecoveryInProgress() }
}

/// The timeline that this server writes; not for a standby.
pub fn timeline() -> u32 {
    // SAFETY: reads shared state.
    unsafe { pg_sys::GetWALInsertionTimeLine() }
}

/// Has `end` run when the current transaction ends, whichever way: it must neither raise nor panic.
pub fn at_end(end: fn()) {
    use pgrx::PgXactCallbackEvent::{Abort, Commit, Prepare};
    for event in [Commit, Abort, Prepare] {
        pgrx::register_xact_callback(event, end);
    }
}

/// The identifier that initdb gave this cluster.
pub fn system_identifier() -> i64 {
    // SAFETY: reads the control file's copy in shared memory.
    unsafe { pg_sys::GetSystemIdentifier() as i64 }
}

/// Why a transaction of the gateway's was aborted.
#[derive(Debug)]
pub struct Aborted {
    /// True where a lock was not to be had in time, or somebody cancelled it: worth trying again soon.
    pub lock_not_available: bool,
    pub message: String,
}

impl Aborted {
    /// A lock that was asked for without waiting, and not given.
    pub fn by_lock() -> Aborted {
        Aborted { lock_not_available: true, message: "a lock is not available".to_owned() }
    }
}

impl From<pgrx::spi::Error> for Aborted {
    fn from(error: pgrx::spi::Error) -> Aborted {
        Aborted { lock_not_available: false, message: error.to_string() }
    }
}

/// Runs `body` in a transaction of this process's own and commits it. An error, returned or raised,
/// aborts it and comes back as a value; nothing is thrown. For the gateway: a cancel is let in while it runs.
pub fn transaction<R, E: Into<Aborted>>(body: impl FnOnce() -> Result<R, E>) -> Result<R, Aborted> {
    let attempt = AssertUnwindSafe(|| {
        // SAFETY: this process is in no transaction; the snapshot is popped before the commit.
        unsafe {
            pg_sys::SetCurrentStatementStartTimestamp();
            pg_sys::StartTransactionCommand();
            pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        }
        interrupts::let_cancels_in();
        match body() {
            Ok(result) => {
                // SAFETY: as above.
                unsafe {
                    pg_sys::PopActiveSnapshot();
                    pg_sys::CommitTransactionCommand();
                }
                Ok(result)
            }
            Err(error) => {
                // SAFETY: the abort takes the snapshot with it.
                unsafe { pg_sys::AbortCurrentTransaction() }
                Err(error.into())
            }
        }
    });
    let result = PgTryBuilder::new(attempt)
        .catch_others(|error| Err(abort(&error)))
        .catch_rust_panic(|error| Err(abort(&error)))
        .execute();
    interrupts::forget_cancels();
    result
}

/// As [`transaction`], cancelled when it has taken so long, whatever catches the cancel. `at_the_end` is run by a process
/// that has to end for that: see [`TimeLimit`].
pub fn transaction_within<R>(
    limit: Duration,
    at_the_end: fn(),
    body: impl FnOnce() -> Result<R, Aborted>,
) -> Result<R, Aborted> {
    let limit = TimeLimit::begin(limit, at_the_end);
    let result = transaction(body);
    drop(limit);
    interrupts::forget_cancels();
    result
}

fn abort(error: &CaughtError) -> Aborted {
    let report = match error {
        CaughtError::PostgresError(report) | CaughtError::ErrorReport(report) => report,
        CaughtError::RustPanic { ereport, .. } => ereport,
    };
    // One more would not be caught.
    interrupts::forget_cancels();
    // SAFETY: an ERROR was caught, so the transaction has to be aborted, and its memory with it.
    unsafe { pg_sys::AbortCurrentTransaction() }
    Aborted {
        lock_not_available: matches!(
            report.sql_error_code(),
            PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE | PgSqlErrorCode::ERRCODE_QUERY_CANCELED
        ),
        message: report.message().to_owned(),
    }
}
