//! Who may call what: the bearer key of a request.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use crate::Config;
use crate::refusal::Refusal;

/// Management keys begin so. They see the whole account, and may not generate.
const MANAGEMENT: &str = "sk-or-v1-mgmt-";

pub(crate) fn is_management(key: &str) -> bool {
    key.starts_with(MANAGEMENT)
}

/// The bearer key as sent, accepted or not.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = value.split_once(' ')?;
    let key = key.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !key.is_empty()).then_some(key)
}

/// The bearer key if it is accepted, or else the 401 to answer with.
pub(crate) fn accepted<'a>(headers: &'a HeaderMap, config: &Config) -> Result<&'a str, Refusal> {
    let key =
        bearer(headers).ok_or_else(|| Refusal::unauthorized("Missing Authentication header"))?;
    let known = if config.accepted_keys.is_empty() {
        key.starts_with("sk-or-")
    } else {
        config.accepted_keys.iter().any(|accepted| accepted == key)
    };
    if known { Ok(key) } else { Err(Refusal::unauthorized("User not found.")) }
}

/// The bearer key if it may generate.
pub(crate) fn for_inference<'a>(
    headers: &'a HeaderMap,
    config: &Config,
) -> Result<&'a str, Refusal> {
    let key = accepted(headers, config)?;
    if is_management(key) {
        return Err(Refusal::forbidden("Management keys cannot be used for inference"));
    }
    Ok(key)
}

/// Passes a management key, and refuses all others with 403.
pub(crate) fn for_management(headers: &HeaderMap, config: &Config) -> Result<(), Refusal> {
    if is_management(accepted(headers, config)?) {
        return Ok(());
    }
    Err(Refusal::forbidden("Only management keys can perform this operation"))
}
