//! Makes a paid answer's text fit for `jsonb`, which refuses `\u0000` and lone surrogates.
//!
//! Works on the text, not on a parsed value, so that everything else stays as the provider wrote it.

use std::borrow::Cow;

/// `bytes` as UTF-8 with each `\u0000` and each lone surrogate replaced by U+FFFD. What is not UTF-8
/// is replaced in the same way.
pub fn fit_for_jsonb(bytes: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(bytes);
    if !text.contains("\\u") {
        return text;
    }
    let mut fit = String::with_capacity(text.len());
    let mut rest = &text[..];
    while let Some(at) = rest.find('\\') {
        fit.push_str(&rest[..at]);
        rest = &rest[at..];
        let (escape, length) = match code_unit(rest) {
            Some(0) => (None, 6),
            Some(0xD800..=0xDBFF) => match code_unit(&rest[6..]) {
                Some(0xDC00..=0xDFFF) => (Some(&rest[..12]), 12),
                _ => (None, 6),
            },
            Some(0xDC00..=0xDFFF) => (None, 6),
            Some(_) => (Some(&rest[..6]), 6),
            // Any other escape is a backslash and one character.
            None => {
                let length = 1 + rest[1..].chars().next().map_or(0, char::len_utf8);
                (Some(&rest[..length]), length)
            }
        };
        fit.push_str(escape.unwrap_or("\\ufffd"));
        rest = &rest[length..];
    }
    fit.push_str(rest);
    Cow::Owned(fit)
}

/// The code unit of a `\uXXXX` that `text` begins with.
fn code_unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_jsonb_refuses_is_replaced() {
        let cases = [
            (r#"{"a":"b"}"#, r#"{"a":"b"}"#),
            (r#""\u0000""#, r#""\ufffd""#),
            (r#""\\u0000""#, r#""\\u0000""#),
            (r#""\ud83d\ude00""#, r#""\ud83d\ude00""#),
            (r#""\ud83d""#, r#""\ufffd""#),
            (r#""\ud83d\n\u0041""#, r#""\ufffd\n\u0041""#),
            (r#""\ude00x""#, r#""\ufffdx""#),
            (r#""\u00e5\"""#, r#""\u00e5\"""#),
        ];
        for (text, fit) in cases {
            assert_eq!(fit_for_jsonb(text.as_bytes()), fit);
        }
        assert_eq!(fit_for_jsonb(b"\"\xff\""), "\"\u{fffd}\"");
    }
}
