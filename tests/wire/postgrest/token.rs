//! Tokens as Supabase's auth makes them: HS256 over the project's secret.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// What PostgREST checks tokens with.
pub const SECRET: &str = "a secret of the tests, of more than 32 octets";

/// What a user of the site has been given, valid for an hour.
pub fn claims(role: &str, sub: &str) -> Value {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("a clock").as_secs();
    json!({"role": role, "sub": sub, "aud": "authenticated", "iat": now, "exp": now + 3600})
}

/// The token of these claims.
pub fn token(claims: &Value) -> String {
    signed_with(SECRET, claims)
}

/// The token of these claims, signed with this secret.
pub fn signed_with(secret: &str, claims: &Value) -> String {
    let head = json!({"alg": "HS256", "typ": "JWT"}).to_string();
    let signed = format!("{}.{}", base64(head.as_bytes()), base64(claims.to_string().as_bytes()));
    let signature = hmac(secret.as_bytes(), signed.as_bytes());
    format!("{signed}.{}", base64(&signature))
}

/// A token that says it needs no signature.
pub fn unsigned(claims: &Value) -> String {
    let head = json!({"alg": "none", "typ": "JWT"}).to_string();
    format!("{}.{}.", base64(head.as_bytes()), base64(claims.to_string().as_bytes()))
}

/// RFC 2104, for keys of at most a block.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let pad = |with: u8| {
        let mut block = [with; 64];
        block.iter_mut().zip(key).for_each(|(octet, key)| *octet ^= key);
        block
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().to_vec()
}

/// base64url without padding.
fn base64(octets: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for three in octets.chunks(3) {
        let bits = three.iter().fold(0_u32, |bits, octet| bits << 8 | u32::from(*octet));
        let bits = bits << (8 * (3 - three.len()));
        for i in 0..=three.len() {
            text.push(char::from(DIGITS[(bits >> (18 - 6 * i) & 63) as usize]));
        }
    }
    text
}
