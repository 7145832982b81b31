//! The WARNINGs that hiems raises. The call, or whatever else was asked for, is done all the same.

use pgrx::PgLogLevel;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::PgSqlErrorCode;

/// Tells the caller that a text may be only a part of the answer: the model was stopped.
pub fn warn_cut_off(call: uuid::Uuid, finish_reason: Option<&str>) {
    let (message, hint) = match finish_reason {
        Some("length") => (
            "the answer was cut off (finish_reason length)",
            "Allow more tokens with max_completion_tokens in the options of hiems.submit_prompt() or \
             hiems.extract(), or ask a model that has a higher limit.",
        ),
        Some("content_filter") => (
            "the answer was filtered (finish_reason content_filter)",
            "Ask another model, or ask in other words.",
        ),
        _ => return,
    };
    let detail = format!("call {call}: the text may be missing, or end in the middle.");
    warn(message, Some(detail), hint);
}

/// Tells the caller that its answer is not quite as it came.
pub fn warn_changed(call: uuid::Uuid) {
    let detail = format!("call {call}: \\u0000, lone surrogates and the like are replaced.");
    let hint = format!("SELECT hiems.raw_answer('{call}') has it as it came, for a while.");
    warn("the answer was changed to fit jsonb", Some(detail), hint);
}

/// Tells the caller that its ledger rows come later.
pub fn warn_deferred(calls: &[uuid::Uuid]) {
    let named: Vec<String> = calls.iter().take(10).map(uuid::Uuid::to_string).collect();
    let (what, more) = match calls.len() {
        1 => ("the call is", ""),
        count => ("the calls are", if count > named.len() { ", ..." } else { "" }),
    };
    let message = format!("a table of hiems is locked: {what} booked when it is free");
    let detail = format!("call {}{more}", named.join(", "));
    let hint = "Look who holds the lock: pg_locks, or a VACUUM FULL or REINDEX that runs.";
    warn(message, Some(detail), hint);
}

/// Tells the caller that a key is not of the kind that it is stored as.
pub fn warn_other_kind(name: &str, kind: &str) {
    let is = if kind == "management" { "inference" } else { "management" };
    let message =
        format!("the key \"{name}\" is stored as {kind} key, and OpenRouter says it is none");
    warn(message, None, format!("Store it anew with the kind '{is}'."));
}

/// Tells an admin that the broadcast does not follow the levels.
pub fn warn_policies(why: String) {
    let hint = "Once the table is free, and as Realtime makes it: hiems.enable_supabase().";
    warn("the policies on realtime.messages do not follow the levels", Some(why), hint);
}

fn warn(message: impl Into<String>, detail: Option<String>, hint: impl Into<String>) {
    let report = ErrorReport::new(PgSqlErrorCode::ERRCODE_WARNING, message.into(), "warn");
    let report = report.set_hint(hint.into());
    let report = if let Some(detail) = detail { report.set_detail(detail) } else { report };
    report.report(PgLogLevel::WARNING);
}
