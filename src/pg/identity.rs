//! Who runs this statement.

use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use pgrx::pg_sys;

/// The role whose rights count now: inside a SECURITY DEFINER function its owner.
pub fn current_role_oid() -> pg_sys::Oid {
    // SAFETY: reads state of this process.
    unsafe { pg_sys::GetUserId() }
}

/// The name of that role.
pub fn current_role() -> String {
    role_name(current_role_oid())
}

/// The name that the connection was opened with (or a superuser's SET SESSION AUTHORIZATION gave).
pub fn session_role() -> String {
    // SAFETY: reads state of this process.
    role_name(unsafe { pg_sys::GetSessionUserId() })
}

/// True if the current role is a superuser.
pub fn is_superuser() -> bool {
    // SAFETY: looks in the system cache.
    unsafe { pg_sys::superuser_arg(pg_sys::GetUserId()) }
}

/// True while PostgreSQL maintains a table in its owner's name: REINDEX, ANALYZE, REFRESH MATERIALIZED
/// VIEW and the like run the owner's functions whoever asked for them, or when nobody did.
pub fn is_restricted() -> bool {
    // SAFETY: reads state of this process.
    unsafe { pg_sys::InSecurityRestrictedOperation() }
}

/// True if the current role has the privileges of this predefined role; a superuser has them all.
pub fn has_privileges_of(role: &CStr) -> bool {
    // SAFETY: looks in the system cache; an unknown role gives no OID.
    unsafe {
        let oid = pg_sys::get_role_oid(role.as_ptr(), true);
        oid != pg_sys::Oid::INVALID && pg_sys::has_privs_of_role(pg_sys::GetUserId(), oid)
    }
}

/// The OID of a table; 0 where there is none.
pub fn table_oid(schema: &CStr, table: &CStr) -> u32 {
    // SAFETY: looks in the system cache.
    unsafe {
        let schema = pg_sys::get_namespace_oid(schema.as_ptr(), true);
        pg_sys::get_relname_relid(table.as_ptr(), schema).to_u32()
    }
}

/// True if there is a schema of that name.
pub fn schema_exists(name: &CStr) -> bool {
    // SAFETY: looks in the system cache.
    unsafe { pg_sys::get_namespace_oid(name.as_ptr(), true) != pg_sys::Oid::INVALID }
}

/// The user that the server runs as.
pub fn server_user() -> u32 {
    // SAFETY: asks the system for a number.
    unsafe { libc::geteuid() }
}

/// The OID of the database that this process is connected to.
pub fn database_oid() -> u32 {
    // SAFETY: reads state of this process.
    unsafe { pg_sys::MyDatabaseId.to_u32() }
}

/// Where this database's files are, from the data directory.
pub fn database_folder() -> PathBuf {
    // SAFETY: a C string that PostgreSQL sets when it connects this process to its database.
    unsafe {
        let path = pg_sys::DatabasePath;
        if path.is_null() {
            return PathBuf::new();
        }
        PathBuf::from(OsStr::from_bytes(CStr::from_ptr(path).to_bytes()))
    }
}

fn role_name(oid: pg_sys::Oid) -> String {
    // SAFETY: a palloc'd C string, or NULL where the role is gone.
    unsafe {
        let name = pg_sys::GetUserNameFromId(oid, true);
        if name.is_null() {
            return oid.to_u32().to_string();
        }
        CStr::from_ptr(name).to_string_lossy().into_owned()
    }
}
