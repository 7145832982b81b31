//! SQL from Rust: statements that are prepared once per process, and run with hiems's own rights.

#![allow(clippy::disallowed_methods, reason = "this is where it is done right")]

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::CStr;
use std::rc::Rc;

use pgrx::datum::DatumWithOid;
use pgrx::spi::{OwnedPreparedStatement, Spi, SpiHeapTupleData, SpiResult};
use pgrx::{PgOid, pg_sys};

use super::session;

thread_local! {
    /// By the statement's text: every statement is a `const` of its owner module.
    static PLANS: RefCell<HashMap<&'static str, Rc<OwnedPreparedStatement>>> =
        RefCell::new(HashMap::new());
}

/// One row of a result.
pub type Row<'conn> = SpiHeapTupleData<'conn>;

/// Runs `sql` in the current transaction with the rights of hiems itself and a search_path that
/// nobody can plant in, and gives each row to `read_row`.
///
/// Whoever calls this has checked that the caller may have it done. An ERROR unwinds.
pub fn query<R>(
    sql: &'static str,
    arguments: &[DatumWithOid],
    mut read_row: impl FnMut(Row) -> SpiResult<R>,
) -> SpiResult<Vec<R>> {
    let _rights = OwnRights::take();
    Spi::connect_mut(|client| {
        let plan = planned(sql, || Ok(client.prepare_mut(sql, &types(arguments))?.keep()))?;
        client.update(&*plan, None, arguments)?.map(&mut read_row).collect()
    })
}

/// Like [`query`], for a SELECT: takes no transaction id, so that it works in a READ ONLY transaction
/// and on a standby, and costs nothing to whoever only reads.
pub fn read<R>(
    sql: &'static str,
    arguments: &[DatumWithOid],
    mut read_row: impl FnMut(Row) -> SpiResult<R>,
) -> SpiResult<Vec<R>> {
    let _rights = OwnRights::take();
    Spi::connect(|client| {
        let plan = planned(sql, || Ok(client.prepare(sql, &types(arguments))?.keep()))?;
        client.select(&*plan, None, arguments)?.map(&mut read_row).collect()
    })
}

/// Like [`read`], and sees what is committed by now, also in a transaction that looks at the past.
pub fn read_latest<R>(
    sql: &'static str,
    arguments: &[DatumWithOid],
    read_row: impl FnMut(Row) -> SpiResult<R>,
) -> SpiResult<Vec<R>> {
    // SAFETY: popped below; an ERROR aborts the transaction, and the snapshot goes with it.
    unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot()) }
    let rows = read(sql, arguments, read_row);
    // SAFETY: pushed above.
    unsafe { pg_sys::PopActiveSnapshot() }
    rows
}

/// The kept plan of a statement.
fn planned(
    sql: &'static str,
    prepare: impl FnOnce() -> SpiResult<OwnedPreparedStatement>,
) -> SpiResult<Rc<OwnedPreparedStatement>> {
    if let Some(plan) = PLANS.with_borrow(|plans| plans.get(sql).cloned()) {
        return Ok(plan);
    }
    let plan = Rc::new(prepare()?);
    PLANS.with_borrow_mut(|plans| plans.insert(sql, Rc::clone(&plan)));
    Ok(plan)
}

fn types(arguments: &[DatumWithOid]) -> Vec<PgOid> {
    arguments.iter().map(|argument| PgOid::from(argument.oid())).collect()
}

/// Like [`query`], for a statement whose rows do not matter.
pub fn execute(sql: &'static str, arguments: &[DatumWithOid]) -> SpiResult<()> {
    query(sql, arguments, |_| Ok(())).map(|_| ())
}

/// Like [`execute`], with the rights of another role, for what calls other people's functions and triggers: they
/// cannot become anybody else, and leave nothing behind that runs later. An ERROR where there is no such role.
pub fn execute_as(role: &CStr, sql: &'static str, arguments: &[DatumWithOid]) -> SpiResult<()> {
    // SAFETY: looks in the system cache; an unknown role raises an ERROR.
    let role = unsafe { pg_sys::get_role_oid(role.as_ptr(), false) };
    let _rights = OwnRights::take_as(role, pg_sys::SECURITY_RESTRICTED_OPERATION);
    Spi::connect_mut(|client| {
        let plan = planned(sql, || Ok(client.prepare_mut(sql, &types(arguments))?.keep()))?;
        client.update(&*plan, None, arguments).map(|_| ())
    })
}

/// Runs a statement made at run time (GRANT takes no parameters) with the rights of hiems itself.
pub fn run_utility(sql: &str) -> SpiResult<()> {
    let _rights = OwnRights::take();
    Spi::run(sql)
}

/// While it lives, the current role is the bootstrap superuser (or another), SET ROLE is refused, the
/// search_path is PostgreSQL's own, and nothing of a statement is printed, whatever the session has set.
struct OwnRights {
    role: pg_sys::Oid,
    context: i32,
    /// The nest level of the settings; None where they were as they have to be, as the gateway's are.
    settings: Option<i32>,
}

/// The superuser that initdb makes: it cannot be dropped, and owns the cluster.
const BOOTSTRAP_SUPERUSER: u32 = 10;

const OWN_SEARCH_PATH: &CStr = c"pg_catalog, pg_temp";

impl OwnRights {
    fn take() -> OwnRights {
        OwnRights::take_as(pg_sys::Oid::from(BOOTSTRAP_SUPERUSER), 0)
    }

    fn take_as(as_role: pg_sys::Oid, security: u32) -> OwnRights {
        let mut role = pg_sys::Oid::INVALID;
        let mut context = 0;
        // SAFETY: saves the role and puts it back in drop; an abort of the transaction would do the
        // same. The setting is undone with its nest level.
        unsafe {
            pg_sys::GetUserIdAndSecContext(&mut role, &mut context);
            pg_sys::SetUserIdAndSecContext(
                as_role,
                context | (pg_sys::SECURITY_LOCAL_USERID_CHANGE | security) as i32,
            );
            let mut noisy = session::noisy().peekable();
            let is_own = CStr::from_ptr(pg_sys::namespace_search_path) == OWN_SEARCH_PATH;
            // What other people's functions set has to be undone.
            if security == 0 && is_own && noisy.peek().is_none() {
                return OwnRights { role, context, settings: None };
            }
            let settings = Some(pg_sys::NewGUCNestLevel());
            let rights = OwnRights { role, context, settings };
            session::set_within(c"search_path", OWN_SEARCH_PATH);
            for (name, silent) in noisy {
                session::set_within(name, silent);
            }
            rights
        }
    }
}

impl Drop for OwnRights {
    fn drop(&mut self) {
        // SAFETY: gives back what take saved.
        unsafe {
            if let Some(settings) = self.settings {
                pg_sys::AtEOXact_GUC(false, settings);
            }
            pg_sys::SetUserIdAndSecContext(self.role, self.context);
        }
    }
}
