//! Raises an ERROR with any SQLSTATE: pgrx knows only PostgreSQL's own list, and PostgREST's `PTnnn`
//! are not in it.

use std::ffi::{CStr, CString, c_char, c_int};

use pgrx::{PgLogLevel, pg_sys};

// The plain functions behind PostgreSQL's `ereport`, which pgrx keeps to itself. They are not
// guarded: `errfinish` jumps straight to the handler that called this function.
unsafe extern "C-unwind" {
    fn errstart(level: c_int, domain: *const c_char) -> bool;
    fn errcode(sqlstate: c_int) -> c_int;
    fn errmsg(format: *const c_char, ...) -> c_int;
    fn errdetail(format: *const c_char, ...) -> c_int;
    fn errhint(format: *const c_char, ...) -> c_int;
    fn errfinish(file: *const c_char, line: c_int, function: *const c_char);
}

/// What an ERROR says.
pub struct Report {
    /// Five characters, digits or upper-case letters.
    pub sqlstate: &'static str,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
}

/// Raises `report` as an ERROR. Never returns.
///
/// To be called as the last act of an SQL function, when nothing with a destructor is left in the
/// frames up to pgrx's wrapper: the jump runs none.
pub fn raise(report: Report) -> ! {
    let code = sqlstate_code(report.sqlstate);
    let message = copy(Some(&report.message));
    let detail = copy(report.detail.as_deref());
    let hint = copy(report.hint.as_deref());
    drop(report);
    // SAFETY: the texts are copies in PostgreSQL's memory, so the jump out of errfinish leaks
    // nothing of Rust's; "%s" takes exactly one text.
    unsafe {
        if errstart(PgLogLevel::ERROR as c_int, std::ptr::null()) {
            errcode(code);
            errmsg(c"%s".as_ptr(), message);
            if !detail.is_null() {
                errdetail(c"%s".as_ptr(), detail);
            }
            if !hint.is_null() {
                errhint(c"%s".as_ptr(), hint);
            }
            errfinish(c"hiems".as_ptr(), 0, std::ptr::null());
        }
    }
    unreachable!("an ERROR does not return")
}

/// Adds a DETAIL and a HINT to the error that is being put together: for callbacks of PostgreSQL's alone.
pub(super) fn add_detail(detail: &CStr, hint: &CStr) {
    // SAFETY: the texts are copied; "%s" takes exactly one text.
    unsafe {
        errdetail(c"%s".as_ptr(), detail.as_ptr());
        errhint(c"%s".as_ptr(), hint.as_ptr());
    }
}

/// PostgreSQL's packed form of a SQLSTATE: six bits a character, the first lowest.
fn sqlstate_code(sqlstate: &str) -> c_int {
    sqlstate
        .bytes()
        .enumerate()
        .fold(0, |code, (i, byte)| code + (((c_int::from(byte) - 0x30) & 0x3f) << (6 * i)))
}

/// A copy in the current memory context; NULL for none. A NUL byte would end the text: it is left out.
fn copy(text: Option<&str>) -> *const c_char {
    let Some(text) = text else {
        return std::ptr::null();
    };
    let bytes: Vec<u8> = text.bytes().filter(|byte| *byte != 0).collect();
    let text = CString::new(bytes).unwrap_or_default();
    // SAFETY: pstrdup copies a NUL-terminated text.
    unsafe { pg_sys::pstrdup(text.as_ptr()) }
}
