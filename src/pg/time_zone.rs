//! Whether a time zone exists, for the setting that names one.

use std::ffi::{CStr, CString, c_char, c_void};

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::prelude::*;

/// Defines a setting that anyone may set to a time zone that PostgreSQL knows, and to nothing else.
pub fn define_setting(
    name: &'static CStr,
    short: &'static CStr,
    long: &'static CStr,
    setting: &'static GucSetting<Option<CString>>,
) {
    // SAFETY: the hook is guarded against panics.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            name,
            short,
            long,
            setting,
            GucContext::Userset,
            GucFlags::default(),
            Some(check),
            None,
            None,
        );
    }
}

/// Takes an empty value, and any zone that PostgreSQL knows.
///
/// # Safety
/// A check hook: PostgreSQL calls it with the new value.
#[pg_guard]
unsafe extern "C-unwind" fn check(
    value: *mut *mut c_char,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: the value is NULL or a C string; pg_tzset reads it and gives NULL for an unknown zone.
    unsafe {
        let name = *value;
        if name.is_null() || CStr::from_ptr(name).is_empty() {
            return true;
        }
        !pg_sys::pg_tzset(name).is_null()
    }
}
