//! Some answers repeat the key that was sent: it goes no further than the gateway.

use memchr::memchr2_iter;
use secrecy::{ExposeSecret, SecretSlice};

/// The key of an `Authorization` header, to be found in texts.
pub struct Blot(SecretSlice<u8>);

impl Blot {
    /// Of the header's value.
    pub fn of(authorization: &[u8]) -> Blot {
        Blot(SecretSlice::from(
            authorization.strip_prefix(b"Bearer ").unwrap_or(authorization).to_vec(),
        ))
    }

    /// Puts asterisks in place of the key, wherever it stands in `text`: as it is, and with any of its characters
    /// escaped as in a JSON string, also where such a string is in another one. JSON is JSON afterwards, of the same
    /// length.
    pub fn out(&self, text: &mut [u8]) {
        let key = self.0.expose_secret();
        let Some(first) = key.first() else { return };
        let mut starts = Vec::new();
        let mut from = 0;
        for at in memchr2_iter(*first, b'\\', text) {
            if at < from {
                continue;
            }
            if let Some(end) = end_of(text, at, key) {
                starts.push(start_of_escape(text, at)..end);
                from = end;
            } else {
                // Backslashes in a row are read once.
                from = behind_backslashes(text, at).max(at + 1);
            }
        }
        for found in starts {
            text[found].fill(b'*');
        }
    }

    /// As [`Blot::out`].
    pub fn text(&self, text: String) -> String {
        let mut bytes = text.into_bytes();
        self.out(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Where the key ends that begins at `at`; None: none does.
fn end_of(text: &[u8], at: usize, key: &[u8]) -> Option<usize> {
    key.iter().try_fold(at, |at, wanted| {
        let behind = behind_backslashes(text, at);
        if behind > at && code_unit(text, behind) == Some(u32::from(*wanted)) {
            return Some(behind + 5);
        }
        (text.get(behind) == Some(wanted)).then_some(behind + 1)
    })
}

/// Behind the backslashes that begin at `at`: one, or any number where strings are in strings. Behind the first, one
/// may be written as `u005c`.
fn behind_backslashes(text: &[u8], at: usize) -> usize {
    let mut behind = at;
    loop {
        if text.get(behind) == Some(&b'\\') {
            behind += 1;
        } else if behind > at && code_unit(text, behind) == Some(u32::from(b'\\')) {
            behind += 5;
        } else {
            return behind;
        }
    }
}

/// The code unit of a `uXXXX` at `at`.
fn code_unit(text: &[u8], at: usize) -> Option<u32> {
    let [b'u', digits @ ..] = text.get(at..at + 5)? else { return None };
    digits.iter().try_fold(0, |unit, digit| Some(unit * 16 + char::from(*digit).to_digit(16)?))
}

/// `at`, or where the `\uXXXX` begins that it is in the middle of: half an escape would spoil the JSON.
fn start_of_escape(text: &[u8], at: usize) -> usize {
    let earliest = at.saturating_sub(5);
    let is_escape = |start: &usize| text[*start] == b'\\' && code_unit(text, start + 1).is_some();
    let Some(mut start) = (earliest..at).find(is_escape) else { return at };
    while start > 0 && text[start - 1] == b'\\' {
        start -= 1;
    }
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(key: &str, text: &str) -> String {
        Blot::of(format!("Bearer {key}").as_bytes()).text(text.to_owned())
    }

    #[test]
    fn the_key_is_blotted_out_wherever_it_stands() {
        for (text, blotted) in [
            ("no key \"sk-or-v1-abd\"", "no key \"sk-or-v1-abd\""),
            (
                "sk-or-v1-abc, Bearer sk-or-v1-abcsk-or-v1-abc",
                "************, Bearer ************************",
            ),
            ("sk-or-v1-sk-or-v1-abc", "sk-or-v1-************"),
            ("sk-or-v1-ab", "sk-or-v1-ab"),
            ("", ""),
        ] {
            assert_eq!(left("sk-or-v1-abc", text), blotted);
        }
    }

    #[test]
    fn so_it_is_with_any_of_its_characters_escaped() {
        let all: String = "sk/1".chars().map(|c| format!("\\u{:04X}", u32::from(c))).collect();
        for written in [
            r"\u0073k/1",
            r"s\u006b/1",
            r"s\u006B\/1",
            r"sk/\u0031",
            r"sk\\\/1",
            r"\\u0073k/1",
            r"\u005cu0073k/1",
            r"\\\\\u005C\\u0073k/1",
            &all,
        ] {
            for (before, behind) in [("", ""), ("a", "1"), (r"\n", r"\n"), ("\u{e5}", "\\\"")] {
                let text = format!("\"{before}{written}{behind}\"");
                let stars = "*".repeat(written.len());
                assert_eq!(left("sk/1", &text), format!("\"{before}{stars}{behind}\""), "{text}");
            }
        }
        for other in
            [r"\u0073k\u002e1", r"\u0073k", r"\u0073k/\u00", r"sk/\", r"\n\u0073", r"s\nk/1"]
        {
            assert_eq!(left("sk/1", other), other);
        }
    }

    #[test]
    fn no_escape_is_left_half() {
        for (key, text) in [
            ("5abc", r#""\u00e5abc""#),
            ("e5x", r#""\\\u00e5x""#),
            ("x", r#""\\x\\""#),
            ("ab", r#""\u00ab""#),
        ] {
            let left = left(key, text);
            assert!(serde_json::from_str::<String>(&left).is_ok(), "{left}");
            assert!(!left.contains(key) && left.len() == text.len(), "{left}");
        }
    }

    #[test]
    fn a_text_of_backslashes_takes_no_longer_than_another() {
        let text = "\\".repeat(4_000_000);
        assert_eq!(left("sk-or-v1-abc", &text), text);
    }
}
