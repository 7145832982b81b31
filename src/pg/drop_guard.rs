//! Looks at DROP EXTENSION before it happens.
//!
//! A `sql_drop` event trigger does not fire for the extension that it belongs to, so the look is taken
//! by PostgreSQL's object access hook. The hook is there once the library is loaded; the event trigger
//! `hiems_guard_drop` sees to that in sessions that have not used hiems yet.

use std::sync::OnceLock;

use pgrx::prelude::*;

type Hook = pg_sys::object_access_hook_type;

struct Guard {
    /// Raises an ERROR where the extension must not go.
    refuse: fn(),
    next: Hook,
}

static GUARD: OnceLock<Guard> = OnceLock::new();

/// From now on `refuse` is asked before the extension is dropped in this process.
pub fn install(refuse: fn()) {
    // SAFETY: called while the library is loaded, when this process has one thread.
    unsafe {
        if GUARD.set(Guard { refuse, next: pg_sys::object_access_hook }).is_ok() {
            pg_sys::object_access_hook = Some(on_access);
        }
    }
}

/// The object access hook.
///
/// # Safety
/// PostgreSQL calls it with the object that something is about to happen to.
#[pg_guard]
unsafe extern "C-unwind" fn on_access(
    access: pg_sys::ObjectAccessType::Type,
    class: pg_sys::Oid,
    object: pg_sys::Oid,
    sub_object: i32,
    argument: *mut core::ffi::c_void,
) {
    let Some(guard) = GUARD.get() else { return };
    // SAFETY: the arguments are passed on as they came; get_extension_oid looks in the catalog.
    unsafe {
        if let Some(next) = guard.next {
            next(access, class, object, sub_object, argument);
        }
        if access == pg_sys::ObjectAccessType::OAT_DROP
            && class == pg_sys::ExtensionRelationId
            && object == pg_sys::get_extension_oid(c"hiems".as_ptr(), true)
        {
            (guard.refuse)();
        }
    }
}

/// The event trigger's function: that it is called has loaded the library.
///
/// # Safety
/// PostgreSQL calls it as an event trigger.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn hiems_guard_drop(_: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    pg_sys::Datum::null()
}

/// Says that the function above has PostgreSQL's calling convention of version 1.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn pg_finfo_hiems_guard_drop() -> &'static pg_sys::Pg_finfo_record {
    const VERSION_1: pg_sys::Pg_finfo_record = pg_sys::Pg_finfo_record { api_version: 1 };
    &VERSION_1
}
