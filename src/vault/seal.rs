//! AES-256-GCM over a key. Pure: no pgrx here.
//!
//! A fresh nonce per seal. The associated data binds a ciphertext to its name, version, database and
//! installation, so that a row copied over another does not open, nor one that says another database than it was sealed for.

use aes_gcm::aead::{Aead, AeadCore, KeyInit, OsRng, Payload};
use aes_gcm::{Aes256Gcm, Key, Nonce};
use secrecy::{ExposeSecret, SecretBox, SecretString};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// 256 bits that seal the keys. Shows nothing, and is wiped when dropped.
pub struct MasterKey(SecretBox<[u8; 32]>);

/// What a sealed key is bound to.
pub struct Binding<'a> {
    /// An id kept with the keys, and dumped with them: the cluster's changes with pg_upgrade.
    pub installation: &'a str,
    /// The OID of the database that it is stored in.
    pub database: u32,
    pub name: &'a str,
    pub version: i32,
}

/// A sealed key.
pub struct Sealed {
    pub nonce: Vec<u8>,
    pub ciphertext: Vec<u8>,
}

/// The ciphertext does not open: another master key, another binding, or changed bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct DoesNotOpen;

const NONCE_LENGTH: usize = 12;

impl MasterKey {
    /// A new one, from the operating system's randomness.
    pub fn generate() -> MasterKey {
        let key = Zeroizing::new(<[u8; 32]>::from(Aes256Gcm::generate_key(&mut OsRng)));
        MasterKey(SecretBox::new(Box::new(*key)))
    }

    /// From 64 hexadecimal digits; white space around them is allowed. None if it is anything else.
    pub fn from_hex(text: &str) -> Option<MasterKey> {
        let text = text.trim();
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let mut key = Zeroizing::new([0_u8; 32]);
        for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(MasterKey(SecretBox::new(Box::new(*key))))
    }

    /// As 64 hexadecimal digits.
    pub fn to_hex(&self) -> Zeroizing<String> {
        let key = self.0.expose_secret();
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        // Room for all: growing would leave copies behind.
        let mut text = Zeroizing::new(String::with_capacity(64));
        for byte in key {
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        text
    }

    /// What it is told apart by, and tells nothing of it: the start of the SHA-256 of its digits.
    pub fn id(&self) -> String {
        let digest = Sha256::digest(self.to_hex().as_bytes());
        digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new(Key::<Aes256Gcm>::from_slice(self.0.expose_secret()))
    }

    /// Seals `secret`.
    pub fn seal(&self, secret: &SecretString, binding: &Binding) -> Result<Sealed, DoesNotOpen> {
        let nonce = Aes256Gcm::generate_nonce(&mut OsRng);
        let payload =
            Payload { msg: secret.expose_secret().as_bytes(), aad: &binding.associated_data() };
        let ciphertext = self.cipher().encrypt(&nonce, payload).map_err(|_| DoesNotOpen)?;
        Ok(Sealed { nonce: nonce.to_vec(), ciphertext })
    }

    /// Opens what [`MasterKey::seal`] sealed under the same binding.
    pub fn open(&self, sealed: &Sealed, binding: &Binding) -> Result<SecretString, DoesNotOpen> {
        if sealed.nonce.len() != NONCE_LENGTH {
            return Err(DoesNotOpen);
        }
        let payload = Payload { msg: &sealed.ciphertext, aad: &binding.associated_data() };
        let plain = self
            .cipher()
            .decrypt(Nonce::from_slice(&sealed.nonce), payload)
            .map(Zeroizing::new)
            .map_err(|_| DoesNotOpen)?;
        let text = std::str::from_utf8(&plain).map_err(|_| DoesNotOpen)?;
        Ok(SecretString::from(text))
    }
}

impl Binding<'_> {
    fn associated_data(&self) -> Vec<u8> {
        // The name comes last: no two bindings give the same bytes.
        let Binding { installation, database, version, name } = self;
        format!("hiems-key:2:{installation}:{database}:{version}:{name}").into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(name: &str, version: i32) -> Binding<'_> {
        Binding { installation: "0f", database: 5, name, version }
    }

    #[test]
    fn opens_only_as_it_was_sealed() -> Result<(), DoesNotOpen> {
        let key = MasterKey::generate();
        let secret = SecretString::from("sk-or-v1-abc");
        let sealed = key.seal(&secret, &binding("default", 1))?;
        let again = key.seal(&secret, &binding("default", 1))?;
        assert_ne!(sealed.nonce, again.nonce);
        assert_ne!(sealed.ciphertext, again.ciphertext);

        let open = |key: &MasterKey, sealed: &Sealed, binding: Binding| {
            key.open(sealed, &binding).map(|secret| secret.expose_secret().to_owned())
        };
        assert_eq!(open(&key, &sealed, binding("default", 1)), Ok("sk-or-v1-abc".to_owned()));
        assert_eq!(open(&key, &sealed, binding("default", 2)), Err(DoesNotOpen));
        assert_eq!(open(&key, &sealed, binding("other", 1)), Err(DoesNotOpen));
        let elsewhere = Binding { database: 6, ..binding("default", 1) };
        assert_eq!(open(&key, &sealed, elsewhere), Err(DoesNotOpen));
        assert_eq!(open(&MasterKey::generate(), &sealed, binding("default", 1)), Err(DoesNotOpen));
        let mut damaged = Sealed { nonce: sealed.nonce.clone(), ciphertext: sealed.ciphertext };
        damaged.ciphertext[0] ^= 1;
        assert_eq!(open(&key, &damaged, binding("default", 1)), Err(DoesNotOpen));
        Ok(())
    }

    #[test]
    fn hexadecimal_goes_both_ways() {
        let key = MasterKey::generate();
        let text = format!("{}\n", key.to_hex().as_str());
        let back = MasterKey::from_hex(&text).map(|key| key.to_hex().to_string());
        assert_eq!(back.as_deref(), Some(text.trim()));
        for bad in ["", "abc", &"g".repeat(64), &"é".repeat(32), &"0".repeat(65), &"+f".repeat(32)]
        {
            assert!(MasterKey::from_hex(bad).is_none(), "{bad}");
        }
    }
}
