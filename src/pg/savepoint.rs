//! Runs code in a subtransaction, so that its failure leaves the caller's transaction alive.

use std::panic::AssertUnwindSafe;

use pgrx::pg_sys::panic::CaughtError;
use pgrx::prelude::*;

use super::xact::Aborted;

/// Runs `body` in a subtransaction. Where it fails, returned or raised, what it did is undone, and the caller's
/// transaction goes on. What ends a statement or a session (57014, 57P01 and the like) is raised again.
///
/// For a function that may write, with no SPI connection open.
pub fn attempt<R, E: Into<Aborted>>(body: impl FnOnce() -> Result<R, E>) -> Result<R, Aborted> {
    // SAFETY: as PL/pgSQL does for a block with EXCEPTION; the memory context and the resource owner are the
    // caller's again at the end. Where an error is raised on, the transaction's abort ends the subtransaction.
    let (memory, owner) = unsafe {
        let before = (pg_sys::CurrentMemoryContext, pg_sys::CurrentResourceOwner);
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::CurrentMemoryContext = before.0;
        before
    };
    let result = PgTryBuilder::new(AssertUnwindSafe(|| body().map_err(Into::into)))
        .catch_others(|error| match &error {
            CaughtError::PostgresError(report) | CaughtError::ErrorReport(report)
                if !ends_a_statement(report.sql_error_code()) =>
            {
                let message = report.message().to_owned();
                Err(Aborted { lock_not_available: false, message })
            }
            _ => error.rethrow(),
        })
        .execute();
    // SAFETY: as above.
    unsafe {
        match result {
            Ok(_) => pg_sys::ReleaseCurrentSubTransaction(),
            Err(_) => pg_sys::RollbackAndReleaseCurrentSubTransaction(),
        }
        pg_sys::CurrentMemoryContext = memory;
        pg_sys::CurrentResourceOwner = owner;
    }
    result
}

fn ends_a_statement(code: PgSqlErrorCode) -> bool {
    use PgSqlErrorCode::*;
    matches!(
        code,
        ERRCODE_QUERY_CANCELED
            | ERRCODE_ADMIN_SHUTDOWN
            | ERRCODE_CRASH_SHUTDOWN
            | ERRCODE_DATABASE_DROPPED
            | ERRCODE_OUT_OF_MEMORY
    )
}
