//! Who is the user? The one place that reads roles and token claims.
//!
//! Claims can be forged from plain SQL (`SET request.jwt.claims = ...`), so they count only where the
//! session logged in as one of `hiems.jwt_session_roles`.

use serde::Deserialize;

use crate::access::{self, Level};
use crate::error::Error;
use crate::pg::{identity, session};
use crate::principals;
use crate::settings;

/// For whom a call is made.
pub struct Caller {
    /// A label: the token's subject, what "user" says, or the role.
    pub user_id: String,
    /// The role whose rights counted.
    pub role_name: String,
}

#[derive(Deserialize)]
struct Claims {
    sub: Option<String>,
}

/// True if this session's claims count.
pub fn is_jwt_session() -> bool {
    settings::is_jwt_session_role(&identity::session_role())
}

/// The token's subject; None where there is none, or the claims are not to be trusted or read.
pub fn jwt_subject() -> Option<String> {
    if !is_jwt_session() {
        return None;
    }
    let claims = session::setting(c"request.jwt.claims")?;
    let claims: Claims = serde_json::from_str(&claims).ok()?;
    // PostgreSQL's texts hold no NUL, JSON's may.
    claims.sub.filter(|sub| !sub.is_empty() && !sub.contains('\0'))
}

/// `jwt:<sub>` or `role:<name>`; None in a token's session without a subject: it owns nothing.
pub fn current_principal() -> Result<Option<String>, Error> {
    if is_jwt_session() {
        return Ok(jwt_subject().map(|sub| format!("jwt:{sub}")));
    }
    Ok(Some(principals::of_current_role()?))
}

/// True where no call can be told from another caller's: in a token's session without a subject.
pub fn is_nobody() -> bool {
    is_jwt_session() && jwt_subject().is_none()
}

/// The principal that a call of this session's is booked with. To be asked last: a role's first call has the
/// gateway write it down, which raises PT503 where it cannot.
pub fn take_principal() -> Result<String, Error> {
    match jwt_subject() {
        Some(sub) => Ok(format!("jwt:{sub}")),
        None => principals::take_for_current_role(),
    }
}

/// The user that a call is booked to where none is named.
pub fn current_user_id() -> Option<String> {
    if is_jwt_session() { jwt_subject() } else { Some(identity::current_role()) }
}

/// The caller of a paid function, who must have the level `caller`. `user` is what the argument
/// "user" says: another than the token's subject is for the level `service` only.
pub fn identify(user: Option<String>) -> Result<Caller, Error> {
    access::require(Level::Caller)?;
    let role_name = identity::current_role();
    let user = user.filter(|user| !user.is_empty());
    let user_id = match (current_user_id(), user) {
        (own, None) => own.unwrap_or_else(|| role_name.clone()),
        (own, Some(user)) => {
            let other = is_jwt_session() && own.as_ref() != Some(&user);
            if other && !access::has_level(Level::Service)? {
                return Err(Error::OtherUser);
            }
            user
        }
    };
    Ok(Caller { user_id, role_name })
}
