//! What can go wrong on the way to the caller, though the generation went well and is billed.
//!
//! | `fake_fault` | what the caller sees |
//! |---|---|
//! | `reset_before_headers` | the connection is reset before any byte of the answer |
//! | `cut_headers` | the connection ends within the headers |
//! | `reset_after_headers` | the connection is reset when the headers, and their id, are there |
//! | `cut_length` | half the body that Content-Length promised, and the connection ends |
//! | `cut_chunked` | half the body in chunks, and the connection ends without the last one |
//! | `junk` | white space and a page that is no JSON |
//! | `half` | half the JSON, though the body is whole |
//! | `not_utf8` | bytes in the text that are not UTF-8 |
//! | `nul` | `\u0000` in the text |
//! | `surrogates` | halves of surrogate pairs in the text |
//! | `huge_number` | a number that no `numeric` holds, beside the answer |
//! | `deep` | an annotation that is nested 100,000 deep |

/// How many levels `deep` adds.
const DEPTH: usize = 100_000;

/// Stands in the text where a fault's bytes go.
const MARK: char = '\u{E000}';

/// One of the faults above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    ResetBeforeHeaders,
    CutHeaders,
    ResetAfterHeaders,
    CutLength,
    CutChunked,
    Junk,
    Half,
    NotUtf8,
    Nul,
    Surrogates,
    HugeNumber,
    Deep,
}

impl Fault {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "reset_before_headers" => Self::ResetBeforeHeaders,
            "cut_headers" => Self::CutHeaders,
            "reset_after_headers" => Self::ResetAfterHeaders,
            "cut_length" => Self::CutLength,
            "cut_chunked" => Self::CutChunked,
            "junk" => Self::Junk,
            "half" => Self::Half,
            "not_utf8" => Self::NotUtf8,
            "nul" => Self::Nul,
            "surrogates" => Self::Surrogates,
            "huge_number" => Self::HugeNumber,
            "deep" => Self::Deep,
            _ => return None,
        })
    }

    /// Prepares the answer's text for [`Fault::spoil`].
    pub(crate) fn mark(self, content: &mut String) {
        if matches!(self, Self::NotUtf8 | Self::Nul | Self::Surrogates) {
            content.push(MARK);
            content.push_str("end");
        }
    }

    /// The body as it is sent, made of the JSON that should have been.
    pub(crate) fn spoil(self, text: String) -> Vec<u8> {
        match self {
            Self::Junk => b"\n\n   <html><body>Bad gateway</body></html>".to_vec(),
            Self::Half => {
                let mut bytes = text.into_bytes();
                bytes.truncate(bytes.len() / 2);
                bytes
            }
            Self::NotUtf8 => replace(&text, &MARK.to_string(), b"\xff\xc3"),
            Self::Nul => replace(&text, &MARK.to_string(), br"\u0000"),
            Self::Surrogates => replace(&text, &MARK.to_string(), br"\ud83d \ude00"),
            Self::HugeNumber => {
                let fingerprint = r#""system_fingerprint":null"#;
                replace(&text, fingerprint, br#""system_fingerprint":1e999999"#)
            }
            Self::Deep => {
                let nested = "[".repeat(DEPTH) + &"]".repeat(DEPTH);
                let refusal = r#""refusal":null"#;
                replace(&text, refusal, format!(r#"{refusal},"annotations":{nested}"#).as_bytes())
            }
            Self::ResetBeforeHeaders
            | Self::CutHeaders
            | Self::ResetAfterHeaders
            | Self::CutLength
            | Self::CutChunked => text.into_bytes(),
        }
    }
}

/// `text` with the first `old` in it replaced. Quotes within strings are escaped, so that a field's
/// text stands for the field alone.
fn replace(text: &str, old: &str, new: &[u8]) -> Vec<u8> {
    match text.split_once(old) {
        Some((before, after)) => [before.as_bytes(), new, after.as_bytes()].concat(),
        None => text.as_bytes().to_vec(),
    }
}
