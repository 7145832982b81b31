//! What a call needs before it may be sent: a key. Opens and seals the keys, on the main thread.

use std::collections::HashMap;

use pgrx::spi::SpiResult;
use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::events::KeyEvent;
use crate::gateway::protocol::{Files, Reply, SealRequest, SealedKey, StoredKey};
use crate::keys;
use crate::openrouter::failure::{Failure, FailureKind};
use crate::pg::identity;
use crate::vault::master_key::{MasterKeyFile, MasterKeys, WillNotOpen};
use crate::vault::seal::{Binding, MasterKey, Sealed};

/// The keys that are open. The master keys are not among them: they are read when a key is opened.
pub struct Keyring {
    /// By name, with the nonce of the row that it was opened from.
    open: HashMap<String, (Vec<u8>, HeaderValue)>,
    master_keys: MasterKeyFile,
    /// The OID of this database.
    database: u32,
}

impl Keyring {
    pub fn new(master_key_file: Option<String>) -> Keyring {
        let user = identity::server_user();
        let master_keys = MasterKeyFile::new(master_key_file.as_deref(), user);
        Keyring { open: HashMap::new(), master_keys, database: identity::database_oid() }
    }

    /// The `Authorization` header of the key stored under `name` as this transaction sees it.
    pub fn authorization(&mut self, name: &str) -> SpiResult<Result<HeaderValue, Failure>> {
        if !keys::try_lock() {
            // As it was when it was looked at last.
            return Ok(match self.open.get(name) {
                Some((_, header)) => Ok(header.clone()),
                None => Err(Failure::new(FailureKind::Unavailable, "the stored keys are locked")
                    .detail("somebody holds a lock on hiems_private.api_keys")
                    .hint("Try again when it is gone; pg_locks shows who holds it.")),
            });
        }
        let Some(stored) = keys::read_inference(name)? else {
            self.open.remove(name);
            return Ok(Err(Failure::new(FailureKind::KeyMissing, "no OpenRouter key is stored")
                .detail(format!("there is no inference key named \"{name}\""))
                .hint("Store it with hiems.set_api_key(key, name), or see hiems.api_key_name.")));
        };
        if let Some((nonce, header)) = self.open.get(name)
            && *nonce == stored.sealed.nonce
        {
            return Ok(Ok(header.clone()));
        }
        let opened = self.header(&stored);
        if let Ok(header) = &opened {
            self.open.insert(name.to_owned(), (stored.sealed.nonce, header.clone()));
        }
        Ok(opened)
    }

    /// Why one of these keys cannot be opened; None where all can. Whose they are is another question.
    pub fn problem(&self, keys: &[StoredKey]) -> Option<String> {
        let failed = keys.iter().find_map(|key| {
            let master_keys = self.master_keys.read().map_err(|why| cannot_open(key, why));
            master_keys.and_then(|master_keys| open(&master_keys, key)).err()
        })?;
        Some(failed.detail.unwrap_or(failed.message))
    }

    /// Does what a backend asks of the keys. None of it needs a transaction.
    pub fn serve(&self, event: KeyEvent) {
        // A backend that no longer waits needs no answer.
        match event {
            KeyEvent::Seal { request, key, done } => {
                let _ = done.send(self.seal(&request, &key));
            }
            KeyEvent::Open { key, done } => {
                let _ = done.send(self.header(&key));
            }
            KeyEvent::Reseal { keys, adopts, done } => {
                let sealed = if adopts { self.adopt(&keys) } else { self.reseal(&keys) };
                let _ = done.send(sealed);
            }
        }
    }

    fn header(&self, stored: &StoredKey) -> Result<HeaderValue, Failure> {
        let master_keys = self.master_keys.read().map_err(|why| cannot_open(stored, why))?;
        let key = self.open_own(&master_keys, stored)?;
        let bearer = Zeroizing::new(format!("Bearer {}", key.expose_secret()));
        let mut header = HeaderValue::from_str(&bearer).map_err(|_| {
            cannot_open(stored, "It has characters that no header takes.".to_owned())
        })?;
        header.set_sensitive(true);
        Ok(header)
    }

    /// Makes the master key first where it is hiems's own and there is none.
    fn seal(&self, request: &SealRequest, key: &SecretString) -> Result<Reply, Failure> {
        let SealRequest { name, version, installation, is_only_key, .. } = request;
        let master_keys = match is_only_key {
            true => self.master_keys.read_or_create(),
            false => self.master_keys.read(),
        };
        let (database, version) = (self.database, *version);
        let binding = Binding { installation, database, name, version };
        let key_sealed = seal(master_keys.map_err(cannot_seal)?.newest(), key, &binding)?;
        // Enough to tell keys apart: the start of the SHA-256 that OpenRouter itself lists keys by.
        let digest = Sha256::digest(key.expose_secret().as_bytes());
        let fingerprint = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Ok(Reply::Sealed { key: key_sealed, fingerprint })
    }

