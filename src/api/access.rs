//! Who the caller is, and what it may do.

use pgrx::prelude::*;

use crate::access::{self, GranteeKind, Level};
use crate::caller;
use crate::error::{Error, or_raise};
use crate::supabase;

/// Who owns what this session books: `jwt:<sub>` or `role:<name>`. Never raises of its own; NULL where a token's
/// session has no subject.
#[pg_extern(schema = "hiems", stable, parallel_safe)]
pub fn current_principal() -> Option<String> {
    or_raise(caller::current_principal())
}

/// The user whom this session's calls are booked to where none is named. Never raises.
#[pg_extern(schema = "hiems", stable, parallel_safe)]
fn current_user_id() -> Option<String> {
    caller::current_user_id()
}

/// True if the caller has the level. Raises 22023 on an unknown one.
///
/// Row-level security asks it, so it stands where whoever may reach the ledger may reach it too: an
/// error inside a policy would stop Supabase Realtime for everybody.
#[pg_extern(schema = "hiems", stable, parallel_restricted)]
pub fn has_level(level: Option<String>) -> bool {
    or_raise(has(level))
}

/// Gives a level to a database role, and the privileges that it needs. Raises 42501 without the level
/// admin, 22023 on an unknown role or level.
#[pg_extern(schema = "hiems", volatile, parallel_unsafe)]
fn grant_access(role: Option<String>, level: Option<String>) {
    or_raise(grant(GranteeKind::Role, role, level));
}

/// Gives a level to one token's user (its claim `sub`). Raises as grant_access.
#[pg_extern(schema = "hiems", volatile, parallel_unsafe)]
fn grant_user_access(user_id: Option<String>, level: Option<String>) {
    or_raise(grant(GranteeKind::User, user_id, level));
}

/// Takes a level (NULL: every level) from a role or a token's user. True if it had one. Raises 42501
/// without the level admin.
#[pg_extern(schema = "hiems", volatile, parallel_unsafe)]
fn revoke_access(grantee: Option<String>, level: default!(Option<String>, "NULL")) -> bool {
    or_raise(revoke(grantee, level))
}

// The text goes before anything is raised, which would leave it behind.
fn has(level: Option<String>) -> Result<bool, Error> {
    access::has_level(Level::parse(&level.unwrap_or_default())?)
}

fn grant(kind: GranteeKind, grantee: Option<String>, level: Option<String>) -> Result<(), Error> {
    access::require_to_change(Level::Admin)?;
    let level = Level::parse(&level.unwrap_or_default())?;
    access::grant(kind, &grantee.unwrap_or_default(), level)?;
    supabase::follow_levels()
}

fn revoke(grantee: Option<String>, level: Option<String>) -> Result<bool, Error> {
    access::require_to_change(Level::Admin)?;
    let level = level.map(|level| Level::parse(&level)).transpose()?;
    let had = access::revoke(&grantee.unwrap_or_default(), level)?;
    supabase::follow_levels()?;
    Ok(had)
}
