//! Storing, listing and dropping keys, and changing the master key.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::iter::TableIterator;
use pgrx::prelude::*;
use zeroize::Zeroizing;

use crate::access::{self, Level};
use crate::error::{Error, or_raise};
use crate::gateway::protocol::KeySource;
use crate::keys;
use crate::pg::{identity, session};
use crate::vault::key_source;

/// Seals an OpenRouter key and stores it under a name, in the caller's transaction. `kind` is
/// 'inference' or 'management'. Raises 42501 without the level admin, 22023 on a key, name or kind
/// that cannot be used, PT503 where the master key cannot be read.
#[pg_extern(schema = "hiems", volatile, parallel_unsafe)]
fn set_api_key(
    key: Option<String>,
    name: default!(Option<String>, "'default'"),
    kind: default!(Option<String>, "'inference'"),
) {
    // The statement may hold the key.
    session::show_instead_of_statement(c"SELECT hiems.set_api_key(...)");
    or_raise(set(key, name, kind));
}

/// As set_api_key, with the key in a file of the server, which the gateway reads. Raises 42501 also
/// where the role may not read files of the server.
#[pg_extern(schema = "hiems", volatile, parallel_unsafe)]
fn set_api_key_from_file(
    path: Option<String>,
    name: default!(Option<String>, "'default'"),
    kind: default!(Option<String>, "'inference'"),
) {
    or_raise(set_from_file(path, name, kind));
}

/// As set_api_key, with the key in a variable of the server's environment. Raises 42501 also where the
/// role is no superuser, 22023 on a variable that does not begin with HIEMS_ or OPENROUTER_.
#[pg_extern(schema = "hiems", volatile, parallel_unsafe)]
fn set_api_key_from_environment(
    variable: default!(Option<String>, "'OPENROUTER_API_KEY'"),
    name: default!(Option<String>, "'default'"),
    kind: default!(Option<String>, "'inference'"),
) {
    or_raise(set_from_environment(variable, name, kind));
}

/// Forgets a key. Raises 42501 without the level admin, PT404 where there is none of that name.
#[pg_extern(schema = "hiems", volatile, parallel_unsafe)]
fn drop_api_key(name: default!(Option<String>, "'default'")) {
    or_raise(forget(name));
}

/// Seals every key of this database with a new master key; gives how many. Raises 42501 without the
/// level admin, 55000 where an operator makes the master keys and has put no new one into the file,
/// PT503 where the file or a key cannot be used.
#[pg_extern(schema = "hiems", volatile, parallel_unsafe)]
fn rotate_master_key() -> i64 {
    or_raise(rotate())
}

/// Has the keys of this database used that were stored in another: that it is a copy of, or whose dump it was restored
/// from. Gives how many they are. Raises 42501 where the role is no superuser, PT503 where the master key that sealed
/// one is not in the file.
#[pg_extern(schema = "hiems", volatile, parallel_unsafe)]
fn adopt_api_keys() -> i64 {
    or_raise(adopt())
}

/// What may be known of the stored keys; no rows without the level admin, as with row-level security.
#[pg_extern(schema = "hiems", stable, parallel_restricted)]
#[allow(clippy::type_complexity)] // the SQL signature
pub fn list_api_keys() -> TableIterator<
    'static,
    (
        name!(name, Option<String>),
        name!(kind, Option<String>),
        name!(fingerprint, Option<String>),
        name!(version, Option<i32>),
        name!(stored_at, Option<TimestampWithTimeZone>),
        name!(stored_by, Option<String>),
        name!(master_key, Option<String>),
        name!(sealed_at, Option<TimestampWithTimeZone>),
    ),
> {
    let rows = or_raise(list());
    TableIterator::new(rows.into_iter().map(|key| {
        (
            key.name,
            key.kind,
            key.fingerprint,
            key.version,
            key.stored_at,
            key.stored_by,
            key.master_key,
            key.sealed_at,
        )
    }))
}

fn set(key: Option<String>, name: Option<String>, kind: Option<String>) -> Result<(), Error> {
    let key = Zeroizing::new(key.unwrap_or_default());
    store(key, KeySource::Caller, name, kind)
}

fn set_from_file(
    path: Option<String>,
    name: Option<String>,
    kind: Option<String>,
) -> Result<(), Error> {
    access::require_to_change(Level::Admin)?;
    if !identity::has_privileges_of(c"pg_read_server_files") {
        return Err(Error::MissingPrivilege("a superuser, or the role pg_read_server_files"));
    }
    let path = std::path::PathBuf::from(path.unwrap_or_default());
    if !path.is_absolute() {
        return Err(Error::InvalidArgument {
            message: "the path cannot be used".to_owned(),
            detail: "It does not begin with a slash.".to_owned(),
            hint: "Name a file of the server.".to_owned(),
        });
    }
    store(Zeroizing::default(), KeySource::File(path), name, kind)
}

fn set_from_environment(
    variable: Option<String>,
    name: Option<String>,
    kind: Option<String>,
) -> Result<(), Error> {
    access::require_to_change(Level::Admin)?;
    if !identity::is_superuser() {
        return Err(Error::MissingPrivilege("a superuser"));
    }
    let variable = variable.unwrap_or_else(|| "OPENROUTER_API_KEY".to_owned());
    if !key_source::is_open_variable(&variable) {
        return Err(Error::InvalidArgument {
            message: "the variable cannot be used".to_owned(),
            detail: format!("\"{variable}\" does not begin with HIEMS_ or OPENROUTER_."),
            hint: "Set the key under such a name in the environment of the server.".to_owned(),
        });
    }
    store(Zeroizing::default(), KeySource::Environment(variable), name, kind)
}

fn store(
    key: Zeroizing<String>,
    source: KeySource,
    name: Option<String>,
    kind: Option<String>,
) -> Result<(), Error> {
    access::require_to_change(Level::Admin)?;
    let name = name.unwrap_or_else(|| "default".to_owned());
    let kind = kind.unwrap_or_else(|| "inference".to_owned());
    keys::store(key, source, &name, &kind)
}

fn forget(name: Option<String>) -> Result<(), Error> {
    access::require_to_change(Level::Admin)?;
    keys::drop(&name.unwrap_or_else(|| "default".to_owned()))
}

fn rotate() -> Result<i64, Error> {
    access::require_to_change(Level::Admin)?;
    Ok(i64::try_from(keys::reseal_all()?).unwrap_or(i64::MAX))
}

fn adopt() -> Result<i64, Error> {
    access::require_to_change(Level::Admin)?;
    if !identity::is_superuser() {
        return Err(Error::MissingPrivilege("a superuser"));
    }
    Ok(i64::try_from(keys::adopt_all()?).unwrap_or(i64::MAX))
}

fn list() -> Result<Vec<keys::Listed>, Error> {
    match access::has_level(Level::Admin)? {
        true => keys::list(),
        false => Ok(Vec::new()),
    }
}
