//! A DETAIL and a HINT for errors that PostgreSQL raises itself, such as a cancel.

use std::ffi::{CString, c_void};

use pgrx::pg_sys;

use super::report;

struct Texts {
    detail: CString,
    hint: CString,
}

/// While it lives, every error of this process carries the texts: also a cancel, a timeout, and the FATAL
/// of a terminated session.
pub struct ErrorDetail {
    callback: Box<pg_sys::ErrorContextCallback>,
    // The callback's argument points to it.
    _texts: Box<Texts>,
}

impl ErrorDetail {
    /// To be dropped in the order of a stack.
    pub fn new(detail: String, hint: String) -> ErrorDetail {
        let text = |text: String| CString::new(text.replace('\0', "")).unwrap_or_default();
        let texts = Box::new(Texts { detail: text(detail), hint: text(hint) });
        // SAFETY: this process has one stack of such callbacks; both boxes live until drop takes this
        // one off again.
        unsafe {
            let callback = Box::new(pg_sys::ErrorContextCallback {
                previous: pg_sys::error_context_stack,
                callback: Some(add),
                arg: std::ptr::from_ref::<Texts>(&texts).cast_mut().cast::<c_void>(),
            });
            let mut this = ErrorDetail { callback, _texts: texts };
            pg_sys::error_context_stack = &mut *this.callback;
            this
        }
    }
}

impl Drop for ErrorDetail {
    fn drop(&mut self) {
        // SAFETY: what was above it has been dropped before it.
        unsafe { pg_sys::error_context_stack = self.callback.previous }
    }
}

/// Called by PostgreSQL while it puts an error together.
unsafe extern "C-unwind" fn add(texts: *mut c_void) {
    // SAFETY: it is the box of a live ErrorDetail.
    let texts = unsafe { &*texts.cast::<Texts>() };
    report::add_detail(&texts.detail, &texts.hint);
}
