//! Who may call: the bearer key of a request.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use crate::Config;
use crate::refusal::Refusal;

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