    /// All keys are opened before a new master key is made, and that is durable before any is sealed
    /// with it. The older master keys stay in the file: until the caller's commit the rows need them,
    /// and after its rollback, too.
    fn reseal(&self, stored: &[StoredKey]) -> Result<Reply, Failure> {
        let master_keys = self.master_keys.read().map_err(cannot_seal)?;
        let opened = stored
            .iter()
            .map(|key| self.open_own(&master_keys, key))
            .collect::<Result<Vec<_>, Failure>>()?;
        let master_keys = if self.master_keys.is_own() {
            self.master_keys.add_new(&Files::master_key_lock()).map_err(cannot_seal)?
        } else {
            let newest = master_keys.newest().id();
            if stored.iter().all(|key| key.sealed.master_key == newest) {
                return Ok(Reply::NoNewMasterKey);
            }
            master_keys
        };
        self.seal_all(&master_keys, stored, &opened)
    }

    /// With the master key that there is: who restores a database brings one, and rotates when it likes.
    fn adopt(&self, stored: &[StoredKey]) -> Result<Reply, Failure> {
        let master_keys = self.master_keys.read().map_err(cannot_seal)?;
        let opened = stored
            .iter()
            .map(|key| open(&master_keys, key))
            .collect::<Result<Vec<_>, Failure>>()?;
        self.seal_all(&master_keys, stored, &opened)
    }

    fn seal_all(
        &self,
        master_keys: &MasterKeys,
        stored: &[StoredKey],
        opened: &[SecretString],
    ) -> Result<Reply, Failure> {
        let sealed = stored.iter().zip(opened).map(|(row, key)| {
            let binding = Binding { database: self.database, ..binding(row) };
            seal(master_keys.newest(), key, &binding)
        });
        Ok(Reply::Resealed(sealed.collect::<Result<_, Failure>>()?))
    }

    /// Of a copy of a database, or of one that was restored, nobody but a superuser says whose money it may spend.
    fn open_own(
        &self,
        master_keys: &MasterKeys,
        stored: &StoredKey,
    ) -> Result<SecretString, Failure> {
        let key = open(master_keys, stored)?;
        if stored.database == self.database {
            return Ok(key);
        }
        Err(Failure::new(FailureKind::KeyMissing, "the stored OpenRouter key is another database's")
            .detail(format!(
                "Key \"{}\" was stored in the database with the OID {}, and this one has {}: it is a copy, or \
                 was restored from a dump.",
                stored.name, stored.database, self.database
            ))
            .hint(
                "A superuser who means it says SELECT hiems.adopt_api_keys(); or store the key again with \
                 hiems.set_api_key().",
            ))
    }
}

fn binding(stored: &StoredKey) -> Binding<'_> {
    let StoredKey { installation, database, name, version, .. } = stored;
    Binding { installation, database: *database, name, version: *version }
}

fn open(master_keys: &MasterKeys, stored: &StoredKey) -> Result<SecretString, Failure> {
    let SealedKey { nonce, ciphertext, master_key } = stored.sealed.clone();
    let sealed = Sealed { nonce, ciphertext };
    master_keys.open(&master_key, &sealed, &binding(stored)).map_err(|why| {
        let why = match why {
            WillNotOpen::OtherMasterKey => format!(
                "It was sealed with another master key than the file holds: with {master_key}."
            ),
            WillNotOpen::Changed => {
                format!("Its master key {master_key} is there, but the row was changed.")
            }
        };
        cannot_open(stored, why)
    })
}

fn seal(master: &MasterKey, key: &SecretString, binding: &Binding) -> Result<SealedKey, Failure> {
    let sealed =
        master.seal(key, binding).map_err(|_| cannot_seal("AES-256-GCM failed.".to_owned()))?;
    let Sealed { nonce, ciphertext } = sealed;
    Ok(SealedKey { nonce, ciphertext, master_key: master.id() })
}

fn cannot_open(stored: &StoredKey, why: String) -> Failure {
    Failure::new(FailureKind::KeyMissing, "the stored OpenRouter key cannot be opened")
        .detail(format!("Key \"{}\": {why}", stored.name))
        .hint("Put the right master key back, or store the key again with hiems.set_api_key().")
}

fn cannot_seal(why: String) -> Failure {
    Failure::new(FailureKind::KeyMissing, "the key cannot be sealed")
        .detail(why)
        .hint("Mend the master key file; a superuser sets hiems.master_key_file.")
}
