//! Every error that hiems raises: its SQLSTATE, message, DETAIL and HINT, at one place.
//!
//! `PTnnn` become HTTP status nnn in PostgREST. hiems raises no 40001: PostgREST before 16 runs such
//! a transaction again for ever, each time with a paid call. What the provider said goes to DETAIL,
//! never into the message.

mod warnings;

use thiserror::Error;

pub use warnings::{warn_changed, warn_cut_off, warn_deferred, warn_other_kind, warn_policies};

use crate::openrouter::failure::{Failure, FailureKind};
use crate::openrouter::request::BadRequest;
use crate::pg::report::{self, Report};
use crate::settings;

#[derive(Debug, Error)]
pub enum Error {
    /// An argument that cannot be used (22023).
    #[error("{message}")]
    InvalidArgument { message: String, detail: String, hint: String },

    /// The role lacks the level (42501).
    #[error("permission denied: this needs the level \"{level}\"")]
    MissingLevel { level: &'static str, role: String },

    /// A request above `hiems.max_request_bytes` (PT413).
    #[error("the request is too large")]
    RequestTooLarge { bytes: usize, limit: usize },

    /// In the maintenance of a table (42501).
    #[error("permission denied within a security-restricted operation")]
    Restricted,

    /// The role may not have the server read its files or its environment (42501).
    #[error("permission denied: this needs {0}")]
    MissingPrivilege(&'static str),

    /// Another user was named in a token's session (42501).
    #[error("permission denied to call for another user")]
    OtherUser,

    /// A queued call that would go before those of others (42501).
    #[error("permission denied to enqueue a call with a priority above 0")]
    Priority(i32),

    /// 25006, before anything is sent.
    #[error("cannot call OpenRouter in a read-only transaction")]
    ReadOnly,

    /// 25006, on a standby too.
    #[error("cannot change anything of hiems in a read-only transaction")]
    ReadOnlyChange,

    /// A call that commits first, where nothing can be committed (25001).
    #[error("submit_prompt_detached cannot be called where its caller's transaction goes on")]
    Atomic,

    /// A standby (0A000).
    #[error("cannot call OpenRouter on a standby")]
    Standby,

    /// In a parallel query (0A000).
    #[error("cannot call OpenRouter in a parallel query")]
    Parallel,

    /// Not READ COMMITTED in a session of `hiems.jwt_session_roles` (0A000).
    #[error("only READ COMMITTED transactions may call OpenRouter in this session")]
    Isolation,

    /// Somebody put a trigger on the ledger (55000).
    #[error("the ledger has a trigger that is not hiems's own")]
    ForeignTrigger { name: String, call: Option<uuid::Uuid> },

    /// DROP EXTENSION while `hiems.allow_drop` is off (55000).
    #[error("dropping hiems would delete its ledger")]
    DropRefused,

    /// A key that is not there (PT404).
    #[error("there is no key named \"{0}\"")]
    NoSuchKey(String),

    /// Rotation, where the operator has put no new master key into the file (55000).
    #[error("there is no new master key to seal with")]
    NoNewMasterKey,

    /// An answer that is not kept, or another's (PT404).
    #[error("there is no answer of that call")]
    NoSuchAnswer(uuid::Uuid),

    /// A call that is not there, or another's (PT404).
    #[error("there is no such call")]
    NoSuchCall(uuid::Uuid),

    /// A call that this transaction itself has enqueued: it is not made before the commit (55000).
    #[error("the call is made once this transaction is committed")]
    NotCommitted(uuid::Uuid),

    /// A queued call that may have been made elsewhere (55000).
    #[error("the call is paused")]
    Paused(uuid::Uuid),

    /// An idempotency key whose call was answered, and whose answer is kept no longer (55000).
    #[error("the answer of the call with this idempotency_key is not kept any more")]
    AnswerForgotten(uuid::Uuid),

    /// A call that was waited for (PT408).
    #[error("the call has not ended yet")]
    NotEnded(uuid::Uuid),

    /// No free background worker slot (PT503).
    #[error("the gateway could not be started: no background worker slot is free")]
    NoWorkerSlot,

    /// The gateway did not come up (PT503).
    #[error("the gateway did not start")]
    GatewayDown { detail: String },

    /// The gateway went away after the call was handed over (PT502).
    #[error("the outcome of the call is not known: the gateway went away")]
    GatewayLost { call: uuid::Uuid },

    /// A newer gateway than this session's library (PT503).
    #[error("the running gateway is of a newer version of hiems than this session")]
    GatewayVersion,

    /// The answer came, was paid for, and does not match the schema (PT422).
    #[error("the answer does not match the schema")]
    NotExtracted { call: uuid::Uuid, what: String },

    /// What is wrong with one request of many; its own error decides the SQLSTATE.
    #[error("request {position}: {error}")]
    InRequest { position: i32, error: Box<Error> },

    /// What the gateway answered: the call failed or was refused.
    #[error("{}", .failure.message)]
    Call { failure: Failure, call: Option<uuid::Uuid> },

    /// A defect of hiems or of its tables (XX000).
    #[error("{0}")]
    Internal(String),
}

impl From<pgrx::spi::Error> for Error {
    fn from(error: pgrx::spi::Error) -> Self {
        Error::Internal(format!("a statement of hiems failed: {error}"))
    }
}

impl From<BadRequest> for Error {
    fn from(bad: BadRequest) -> Self {
        Error::InvalidArgument { message: bad.message, detail: bad.detail, hint: bad.hint }
    }
}

impl Error {
    /// The same of one request out of many, whose place in the array is `position`.
    pub fn in_request(self, position: i32) -> Error {
        Error::InRequest { position, error: Box::new(self) }
    }

    /// Its SQLSTATE.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Error::InRequest { error, .. } => error.sqlstate(),
            Error::InvalidArgument { .. } => "22023",
            Error::MissingLevel { .. }
            | Error::MissingPrivilege(_)
            | Error::Restricted
            | Error::Priority(_)
            | Error::OtherUser => "42501",
            Error::Atomic => "25001",
            Error::ReadOnly | Error::ReadOnlyChange => "25006",
            Error::Standby | Error::Parallel | Error::Isolation => "0A000",
            Error::ForeignTrigger { .. }
            | Error::DropRefused
            | Error::NoNewMasterKey
            | Error::NotCommitted(_)
            | Error::Paused(_)
            | Error::AnswerForgotten(_) => "55000",
            Error::NotEnded(_) => "PT408",
            Error::RequestTooLarge { .. } => "PT413",
            Error::NoSuchKey(_) | Error::NoSuchAnswer(_) | Error::NoSuchCall(_) => "PT404",
            Error::NoWorkerSlot | Error::GatewayDown { .. } | Error::GatewayVersion => "PT503",
            Error::GatewayLost { .. } => "PT502",
            Error::NotExtracted { .. } => "PT422",
            Error::Call { failure, .. } => match failure.kind {
                FailureKind::InvalidRequest => "22023",
                FailureKind::KeyMissing | FailureKind::KeyRefused | FailureKind::Unavailable => {
                    "PT503"
                }
                FailureKind::Credits => "PT402",
                FailureKind::Forbidden => "PT403",
                FailureKind::NotFound => "PT404",
                // Not 408: browsers send a request that was answered so again, and it may be billed.
                FailureKind::Timeout => "PT504",
                FailureKind::TooLarge => "PT413",
                FailureKind::Unprocessable => "PT422",
                FailureKind::RateLimited => "PT429",
                FailureKind::BadUpstream => "PT502",
                FailureKind::Internal => "XX000",
            },
            Error::Internal(_) => "XX000",
        }
    }

