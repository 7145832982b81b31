//! The stored keys. The only owner of `hiems_private.api_keys` and `hiems_private.installation`.
//!
//! A backend has the gateway seal a key, and stores what comes back in its own transaction. Only the
//! gateway opens them.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::spi::SpiResult;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::gateway::{
    self,
    protocol::{KeySource, SealRequest, SealedKey, StoredKey},
};
use crate::pg::spi::{self, Row};
use crate::pg::{identity, lock};
use crate::vault::key_source;

/// What a key is for: OpenRouter's management keys can read activity, and cannot call models.
const KINDS: [&str; 2] = ["inference", "management"];

// One at a time: the version is part of what the ciphertext is bound to.
const LOCK: &str = "LOCK TABLE hiems_private.api_keys IN SHARE ROW EXCLUSIVE MODE";
const INSTALL: &str = "
    INSERT INTO hiems_private.installation (id) VALUES (gen_random_uuid()) ON CONFLICT DO NOTHING";
const NEXT_VERSION: &str = "
    SELECT i.id::text, coalesce(k.version, 0) + 1,
           NOT EXISTS (SELECT FROM hiems_private.api_keys AS other WHERE other.name <> $1)
    FROM hiems_private.installation AS i LEFT JOIN hiems_private.api_keys AS k ON k.name = $1";
const STORE: &str = "
    INSERT INTO hiems_private.api_keys
        (name, kind, version, nonce, ciphertext, fingerprint, master_key, database_oid)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
    ON CONFLICT (name) DO UPDATE
    SET kind = excluded.kind, version = excluded.version, nonce = excluded.nonce,
        ciphertext = excluded.ciphertext, fingerprint = excluded.fingerprint,
        master_key = excluded.master_key, database_oid = excluded.database_oid, stored_at = now(), stored_by = session_user,
        sealed_at = now()";
const DROP: &str = "DELETE FROM hiems_private.api_keys WHERE name = $1 RETURNING true";
const READ_INFERENCE: &str = "
    SELECT i.id::text, k.name, k.version, k.nonce, k.ciphertext, k.master_key, k.kind, k.database_oid
    FROM hiems_private.installation AS i, hiems_private.api_keys AS k
    WHERE k.name = $1 AND k.kind = 'inference'";
const READ: &str = "
    SELECT i.id::text, k.name, k.version, k.nonce, k.ciphertext, k.master_key, k.kind, k.database_oid
    FROM hiems_private.installation AS i, hiems_private.api_keys AS k
    WHERE k.name = $1";
const READ_ALL: &str = "
    SELECT i.id::text, k.name, k.version, k.nonce, k.ciphertext, k.master_key, k.kind, k.database_oid
    FROM hiems_private.installation AS i, hiems_private.api_keys AS k
    ORDER BY k.name";
const RESEAL: &str = "
    UPDATE hiems_private.api_keys
    SET nonce = $2, ciphertext = $3, master_key = $4, database_oid = $5, sealed_at = now()
    WHERE name = $1";
const LIST: &str = "
    SELECT name, kind, fingerprint, version, stored_at, stored_by, master_key, sealed_at
    FROM hiems_private.api_keys
    ORDER BY name";

/// Stores a key under a name; one of that name is replaced. `key` is empty where `source` is not the
/// caller.
pub fn store(
    key: Zeroizing<String>,
    source: KeySource,
    name: &str,
    kind: &str,
) -> Result<(), Error> {
    let bad = |message: &str, detail: &str, hint: &str| Error::InvalidArgument {
        message: message.to_owned(),
        detail: detail.to_owned(),
        hint: hint.to_owned(),
    };
    // Nothing of the key may stand in an error.
    if matches!(source, KeySource::Caller) && !key_source::is_usable(&key) {
        let hint = "OpenRouter shows a key once, when it is made.";
        return Err(bad("the key cannot be used", key_source::RULE, hint));
    }
    if name.is_empty() || name.len() > 63 || name.chars().any(char::is_control) {
        let rule = "A name has 1 to 63 bytes, and no control characters.";
        return Err(bad("the key's name cannot be used", rule, ""));
    }
    if !KINDS.contains(&kind) {
        return Err(bad(
            "unknown kind of key",
            &format!("\"{kind}\" is not a kind."),
            "The kinds are inference and management.",
        ));
    }
    spi::execute(LOCK, &[])?;
    spi::execute(INSTALL, &[])?;
    let next = spi::query(NEXT_VERSION, &[name.into()], |row| {
        Ok((row.get::<String>(1)?, row.get::<i32>(2)?, row.get::<bool>(3)?))
    })?;
    let Some((Some(installation), Some(version), Some(is_only_key))) = next.into_iter().next()
    else {
        return Err(Error::Internal("hiems_private.installation is empty".to_owned()));
    };
    let request = SealRequest { name: name.to_owned(), version, installation, is_only_key, source };
    let (sealed, fingerprint) = gateway::seal(request, key)?;
    let SealedKey { nonce, ciphertext, master_key } = sealed;
    let arguments = [
        name.into(),
        kind.into(),
        version.into(),
        nonce.into(),
        ciphertext.into(),
        fingerprint.into(),
        master_key.into(),
        own_database().into(),
    ];
    Ok(spi::execute(STORE, &arguments)?)
}

