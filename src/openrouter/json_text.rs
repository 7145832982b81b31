//! Makes a paid answer's text fit for `jsonb`, which refuses `\u0000`, lone surrogates, and numbers
//! beyond `numeric`.
//!
//! Works on the text, not on a parsed value, so that everything else stays as the provider wrote it.

/// A text that `jsonb` takes, if it is JSON.
#[derive(Debug, PartialEq, Eq)]
pub struct Fit {
    pub text: String,
    /// How deep it is nested.
    pub depth: usize,
}

/// No number of an answer's is longer, or further from 1; `numeric` ends at 131,072 digits before and
/// 16,383 after the point.
const MAX_NUMBER: usize = 8_000;

/// `bytes` as UTF-8, with each `\u0000` and each lone surrogate replaced by U+FFFD, as is what is not
/// UTF-8; and with `null` for each number that `numeric` cannot hold.
pub fn fit_for_jsonb(bytes: &[u8]) -> Fit {
    let text = String::from_utf8_lossy(bytes);
    let mut fit = Fit { text: String::with_capacity(text.len()), depth: 0 };
    let mut depth = 0_usize;
    let mut rest = &text[..];
    while let Some(first) = rest.bytes().next() {
        let length = match first {
            b'"' => {
                rest = copy_string(rest, &mut fit.text);
                continue;
            }
            b'-' | b'0'..=b'9' => {
                let end =
                    rest.find(|c: char| !matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E'));
                let (number, after) = rest.split_at(end.unwrap_or(rest.len()));
                fit.text.push_str(if fits_numeric(number) { number } else { "null" });
                rest = after;
                continue;
            }
            b'{' | b'[' => {
                depth += 1;
                fit.depth = fit.depth.max(depth);
                1
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                1
            }
            _ => rest.chars().next().map_or(1, char::len_utf8),
        };
        fit.text.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    fit
}

fn fits_numeric(number: &str) -> bool {
    let exponent = number.split_once(['e', 'E']).map_or("0", |(_, exponent)| exponent);
    let exponent = exponent.trim_start_matches(['+', '-']).trim_start_matches('0');
    number.len() <= MAX_NUMBER
        && (exponent.is_empty() || exponent.parse().is_ok_and(|e: usize| e <= MAX_NUMBER))
}

/// Copies the JSON string that `text` begins with; gives what is behind it.
fn copy_string<'a>(text: &'a str, fit: &mut String) -> &'a str {
    fit.push('"');
    let mut rest = &text[1..];
    while let Some(at) = rest.find(['"', '\\']) {
        fit.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(behind) = rest.strip_prefix('"') {
            fit.push('"');
            return behind;
        }
        let (escape, length) = match code_unit(rest) {
            Some(0 | 0xDC00..=0xDFFF) => (None, 6),
            Some(0xD800..=0xDBFF) => match code_unit(&rest[6..]) {
                Some(0xDC00..=0xDFFF) => (Some(&rest[..12]), 12),
                _ => (None, 6),
            },
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
    ""
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
            (
                r#"["1e999999", -1e999999, 1e-999999, 0.1e+5, 12]"#,
                r#"["1e999999", null, null, 0.1e+5, 12]"#,
            ),
            ("\n  {\"\u{e5}\": \u{e5}\"\\", "\n  {\"\u{e5}\": \u{e5}\"\\"),
        ];
        for (text, fit) in cases {
            assert_eq!(fit_for_jsonb(text.as_bytes()).text, fit);
        }
        assert_eq!(fit_for_jsonb(b"\"\xff\"").text, "\"\u{fffd}\"");
        assert_eq!(fit_for_jsonb(&[b'9'; 20_000]).text, "null");
    }

    #[test]
    fn depth_is_counted_outside_strings() {
        assert_eq!(fit_for_jsonb(br#"{"a":["[[[[", [1]], "b":{}}"#).depth, 3);
        assert_eq!(fit_for_jsonb("[".repeat(100_000).as_bytes()).depth, 100_000);
    }
}
