//! The stored keys. The only owner of `hiems_private.api_keys` and `hiems_private.installation`.
//!
//! A backend hands a new key to the gateway, which seals it, and stores what comes back in its own
//! transaction. Only the gateway reads the rows to open them.

use pgrx::spi::SpiResult;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::gateway::{self, protocol::SealRequest};
use crate::pg::spi;
use crate::vault::seal::Sealed;

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
    INSERT INTO hiems_private.api_keys (name, kind, version, nonce, ciphertext, fingerprint)
    VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (name) DO UPDATE
    SET kind = excluded.kind, version = excluded.version, nonce = excluded.nonce,
        ciphertext = excluded.ciphertext, fingerprint = excluded.fingerprint,
        stored_at = now(), stored_by = session_user";
const DROP: &str = "DELETE FROM hiems_private.api_keys WHERE name = $1 RETURNING true";
const READ: &str = "
    SELECT i.id::text, k.version, k.nonce, k.ciphertext
    FROM hiems_private.installation AS i, hiems_private.api_keys AS k
    WHERE k.name = $1 AND k.kind = 'inference'";

/// Stores a key under a name; one of that name is replaced.
pub fn store(key: Zeroizing<String>, name: &str, kind: &str) -> Result<(), Error> {
    let bad = |message: &str, detail: &str, hint: &str| Error::InvalidArgument {
        message: message.to_owned(),
        detail: detail.to_owned(),
        hint: hint.to_owned(),
    };
    // Nothing of the key may stand in an error.
    if key.len() < 8 || key.len() > 1_000 || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(bad(
            "the key cannot be used",
            "A key is 8 to 1,000 visible ASCII characters without spaces.",
            "OpenRouter shows a key once, when it is made.",
        ));
    }
    if name.is_empty() || name.len() > 63 || name.chars().any(char::is_control) {
        return Err(bad("the key's name cannot be used", "A name has 1 to 63 bytes.", ""));
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
    let request = SealRequest { name: name.to_owned(), version, installation, is_only_key };
    let sealed = gateway::seal(&request, key)?;
    let arguments = [
        name.into(),
        kind.into(),
        version.into(),
        sealed.nonce.into(),
        sealed.ciphertext.into(),
        sealed.fingerprint.into(),
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

/// A stored key, as the gateway reads it.
pub struct StoredKey {
    pub installation: String,
    pub version: i32,
    pub sealed: Sealed,
}

/// The inference key of that name.
pub fn read(name: &str) -> SpiResult<Option<StoredKey>> {
    let rows = spi::read(READ, &[name.into()], |row| {
        let installation = row.get::<String>(1)?;
        let version = row.get::<i32>(2)?;
        let nonce = row.get::<Vec<u8>>(3)?;
        let ciphertext = row.get::<Vec<u8>>(4)?;
        Ok((installation, version, nonce, ciphertext))
    })?;
    Ok(rows.into_iter().find_map(|(installation, version, nonce, ciphertext)| {
        let sealed = Sealed { nonce: nonce?, ciphertext: ciphertext? };
        Some(StoredKey { installation: installation?, version: version?, sealed })
    }))
}
