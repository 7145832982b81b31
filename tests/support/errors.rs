//! What a refused statement says.

use std::fmt::Debug;

/// A statement's error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub sqlstate: String,
    pub message: String,
    pub detail: String,
    pub hint: String,
}

pub trait ResultExt {
    /// The server's error; panics if there is none.
    fn refusal(self) -> Refusal;
    /// Its SQLSTATE.
    fn sqlstate(self) -> String;
}

impl<T: Debug> ResultExt for Result<T, postgres::Error> {
    fn refusal(self) -> Refusal {
        let error = self.expect_err("the statement is refused");
        let error =
            error.as_db_error().unwrap_or_else(|| panic!("not the server's error: {error}"));
        Refusal {
            sqlstate: error.code().code().to_owned(),
            message: error.message().to_owned(),
            detail: error.detail().unwrap_or_default().to_owned(),
            hint: error.hint().unwrap_or_default().to_owned(),
        }
    }

    fn sqlstate(self) -> String {
        self.refusal().sqlstate
    }
}
