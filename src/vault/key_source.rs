//! An OpenRouter key that is handed over otherwise than in a statement: from a file, or from the
//! environment of the server.

use std::path::Path;

use secrecy::SecretString;
use zeroize::Zeroizing;

use super::secret_file;

/// What a variable's name begins with, so that nobody has other secrets of the server's stored, sent
/// to OpenRouter, and known by their fingerprints.
pub const PREFIXES: [&str; 2] = ["HIEMS_", "OPENROUTER_"];

/// What a key must be.
pub const RULE: &str = "A key is 8 to 1,000 visible ASCII characters, without spaces and quotes.";

/// True if `key` can be one.
pub fn is_usable(key: &str) -> bool {
    // Quotes are those of a statement, which \\bind and a file pass on.
    let fits = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'\'' | b'"');
    (8..=1_000).contains(&key.len()) && key.bytes().all(fits)
}

/// True if a variable of that name may be read.
pub fn is_open_variable(name: &str) -> bool {
    PREFIXES.iter().any(|prefix| name.len() > prefix.len() && name.starts_with(prefix))
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The key in the file at `path`, read by the process of `user`. The error is a sentence.
pub fn from_file(path: &Path, user: u32) -> Result<SecretString, String> {
    let text = secret_file::read(path, user).map_err(|what| format!("The file {what}."))?;
    checked(&text).ok_or_else(|| format!("The file holds no key. {RULE}"))
}

/// The key in a variable of this process's environment. The error is a sentence.
pub fn from_environment(variable: &str) -> Result<SecretString, String> {
    if !is_open_variable(variable) {
        return Err("Only variables that begin with HIEMS_ or OPENROUTER_ are read.".to_owned());
    }
    let text = std::env::var(variable).map(Zeroizing::new).map_err(|_| {
        format!("The variable {variable} is not set in the environment of the server.")
    })?;
    checked(&text).ok_or_else(|| format!("The variable {variable} holds no key. {RULE}"))
}

fn checked(text: &str) -> Option<SecretString> {
    let key = text.trim();
    is_usable(key).then(|| SecretString::from(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_variables_meant_for_it_are_read() {
        for open in ["OPENROUTER_API_KEY", "HIEMS_KEY", "HIEMS_1"] {
            assert!(is_open_variable(open), "{open}");
        }
        for closed in [
            "",
            "PATH",
            "HIEMS_",
            "OPENROUTER_",
            "hiems_key",
            "MY_HIEMS_KEY",
            "HIEMS_A=",
            "HIEMS_Å",
        ] {
            assert!(!is_open_variable(closed), "{closed}");
        }
        assert!(from_environment("PATH").is_err());
    }

    #[test]
    fn keys_are_looked_at() {
        assert!(is_usable("sk-or-v1-abc"));
        for bad in [
            "",
            "'sk-or-v1-abc'",
            "\"sk-or-v1-abc\"",
            "short",
            "two words here",
            "line\nbreak",
            "sk-or-v1-\u{E5}",
        ] {
            assert!(!is_usable(bad), "{bad}");
        }
        assert!(!is_usable(&"k".repeat(1_001)));
    }
}
