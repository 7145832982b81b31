//! A schema, and an answer compared with it. Nothing is fetched, and patterns run in linear time.

use jsonschema::{Draft, PatternOptions, ValidationError, Validator};
use serde_json::{Value, json};

use crate::format::Kind;

/// For one pattern, compiled, in octets.
const MAX_PATTERN: usize = 1024 * 1024;
/// Of a text that is repeated, in characters.
const MAX_WORDS: usize = 500;

/// Compiles `schema` and compares `answer` with it. Without an answer it compares the simplest values, since compiling
/// alone does not show how much work a schema makes. Gives what was found, and what is wrong.
pub fn judge(schema: &[u8], answer: Option<&[u8]>) -> (Kind, String) {
    let validator = match compile(schema) {
        Ok(validator) => validator,
        Err(what) => return (Kind::BadSchema, what),
    };
    let what = match answer.map(serde_json::from_slice) {
        None => {
            for simple in [json!(null), json!(true), json!(0), json!(""), json!([]), json!({})] {
                let _ = compare(&validator, &simple);
            }
            None
        }
        Some(Ok(answer)) => compare(&validator, &answer),
        Some(Err(error)) => Some(format!("the answer is not JSON: {error}")),
    };
    what.map_or((Kind::Valid, String::new()), |what| (Kind::Mismatch, what))
}

fn compile(schema: &[u8]) -> Result<Validator, String> {
    let schema: Value = serde_json::from_slice(schema)
        .map_err(|error| format!("The JSON cannot be read: {error}."))?;
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .offline()
        .with_pattern_options(
            PatternOptions::regex().size_limit(MAX_PATTERN).dfa_size_limit(MAX_PATTERN),
        )
        .build(&schema)
        .map_err(|error| at(&error, &error.to_string()))
}

/// What is wrong with an answer, without repeating it.
fn compare(validator: &Validator, answer: &Value) -> Option<String> {
    let error = validator.validate(answer).err()?;
    Some(at(&error, &error.masked().to_string()))
}

/// Where it is wrong, as a JSON pointer, and what.
fn at(error: &ValidationError, what: &str) -> String {
    let pointer = error.instance_path().as_str();
    let place =
        if pointer.is_empty() { "at the top".to_owned() } else { format!("at {}", short(pointer)) };
    format!("{place}: {}", short(what))
}

fn short(text: &str) -> String {
    match text.char_indices().nth(MAX_WORDS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(schema: &Value, answer: &str) -> (Kind, String) {
        let answer = Some(answer.as_bytes()).filter(|answer| !answer.is_empty());
        judge(schema.to_string().as_bytes(), answer)
    }

    #[test]
    fn bad_schemas_are_refused() {
        for schema in [
            json!([]),
            json!({"type": "strin"}),
            json!({"type": 5}),
            json!({"$ref": "#/nowhere"}),
            json!({"$ref": "http://127.0.0.1/x.json"}),
            json!({"$ref": "file:///etc/passwd"}),
            json!({"$dynamicRef": "#x"}),
            json!({"pattern": "("}),
            json!({"pattern": "(?=a)b"}),
            json!({"pattern": "(a{1000}){1000}"}),
        ] {
            let (kind, what) = found(&schema, "");
            assert_eq!(kind, Kind::BadSchema, "{schema}: {what}");
            assert!(what.starts_with("at "), "{what}");
        }
        assert_eq!(judge(b"{", None).0, Kind::BadSchema);
    }

    #[test]
    fn answers_are_compared_by_every_digit() {
        let schema = json!({"properties": {"a": {"multipleOf": serde_json::Number::from_string_unchecked("0.01".to_owned())}}});
        assert_eq!(found(&schema, r#"{"a": 1249.50}"#), (Kind::Valid, String::new()));
        let (kind, what) = found(&schema, r#"{"a": 1249.5000000000000000001}"#);
        assert_eq!(kind, Kind::Mismatch);
        assert!(what.starts_with("at /a: "), "{what}");
        assert!(!what.contains("1249"), "the answer is repeated: {what}");
        assert_eq!(found(&schema, "{").0, Kind::Mismatch);
    }

    #[test]
    fn schemas_may_lead_to_themselves() {
        let list =
            json!({"anyOf": [{"type": "number"}, {"type": "array", "items": {"$ref": "#"}}]});
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(found(&list, ""), (Kind::Valid, String::new()));
        assert_eq!(found(&list, &nested(100)), (Kind::Valid, String::new()));
        for schema in [
            json!({"$ref": "#"}),
            json!({"$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"}),
        ] {
            assert_eq!(found(&schema, "1"), (Kind::Valid, String::new()), "{schema}");
        }
    }
}
