//! What a call needs before it may be sent: a place, and a key. Opens and seals the keys.

use std::collections::HashMap;

use pgrx::spi::SpiResult;
use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::gateway::protocol::{SealRequest, SealedKey};
use crate::keys::{self, StoredKey};
use crate::openrouter::failure::{Failure, FailureKind};
use crate::vault::master_key;
use crate::vault::seal::Binding;

/// The keys that are open. The master key is not among them: it is read when a key is opened.
#[derive(Default)]
pub struct Keyring {
    /// By name, with the nonce of the row that it was opened from.
    open: HashMap<String, (Vec<u8>, HeaderValue)>,
    master_key_file: Option<String>,
}

impl Keyring {
    pub fn new(master_key_file: Option<String>) -> Keyring {
        Keyring { open: HashMap::new(), master_key_file }
    }

    /// The `Authorization` header of the key stored under `name` as this transaction sees it.
    pub fn authorization(&mut self, name: &str) -> SpiResult<Result<HeaderValue, Failure>> {
        let Some(stored) = keys::read(name)? else {
            self.open.remove(name);
            return Ok(Err(Failure::new(FailureKind::KeyMissing, "no OpenRouter key is stored")
                .detail(format!("there is no inference key named \"{name}\""))
                .hint("Store one: SELECT hiems.set_api_key('sk-or-...').")));
        };
        if let Some((nonce, header)) = self.open.get(name)
            && *nonce == stored.sealed.nonce
        {
            return Ok(Ok(header.clone()));
        }
        Ok(self.open_key(name, stored))
    }

    fn open_key(&mut self, name: &str, stored: StoredKey) -> Result<HeaderValue, Failure> {
        let failure = |detail: String| {
            Failure::new(
                FailureKind::KeyMissing,
                "the stored OpenRouter key cannot be opened",
            )
            .detail(detail)
            .hint("Put the right master key back, or store the key again with hiems.set_api_key().")
        };
        let path = master_key::path(self.master_key_file.as_deref());
        let master = master_key::read(&path).map_err(failure)?;
        let binding = Binding { installation: &stored.installation, name, version: stored.version };
        let key = master.open(&stored.sealed, &binding).map_err(|_| {
            failure("It was sealed with another master key, or the row was changed.".to_owned())
        })?;
        let bearer = Zeroizing::new(format!("Bearer {}", key.expose_secret()));
        let mut header = HeaderValue::from_str(&bearer)
            .map_err(|_| failure("It has characters that no header takes.".to_owned()))?;
        header.set_sensitive(true);
        self.open.insert(name.to_owned(), (stored.sealed.nonce, header.clone()));
        Ok(header)
    }

    /// Seals a key; makes the master key first where it is hiems's own and there is none.
    pub fn seal(&self, request: &SealRequest, key: &SecretString) -> Result<SealedKey, Failure> {
        let failure = |detail: String| {
            Failure::new(FailureKind::KeyMissing, "the key cannot be sealed")
                .detail(detail)
                .hint("A superuser sets hiems.master_key_file.")
        };
        let SealRequest { name, version, installation, is_only_key } = request;
        let setting = self.master_key_file.as_deref();
        let master = if *is_only_key {
            master_key::read_or_create(setting)
        } else {
            master_key::read(&master_key::path(setting))
        };
        let master = master.map_err(failure)?;
        let binding = Binding { installation, name, version: *version };
        let sealed =
            master.seal(key, &binding).map_err(|_| failure("AES-256-GCM failed.".to_owned()))?;
        // Enough to tell keys apart: the start of the SHA-256 that OpenRouter itself lists keys by.
        let digest = Sha256::digest(key.expose_secret().as_bytes());
        let fingerprint = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Ok(SealedKey { nonce: sealed.nonce, ciphertext: sealed.ciphertext, fingerprint })
    }
}
