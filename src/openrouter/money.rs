//! Money is the literal JSON token. It goes into `numeric` digit by digit and never through a float.

use serde_json::{Number, Value};

/// What a JSON value says of an amount of money.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Amount {
    /// The token as it stood, fit for `numeric`.
    Known(Number),
    /// Absent, null, or not a number.
    Absent,
    /// A number that no ledger should take: the token, for the log.
    OutOfRange(String),
}

/// No real cost is longer than a double's 25 characters.
const MAX_LENGTH: usize = 100;
/// Nor further from 1 than this power of ten.
const MAX_EXPONENT: i32 = 60;

/// Reads an amount.
pub fn amount(value: Option<&Value>) -> Amount {
    let Some(Value::Number(number)) = value else {
        return Amount::Absent;
    };
    let token = number.as_str();
    let exponent = token
        .split_once(['e', 'E'])
        .map_or(Ok(0), |(_, exponent)| exponent.trim_start_matches('+').parse::<i32>());
    match exponent {
        Ok(exponent) if exponent.abs() <= MAX_EXPONENT && token.len() <= MAX_LENGTH => {
            Amount::Known(number.clone())
        }
        _ => Amount::OutOfRange(token.chars().take(MAX_LENGTH).collect()),
    }
}

impl Amount {
    /// The number, where it is known.
    pub fn known(self) -> Option<Number> {
        match self {
            Amount::Known(number) => Some(number),
            Amount::Absent | Amount::OutOfRange(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Amount {
        amount(serde_json::from_str::<Value>(text).ok().as_ref())
    }

    #[test]
    fn tokens_keep_every_digit() {
        for token in ["0.0076509169000000005", "4.2e-7", "0", "-1.50", "12e+2"] {
            let number = read(token).known().map(|number| number.as_str().to_owned());
            assert_eq!(number.as_deref(), Some(token));
        }
    }

    #[test]
    fn what_is_not_an_amount_is_not_zero() {
        assert_eq!(read("null"), Amount::Absent);
        assert_eq!(read("\"0.1\""), Amount::Absent);
        assert!(matches!(read("1e999999999999"), Amount::OutOfRange(_)));
        assert!(matches!(read("1e-61"), Amount::OutOfRange(_)));
        assert!(matches!(read(&format!("0.{}", "1".repeat(200))), Amount::OutOfRange(_)));
    }
}