    /// Its DETAIL.
    pub fn detail(&self) -> Option<String> {
        match self {
            Error::InRequest { error, .. } => error.detail(),
            Error::InvalidArgument { detail, .. } => Some(detail.clone()),
            Error::MissingLevel { level, role } => {
                Some(format!("Role \"{role}\" does not have the level \"{level}\"."))
            }
            Error::Restricted => Some(
                "CREATE INDEX, REINDEX, ANALYZE, REFRESH MATERIALIZED VIEW and the like run functions \
                 of a table's owner in everybody's name."
                    .to_owned(),
            ),
            Error::Atomic => Some(
                "It commits before it sends anything, and a transaction block, a function or an EXCEPTION block \
                 is not its own to end."
                    .to_owned(),
            ),
            Error::Parallel => Some("Nothing can be booked there.".to_owned()),
            Error::Priority(priority) => {
                Some(format!("It is {priority}: only the levels service and admin go before others."))
            }
            Error::OtherUser => Some(
                "In this session the user is the token's subject, and \"user\" names another."
                    .to_owned(),
            ),
            Error::NoSuchAnswer(call)
            | Error::NoSuchCall(call)
            | Error::NotCommitted(call)
            | Error::NotEnded(call)
            | Error::AnswerForgotten(call) => Some(format!("call {call}")),
            Error::Paused(call) => Some(format!(
                "call {call}: it was enqueued on another timeline of this server, or came by a restore."
            )),
            Error::RequestTooLarge { bytes, limit } => {
                Some(format!("It has {bytes} bytes, and may have {limit}."))
            }
            Error::DropRefused => Some(
                "The ledger, the stored keys, levels and rates go with the extension.".to_owned(),
            ),
            Error::NoNewMasterKey => Some(
                "Every key is sealed with the first one in the file of hiems.master_key_file."
                    .to_owned(),
            ),
            Error::Isolation => Some(
                "A serialization failure would make some clients run the paid call again."
                    .to_owned(),
            ),
            Error::ForeignTrigger { name, call } => {
                let call = call.map(|id| format!("call {id}: ")).unwrap_or_default();
                Some(format!("{call}the trigger \"{name}\" would run with hiems's rights."))
            }
            Error::GatewayDown { detail } => Some(detail.clone()),
            Error::NotExtracted { call, what } => Some(format!("call {call}: {what}")),
            Error::GatewayLost { call } => {
                Some(format!("call {call}: if it was sent, it is booked."))
            }
            Error::Call { failure, call } => {
                let id = call.map(|id| format!("call {id}"));
                let parts: Vec<String> =
                    id.into_iter().chain(failure.detail.iter().cloned()).collect();
                (!parts.is_empty()).then(|| parts.join(": "))
            }
            _ => None,
        }
        .filter(|detail| !detail.is_empty())
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Error::InRequest { error, .. } => return error.hint(),
            Error::InvalidArgument { hint, .. } => {
                return Some(hint.clone()).filter(|h| !h.is_empty());
            }
            Error::Call { failure, .. } => return failure.hint.clone(),
            Error::NotExtracted { call, .. } => {
                return Some(format!(
                    "SELECT hiems.await_prompt('{call}') gives the whole answer, for a while."
                ));
            }
            Error::MissingLevel { level, role } => {
                let role = pgrx::spi::quote_literal(role);
                return Some(format!(
                    "An admin can give it: SELECT hiems.grant_access({role}, '{level}')."
                ));
            }
            Error::RequestTooLarge { .. } => "A superuser can raise hiems.max_request_bytes.",
            Error::Priority(_) => "Leave it out, or take one of -100 to 0.",
            Error::OtherUser => "Leave \"user\" out: it comes from the token.",
            Error::ReadOnly => "Call it in a READ WRITE transaction; over HTTP, use POST.",
            Error::Atomic => "CALL it outside a transaction block, or take hiems.submit_prompt().",
            Error::ReadOnlyChange => "Do it in a READ WRITE transaction, on the primary.",
            Error::Standby => "Connect to the primary.",
            Error::Restricted => {
                "Call it in a statement of its own, and store the result in a table."
            }
            Error::Parallel => "Declare the function that calls it PARALLEL UNSAFE.",
            Error::Isolation => "SET default_transaction_isolation TO 'read committed'.",
            Error::ForeignTrigger { .. } => "Drop it; what was called meanwhile is booked then.",
            Error::DropRefused => {
                "Dump what has to stay; then a superuser says SET hiems.allow_drop = on."
            }
            Error::NoSuchAnswer(_) => {
                "It may still be on its way: see hiems.calls. Such answers are kept for hiems.answer_retention."
            }
            Error::AnswerForgotten(_) => {
                "It was booked. Take another idempotency_key to call again; hiems.answer_retention is how long answers are kept."
            }
            Error::NoSuchCall(_) => "What is on its way stands in hiems.calls.",
            Error::NotCommitted(_) => "Commit first, and wait for it then.",
            Error::Paused(_) => {
                "It may have been made there: an admin can have it made here, too, with hiems.resume_prompts(), or cancel it."
            }
            Error::NotEnded(_) => "Wait for it again; hiems.calls shows how far it is.",
            Error::NoSuchKey(_) => "Store one with hiems.set_api_key().",
            Error::MissingPrivilege(_) => "Have a superuser do it, or bind the key: $1.",
            Error::NoNewMasterKey => {
                "Put a new one before the others in the file, a line each: openssl rand -hex 32."
            }
            Error::NoWorkerSlot => "Raise max_worker_processes and restart PostgreSQL.",
            Error::GatewayDown { .. } => "The server log says why.",
            Error::GatewayVersion => "Connect again: a new session has the new library.",
            _ => return None,
        };
        Some(text.to_owned())
    }

    fn into_report(self) -> Report {
        Report {
            sqlstate: self.sqlstate(),
            message: self.to_string(),
            detail: self.detail(),
            hint: self.hint(),
        }
    }
}

/// The end of every SQL function: its result, or its error raised.
pub fn or_raise<T>(result: Result<T, Error>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => report::raise(error.into_report()),
    }
}

/// Asked before DROP EXTENSION: raises where `hiems.allow_drop` is off.
pub fn refuse_drop() {
    if !settings::allow_drop() {
        report::raise(Error::DropRefused.into_report());
    }
}
