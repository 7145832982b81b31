//! Memory of PostgreSQL's that is given back before the statement ends.

use pgrx::memcxt::PgMemoryContexts;

/// Runs `work`, and gives back what it had PostgreSQL allocate, such as the parameters of a statement: what it
/// returns is Rust's own.
pub fn given_back<R: 'static>(work: impl FnOnce() -> R) -> R {
    let mut context = PgMemoryContexts::new("hiems");
    // SAFETY: it is deleted when it is dropped, also by the unwinding of an ERROR; until then it is the current one
    // for `work` alone, and nothing of it is in the result.
    unsafe { context.switch_to(|_| work()) }
}
