//! The text of a whole answer, and how it ended.

use serde_json::Value;
use serde_json::value::RawValue;

use super::fields::{self, Field};

/// What an answer's first choice says; None: it does not say.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Said {
    pub text: Option<String>,
    pub refusal: Option<String>,
    pub finish_reason: Option<String>,
}

impl Said {
    /// Of OpenRouter's body.
    pub fn in_body(body: &str) -> Said {
        let [choices] = fields::pick(body, &["choices"]).unwrap_or_default();
        let choices: Vec<&RawValue> = fields::read(choices).unwrap_or_default();
        let first = choices.first().copied();
        let [message, finish_reason] = fields::pick_of(first, &["message", "finish_reason"]);
        let [content, refusal] = fields::pick_of(message, &["content", "refusal"]);
        Said {
            text: text(content),
            refusal: fields::read(refusal),
            finish_reason: fields::read(finish_reason),
        }
    }
}

/// A content is a text, or a list of parts, of which those that are text count.
fn text(content: Field) -> Option<String> {
    match fields::read::<Value>(content)? {
        Value::String(text) => Some(text),
        Value::Array(parts) => {
            let texts: Vec<&str> = parts.iter().filter_map(part).collect();
            (!texts.is_empty()).then(|| texts.concat())
        }
        one => part(&one).map(str::to_owned),
    }
}

fn part(part: &Value) -> Option<&str> {
    if let Value::String(text) = part {
        return Some(text);
    }
    let is_text = match part.get("type") {
        Some(Value::String(kind)) => matches!(kind.as_str(), "text" | "output_text"),
        Some(_) => false,
        None => true,
    };
    part.get("text").filter(|_| is_text)?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_parts_that_are_text_are_the_text() {
        let cases = [
            (json!("Snow"), Some("Snow")),
            (json!([{"type": "text", "text": "Sn"}, {"type": "text", "text": "ow"}]), Some("Snow")),
            (
                json!([{"type": "reasoning", "text": "hm"}, {"type": "output_text", "text": "Snow"}]),
                Some("Snow"),
            ),
            (json!(["Sn", "ow"]), Some("Snow")),
            (json!({"type": "text", "text": "Snow"}), Some("Snow")),
            (json!([{"type": "image_url", "image_url": {"url": "x"}}]), None),
            (json!([]), None),
            (json!(null), None),
            (json!(7), None),
        ];
        for (content, text) in cases {
            let body = json!({"choices": [{"message": {"content": content}}]}).to_string();
            assert_eq!(Said::in_body(&body).text.as_deref(), text, "{content}");
        }
    }

    #[test]
    fn what_is_not_said_is_none() {
        for body in ["", "[]", "{}", r#"{"choices": [null]}"#, r#"{"choices": 1}"#] {
            assert_eq!(Said::in_body(body), Said::default(), "{body}");
        }
        let cut = r#"{"choices": [{"finish_reason": "length", "message": {"content": ""}}]}"#;
        let said = Said {
            text: Some(String::new()),
            finish_reason: Some("length".to_owned()),
            ..Said::default()
        };
        assert_eq!(Said::in_body(cut), said);
    }
}
