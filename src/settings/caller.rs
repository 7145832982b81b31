//! What a caller's session goes by.

use std::time::Duration;

use super::*;

/// `hiems.answer_retention`.
pub fn answer_retention() -> Duration {
    seconds(&ANSWER_RETENTION)
}

/// True where each booking transaction tells listeners itself: `hiems.notify`.
pub fn tells_with_commit() -> bool {
    NOTIFY.get() == Notify::Commit
}

/// `hiems.allow_drop`.
pub fn allow_drop() -> bool {
    ALLOW_DROP.get()
}

/// `hiems.max_request_bytes`.
pub fn max_request_bytes() -> usize {
    usize::try_from(MAX_REQUEST_BYTES.get()).unwrap_or_default()
}

/// `hiems.default_model`.
pub fn default_model() -> Option<String> {
    value(&DEFAULT_MODEL)
}

/// `hiems.use_case`.
pub fn use_case() -> Option<String> {
    value(&USE_CASE)
}

/// `hiems.api_key_name`; 'default' where it is empty.
pub fn api_key_name() -> String {
    value(&API_KEY_NAME).unwrap_or_else(|| "default".to_owned())
}

/// True if claims count in sessions that logged in as `role`.
pub fn is_jwt_session_role(role: &str) -> bool {
    value(&JWT_SESSION_ROLES).is_some_and(|roles| roles.split(',').any(|name| name.trim() == role))
}

/// `hiems.reporting_time_zone`, else the TimeZone that the session began with.
pub fn reporting_time_zone() -> String {
    value(&REPORTING_TIME_ZONE)
        .or_else(|| session::reset_value(c"TimeZone"))
        .unwrap_or_else(|| "UTC".to_owned())
}
