//! Some answers repeat the key that was sent: it goes no further than the gateway.

use memchr::memmem;
use secrecy::{ExposeSecret, SecretSlice};

/// Puts asterisks in place of the key of an `Authorization` header, wherever it stands in `body`.
pub fn blot_out(body: &mut [u8], authorization: &SecretSlice<u8>) {
    let authorization = authorization.expose_secret();
    let key = authorization.strip_prefix(b"Bearer ").unwrap_or(authorization);
    let mut from = 0;
    while let Some(at) = memmem::find(&body[from..], key) {
        body[from + at..from + at + key.len()].fill(b'*');
        from += at + key.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_blotted_out_wherever_it_stands() {
        let key = SecretSlice::from(b"Bearer sk-or-v1-abc".to_vec());
        for (body, left) in [
            ("no key \"sk-or-v1-abd\"", "no key \"sk-or-v1-abd\""),
            (
                "sk-or-v1-abc, Bearer sk-or-v1-abcsk-or-v1-abc",
                "************, Bearer ************************",
            ),
            ("", ""),
        ] {
            let mut body = body.as_bytes().to_vec();
            blot_out(&mut body, &key);
            assert_eq!(String::from_utf8_lossy(&body), left);
        }
    }
}
