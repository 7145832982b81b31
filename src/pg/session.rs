//! Settings of this session, by name.

use std::ffi::{CStr, CString};

use pgrx::pg_sys;

/// The value of a setting; None where there is no such setting, or it is empty.
pub fn setting(name: &CStr) -> Option<String> {
    // SAFETY: the text is PostgreSQL's; it is copied at once.
    unsafe { text(pg_sys::GetConfigOption(name.as_ptr(), true, false)) }
}

/// The value that RESET would bring back: the server's, or the database's or role's own.
pub fn reset_value(name: &CStr) -> Option<String> {
    // SAFETY: as above; the setting is one of PostgreSQL's own, so it exists.
    unsafe { text(pg_sys::GetConfigOptionResetString(name.as_ptr())) }
}

/// Fixes a setting for the life of this process, above what ALTER DATABASE or ALTER ROLE say.
pub fn fix(name: &CStr, value: &CStr) {
    // SAFETY: both are C strings; a value that does not fit raises an ERROR.
    unsafe {
        pg_sys::SetConfigOption(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_SUSET,
            pg_sys::GucSource::PGC_S_OVERRIDE,
        );
    }
}

/// As [`fix`], by names and values that are found at run time.
pub fn fix_by_name(name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (CString::new(name), CString::new(value)) {
        fix(&name, &value);
    }
}

/// Sets a setting of this session; [`reset_value`] stays what it was.
pub fn set(name: &CStr, value: &CStr) {
    // SAFETY: as above; called outside a transaction, whose end would undo it.
    unsafe { set_option(name, value, pg_sys::GucAction::GUC_ACTION_SET) }
}

/// Has PostgreSQL, and the libraries that watch over it, print nothing of what a statement holds, to the log or to a
/// client. A plan has the values of its parameters: an answer, a sealed key.
pub const SILENT: [(&CStr, &CStr); 5] = [
    (c"debug_print_parse", c"off"),
    (c"debug_print_rewritten", c"off"),
    (c"debug_print_plan", c"off"),
    (c"auto_explain.log_min_duration", c"-1"),
    (c"pgaudit.log_parameter", c"off"),
];

/// True of a setting of PostgreSQL's, or of a library that is loaded.
pub fn is_known(name: &CStr) -> bool {
    // SAFETY: a C string.
    unsafe { !pg_sys::GetConfigOption(name.as_ptr(), true, false).is_null() }
}

/// Those of [`SILENT`] that are set to something else.
pub fn noisy() -> impl Iterator<Item = (&'static CStr, &'static CStr)> {
    SILENT.into_iter().filter(|(name, silent)| {
        // SAFETY: the value is PostgreSQL's, and looked at before anything else is done.
        unsafe {
            let value = pg_sys::GetConfigOption(name.as_ptr(), true, false);
            !value.is_null() && CStr::from_ptr(value) != *silent
        }
    })
}

/// Sets a setting until the current nest level of settings ends.
///
/// # Safety
/// Inside a nest level that the caller ends.
pub(super) unsafe fn set_within(name: &CStr, value: &CStr) {
    // SAFETY: the caller's promise.
    unsafe { set_option(name, value, pg_sys::GucAction::GUC_ACTION_SAVE) }
}

/// Sets a setting until the end of the current transaction.
pub fn set_locally(name: &CStr, value: &CStr) {
    // SAFETY: as above; called inside a transaction, whose end undoes it.
    unsafe { set_option(name, value, pg_sys::GucAction::GUC_ACTION_LOCAL) }
}

/// # Safety
/// Where the action makes sense; a value that does not fit raises an ERROR.
unsafe fn set_option(name: &CStr, value: &CStr, action: pg_sys::GucAction::Type) {
    // SAFETY: both are C strings; else the caller's promise.
    unsafe {
        pg_sys::set_config_option(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_SUSET,
            pg_sys::GucSource::PGC_S_SESSION,
            action,
            true,
            0,
            false,
        );
    }
}

/// Refuses settings called `hiems.` that hiems does not know.
pub fn reserve_prefix() {
    // SAFETY: a C string with no end of life.
    unsafe { pg_sys::MarkGUCPrefixReserved(c"hiems".as_ptr()) }
}

/// Reads the configuration files again, as on a reload.
pub fn reload() {
    // SAFETY: outside a transaction of the worker's main loop, as PostgreSQL's own workers do.
    unsafe { pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP) }
}

/// Shows what this process is doing in pg_stat_activity, and flushes its statistics.
pub fn report_activity(activity: &str) {
    let activity = CString::new(activity).unwrap_or_default();
    // SAFETY: called outside a transaction; the text is copied.
    unsafe {
        pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_IDLE, activity.as_ptr());
        pg_sys::pgstat_report_stat(true);
    }
}

/// Says `activity` in place of the statement that this session runs: in pg_stat_activity, where nothing
/// of it stays in the memory that all processes share, and in the log, if it ends in an error.
pub fn show_instead_of_statement(activity: &'static CStr) {
    let running = pg_sys::BackendState::STATE_RUNNING;
    // SAFETY: the texts are copied into this process's own entry, which ends at its first NUL: blanks
    // cover the rest before. What is logged with an error is a text without an end of life; it is set
    // anew with the next message of the client.
    unsafe {
        pg_sys::debug_query_string = activity.as_ptr();
        let room = usize::try_from(pg_sys::pgstat_track_activity_query_size).unwrap_or_default();
        let blanks = CString::new(vec![b' '; room]).unwrap_or_default();
        pg_sys::pgstat_report_activity(running, blanks.as_ptr());
        pg_sys::pgstat_report_activity(running, activity.as_ptr());
    }
}

/// Switches Rust's backtraces off for this process: with RUST_BACKTRACE=1 in the postmaster's
/// environment every ERROR would take some 100 ms longer.
#[allow(clippy::disallowed_methods, reason = "this process has one thread by then")]
pub fn disable_backtraces() {
    // SAFETY: called while the library is loaded, when this process has one thread.
    unsafe { std::env::set_var("RUST_BACKTRACE", "0") }
}

/// # Safety
/// `value` is NULL or a C string.
unsafe fn text(value: *const std::ffi::c_char) -> Option<String> {
    if value.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    let value = unsafe { CStr::from_ptr(value) }.to_string_lossy().into_owned();
    (!value.is_empty()).then_some(value)
}
