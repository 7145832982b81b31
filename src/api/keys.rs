//! Storing and dropping keys.

use pgrx::prelude::*;
use zeroize::Zeroizing;

use crate::access::{self, Level};
use crate::error::{Error, or_raise};
use crate::keys;

/// Seals an OpenRouter key and stores it under a name, in the caller's transaction. `kind` is
/// 'inference' or 'management'. Raises 42501 without the level admin, 22023 on a key, name or kind
/// that cannot be used, PT503 where the master key cannot be read.
#[pg_extern(schema = "hiems", volatile, parallel_unsafe)]
fn set_api_key(
    key: Option<String>,
    name: default!(Option<String>, "'default'"),
    kind: default!(Option<String>, "'inference'"),
) {
    or_raise(set(key, name, kind));
}

/// Forgets a key. Raises 42501 without the level admin, PT404 where there is none of that name.
#[pg_extern(schema = "hiems", volatile, parallel_unsafe)]
fn drop_api_key(name: default!(Option<String>, "'default'")) {
    or_raise(forget(name));
}

fn set(key: Option<String>, name: Option<String>, kind: Option<String>) -> Result<(), Error> {
    let key = Zeroizing::new(key.unwrap_or_default());
    access::require(Level::Admin)?;
    let name = name.unwrap_or_else(|| "default".to_owned());
    let kind = kind.unwrap_or_else(|| "inference".to_owned());
    keys::store(key, &name, &kind)
}

fn forget(name: Option<String>) -> Result<(), Error> {
    access::require(Level::Admin)?;
    keys::drop(&name.unwrap_or_else(|| "default".to_owned()))
}
