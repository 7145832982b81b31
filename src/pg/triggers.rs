//! The triggers on a table, as they are now.

use std::ffi::{CStr, CString};

use pgrx::pg_sys;

/// The name of a trigger on a table of `schema` whose function is not one of the schema `functions`. It
/// waits for no lock, and costs next to nothing: PostgreSQL itself keeps them at hand for each insert.
pub fn foreign(schema: &CStr, table: &CStr, functions: &CStr) -> Option<String> {
    let triggers = triggers(schema, table);
    // SAFETY: looks in the catalog.
    let own = unsafe { pg_sys::get_namespace_oid(functions.as_ptr(), true) };
    let is_foreign = |function: pg_sys::Oid| {
        // SAFETY: as above.
        unsafe { pg_sys::get_func_namespace(function) != own }
    };
    let foreign = triggers.into_iter().find(|(_, function)| is_foreign(*function));
    foreign.map(|(name, _)| name.to_string_lossy().into_owned())
}

/// Their names and functions, but for PostgreSQL's own. A look at the catalog may make PostgreSQL read them
/// anew: they are copied first.
fn triggers(schema: &CStr, table: &CStr) -> Vec<(CString, pg_sys::Oid)> {
    // SAFETY: what others have changed is taken notice of first, as with a lock; the relation is given
    // back before anything else is looked at.
    unsafe {
        let schema = pg_sys::get_namespace_oid(schema.as_ptr(), true);
        let table = pg_sys::get_relname_relid(table.as_ptr(), schema);
        if table == pg_sys::InvalidOid {
            return Vec::new();
        }
        pg_sys::AcceptInvalidationMessages();
        let relation = pg_sys::RelationIdGetRelation(table);
        if relation.is_null() {
            return Vec::new();
        }
        let described = (*relation).trigdesc;
        let count = match described.is_null() {
            true => 0,
            false => usize::try_from((*described).numtriggers).unwrap_or_default(),
        };
        let triggers = match count {
            0 => &[],
            _ => std::slice::from_raw_parts((*described).triggers, count),
        };
        let copied = triggers
            .iter()
            .filter(|trigger| !trigger.tgisinternal)
            .map(|trigger| (CStr::from_ptr(trigger.tgname).to_owned(), trigger.tgfoid))
            .collect();
        pg_sys::RelationClose(relation);
        copied
    }
}