/// Forgets a key. Calls that are under way with it are not stopped.
pub fn drop(name: &str) -> Result<(), Error> {
    let dropped = spi::query(DROP, &[name.into()], |_| Ok(()))?;
    if dropped.is_empty() {
        return Err(Error::NoSuchKey(name.to_owned()));
    }
    Ok(())
}

/// Seals every key anew, with a new master key. Gives how many there are.
pub fn reseal_all() -> Result<usize, Error> {
    // Nobody stores a key meanwhile that an older master key sealed.
    spi::execute(LOCK, &[])?;
    let stored: Vec<StoredKey> =
        spi::query(READ_ALL, &[], stored_key)?.into_iter().flatten().map(|(key, _)| key).collect();
    if stored.is_empty() {
        return Ok(0);
    }
    write_sealed(&stored, gateway::reseal(stored.clone())?)?;
    Ok(stored.len())
}

/// Seals for this database the keys that were stored in another. Gives how many they were.
pub fn adopt_all() -> Result<usize, Error> {
    spi::execute(LOCK, &[])?;
    let all = spi::query(READ_ALL, &[], stored_key)?.into_iter().flatten().map(|(key, _)| key);
    let stored: Vec<StoredKey> =
        all.filter(|key| key.database != identity::database_oid()).collect();
    if stored.is_empty() {
        return Ok(0);
    }
    write_sealed(&stored, gateway::adopt(stored.clone())?)?;
    Ok(stored.len())
}

fn write_sealed(stored: &[StoredKey], sealed: Vec<SealedKey>) -> SpiResult<()> {
    for (key, sealed) in stored.iter().zip(sealed) {
        let SealedKey { nonce, ciphertext, master_key } = sealed;
        let arguments = [
            key.name.as_str().into(),
            nonce.into(),
            ciphertext.into(),
            master_key.into(),
            own_database().into(),
        ];
        spi::execute(RESEAL, &arguments)?;
    }
    Ok(())
}

fn own_database() -> i64 {
    i64::from(identity::database_oid())
}

/// Every key.
pub fn read_all() -> SpiResult<Vec<StoredKey>> {
    let rows = spi::read(READ_ALL, &[], stored_key)?;
    Ok(rows.into_iter().flatten().map(|(key, _)| key).collect())
}

/// True once this transaction may read the keys: nobody's lock is in the way.
pub fn try_lock() -> bool {
    lock::try_lock_for_reading(c"hiems_private", c"api_keys")
}

/// The inference key of that name.
pub fn read_inference(name: &str) -> SpiResult<Option<StoredKey>> {
    let rows = spi::read(READ_INFERENCE, &[name.into()], stored_key)?;
    Ok(rows.into_iter().flatten().next().map(|(key, _)| key))
}

/// The key of that name, and its kind.
pub fn find(name: &str) -> Result<(StoredKey, String), Error> {
    let rows = spi::read(READ, &[name.into()], stored_key)?;
    rows.into_iter().flatten().next().ok_or_else(|| Error::NoSuchKey(name.to_owned()))
}

/// A row of [`READ`] and its like; None where it holds a NULL, which no constraint lets in.
fn stored_key(row: Row) -> SpiResult<Option<(StoredKey, String)>> {
    let (installation, name) = (row.get::<String>(1)?, row.get::<String>(2)?);
    let (version, nonce) = (row.get::<i32>(3)?, row.get::<Vec<u8>>(4)?);
    let (ciphertext, master_key) = (row.get::<Vec<u8>>(5)?, row.get::<String>(6)?);
    let (kind, database) = (row.get::<String>(7)?, row.get::<i64>(8)?);
    Ok((|| {
        let sealed = SealedKey { nonce: nonce?, ciphertext: ciphertext?, master_key: master_key? };
        let (installation, name, version) = (installation?, name?, version?);
        let database = u32::try_from(database?).ok()?;
        Some((StoredKey { installation, database, name, version, sealed }, kind?))
    })())
}

/// What may be known of a stored key.
pub struct Listed {
    pub name: Option<String>,
    pub kind: Option<String>,
    pub fingerprint: Option<String>,
    pub version: Option<i32>,
    pub stored_at: Option<TimestampWithTimeZone>,
    pub stored_by: Option<String>,
    pub master_key: Option<String>,
    pub sealed_at: Option<TimestampWithTimeZone>,
}

/// Every key, by name.
pub fn list() -> Result<Vec<Listed>, Error> {
    Ok(spi::read(LIST, &[], |row| {
        Ok(Listed {
            name: row.get(1)?,
            kind: row.get(2)?,
            fingerprint: row.get(3)?,
            version: row.get(4)?,
            stored_at: row.get(5)?,
            stored_by: row.get(6)?,
            master_key: row.get(7)?,
            sealed_at: row.get(8)?,
        })
    })?)
}
