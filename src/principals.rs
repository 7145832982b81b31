//! Whose rows a database role's own are. The only writer of `hiems_private.principals` and
//! `hiems_private.principal_roles`.
//!
//! A name can be another role's one day, by DROP and CREATE or by RENAME, and that role must not see rows of the first. So
//! `role:<name>` belongs for good to the first role of that name that calls; the second one has `role#2:<name>`. Calls are
//! booked whatever becomes of their caller's transaction: so the gateway writes down who has which principal, in a transaction of
//! its own, before the first call with it is sent.

use std::cell::RefCell;
use std::collections::HashMap;

use pgrx::spi::SpiResult;

use crate::error::Error;
use crate::gateway;
use crate::pg::xact::Aborted;
use crate::pg::{identity, lock, spi};

/// A role: its OID and its name, and the OID of the table that says which principal it has, since that is another
/// one after DROP EXTENSION.
type Role = (u32, String, u32);

thread_local! {
    /// What is written down is never changed. Also for a transaction that looks at the past: its own calls
    /// have the principal by now.
    static KNOWN: RefCell<HashMap<Role, String>> = RefCell::new(HashMap::new());
}

const MOST_KNOWN: usize = 1_000;

const READ: &str = "
    SELECT principal FROM hiems_private.principal_roles WHERE role_oid = $1 AND role_name = $2";
// What a role of that name would have that calls for the first time.
const NEXT: &str = "
    SELECT CASE count(*) WHEN 0 THEN 'role:' ELSE format('role#%s:', count(*) + 1) END || $1
    FROM hiems_private.principals WHERE role_name = $1";
const TAKE: &str = "
    INSERT INTO hiems_private.principals (principal, role_name) VALUES ($1, $2)
    ON CONFLICT DO NOTHING RETURNING true";
// In two steps: the trigger looks the name up, which this transaction may not see yet.
const WRITE_DOWN: &str = "
    INSERT INTO hiems_private.principal_roles (principal, role_name) VALUES ($1, $2)";
const NAME_ROLE: &str = "
    UPDATE hiems_private.principal_roles SET role_oid = $2 WHERE principal = $1";

/// The principal of the current role; of one that has not called yet the one that it would have now: no row has it.
pub fn of_current_role() -> SpiResult<String> {
    let role = current_role();
    match known(&role)? {
        Some(principal) => Ok(principal),
        None => next(&role.1),
    }
}

/// The principal that a call of the current role is booked with. Has the gateway write it down first, once for
/// each role. PT503 where it cannot.
pub fn take_for_current_role() -> Result<String, Error> {
    let role = current_role();
    if let Some(principal) = known(&role)? {
        return Ok(principal);
    }
    let principal = gateway::take_principal(role.0, &role.1)?;
    remember(role, &principal);
    Ok(principal)
}

/// For the gateway: the principal of this role, written down in this transaction where it has none yet.
pub fn take(role: u32, name: &str) -> Result<String, Aborted> {
    let is_free = [c"principals", c"principal_roles"]
        .into_iter()
        .all(|table| lock::try_lock_for_writing(c"hiems_private", table));
    if !is_free {
        return Err(Aborted::by_lock());
    }
    if let Some(principal) = read(role, name)? {
        return Ok(principal);
    }
    let principal = next(name)?;
    let arguments = || [principal.as_str().into(), name.into()];
    if spi::query(TAKE, &arguments(), |_| Ok(()))?.is_empty() {
        // Another gateway, which is leaving, was faster.
        return Err(Aborted::by_lock());
    }
    spi::execute(WRITE_DOWN, &arguments())?;
    let role = pgrx::pg_sys::Oid::from(role);
    spi::execute(NAME_ROLE, &[principal.as_str().into(), role.into()])?;
    Ok(principal)
}

fn current_role() -> Role {
    let table = identity::table_oid(c"hiems_private", c"principal_roles");
    (identity::current_role_oid().to_u32(), identity::current_role(), table)
}

fn known(role: &Role) -> SpiResult<Option<String>> {
    if let Some(principal) = KNOWN.with_borrow(|known| known.get(role).cloned()) {
        return Ok(Some(principal));
    }
    let found = read(role.0, &role.1)?;
    if let Some(principal) = &found {
        remember(role.clone(), principal);
    }
    Ok(found)
}

fn remember(role: Role, principal: &str) {
    KNOWN.with_borrow_mut(|known| {
        if known.len() >= MOST_KNOWN {
            known.clear();
        }
        known.insert(role, principal.to_owned());
    });
}

fn read(role: u32, name: &str) -> SpiResult<Option<String>> {
    let role = pgrx::pg_sys::Oid::from(role);
    let found = spi::read(READ, &[role.into(), name.into()], |row| row.get::<String>(1))?;
    Ok(found.into_iter().flatten().next())
}

fn next(name: &str) -> SpiResult<String> {
    let found = spi::read(NEXT, &[name.into()], |row| row.get::<String>(1))?;
    Ok(found.into_iter().flatten().next().unwrap_or_default())
}
