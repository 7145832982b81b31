//! Amounts as the literal JSON number tokens that are sent, and exact sums of them.
//!
//! OpenRouter computes with IEEE doubles and prints them as JavaScript does. A double is used
//! here in the same one place, to make a token; from then on only the token counts.

use std::str::FromStr;

use bigdecimal::{BigDecimal, Zero};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// Beyond this, adding two amounts would cost more memory than a test means to spend.
const LARGEST_EXPONENT: u64 = 200_000;

/// Prints a double as JavaScript's `JSON.stringify` does: the shortest digits that round-trip,
/// with an exponent below 1e-6 and from 1e21 on.
pub(crate) fn token_of(amount: f64) -> String {
    let size = amount.abs();
    if !size.is_finite() {
        "null".into()
    } else if size == 0.0 {
        "0".into()
    } else if (1e-6..1e21).contains(&size) {
        format!("{amount}")
    } else if size < 1e-6 {
        format!("{amount:e}")
    } else {
        format!("{amount:e}").replace('e', "e+")
    }
}

/// Whether a text is a JSON number that can also be summed.
pub(crate) fn is_token(text: &str) -> bool {
    let exponent = text.split(['e', 'E']).nth(1).unwrap_or("0");
    let digits = exponent.trim_start_matches(['+', '-']);
    let bounded = digits.parse::<u64>().is_ok_and(|size| size <= LARGEST_EXPONENT);
    let numeric = text.starts_with(|c: char| c == '-' || c.is_ascii_digit())
        && text.ends_with(|c: char| c.is_ascii_digit());
    bounded && numeric && serde_json::from_str::<&RawValue>(text).is_ok()
}

/// Sums tokens exactly and writes the result without exponent and trailing zeros.
pub(crate) fn sum<'a>(tokens: impl Iterator<Item = &'a str>) -> String {
    tokens
        .filter_map(|token| BigDecimal::from_str(token).ok())
        .fold(BigDecimal::zero(), |total, amount| total + amount)
        .normalized()
        .to_plain_string()
}

/// A token that serialises as exactly the JSON number it spells.
pub(crate) struct Token<'a>(pub(crate) &'a str);

impl Serialize for Token<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.0.to_owned())
            .map_err(serde::ser::Error::custom)?
            .serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_print_as_in_javascript() {
        assert_eq!(token_of(0.0), "0");
        assert_eq!(token_of(4.2e-7), "4.2e-7");
        assert_eq!(token_of(1e-6), "0.000001");
        assert_eq!(token_of(9.9e-7), "9.9e-7");
        assert_eq!(token_of(0.0076509169000000005), "0.0076509169000000005");
        assert_eq!(token_of(3.0), "3");
        assert_eq!(token_of(-0.00025), "-0.00025");
        assert_eq!(token_of(1e21), "1e+21");
    }

    #[test]
    fn only_json_numbers_are_tokens() {
        for good in ["0", "-0.5", "4.2e-7", "1E+3", "0.00000000000000000000000001"] {
            assert!(is_token(good), "{good}");
        }
        for bad in ["", "null", "1.", ".5", "01", " 1", "1 ", "NaN", "1e9999999", "[1]", "1,2"] {
            assert!(!is_token(bad), "{bad}");
        }
    }

    #[test]
    fn sums_are_exact() {
        let tokens = ["0.0076509169000000005", "4.2e-7", "0", "0.1", "0.2"];
        assert_eq!(sum(tokens.into_iter()), "0.3076513369000000005");
        assert_eq!(
            sum(["4.2000000000000006e-12", "100"].into_iter()),
            "100.0000000000042000000000000006"
        );
        assert_eq!(sum(["1e2"].into_iter()), "100");
        assert_eq!(sum([].into_iter()), "0");
    }
}
