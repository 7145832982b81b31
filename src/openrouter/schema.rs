//! Structured output: a JSON Schema that the answer has to match.
//! Source: OpenRouter's "Structured outputs" (openrouter.ai/docs/guides/features/structured-outputs).
//!
//! Here is what is quick. What a schema means, and whether an answer matches it, hiems-validator finds out
//! (`src/validator.rs`).

use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use super::content::Said;
use super::json_text;
use super::request::BadRequest;

/// In octets, as `jsonb` writes it.
const MAX_SCHEMA: usize = 256 * 1024;
/// How deep a schema, and an answer, may be nested.
const MAX_DEPTH: usize = 100;
/// Of a refusal that DETAIL repeats, in characters.
const MAX_WORDS: usize = 500;

/// A schema, of which nothing is known but that it is a JSON object of bearable size.
pub struct Schema {
    text: String,
    value: Value,
}

impl Schema {
    /// Of `text`, which is JSON.
    pub fn read(text: String) -> Result<Schema, BadRequest> {
        if text.len() > MAX_SCHEMA {
            return Err(bad(format!("It has {} octets, and may have {MAX_SCHEMA}.", text.len())));
        }
        let fit = json_text::fit_for_jsonb(text.as_bytes());
        if fit.text != text {
            return Err(bad("It holds a number or a text that cannot be compared.".to_owned()));
        }
        if fit.depth > MAX_DEPTH {
            return Err(bad(format!("It is nested {} deep, and may be {MAX_DEPTH}.", fit.depth)));
        }
        let value: Value = serde_json::from_str(&text)
            .map_err(|error| bad(format!("The JSON cannot be read: {error}.")))?;
        if !value.is_object() {
            return Err(bad("It is not a JSON object.".to_owned()));
        }
        Ok(Schema { text, value })
    }

    /// As it came.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The options of a request that asks for it. What is no JSON object is left for the request to refuse.
    pub fn ask_for_it(&self, options: Option<&str>) -> Result<String, BadRequest> {
        let parsed = options.map_or(Ok(Value::Null), serde_json::from_str);
        let parsed = match parsed {
            Ok(Value::String(inner)) => serde_json::from_str(&inner),
            parsed => parsed,
        };
        let mut fields = match parsed {
            Ok(Value::Object(fields)) => fields,
            Ok(Value::Null) => Map::new(),
            _ => return Ok(options.unwrap_or_default().to_owned()),
        };
        if fields.keys().any(|key| key.eq_ignore_ascii_case("response_format")) {
            return Err(BadRequest {
                message: "options cannot be used".to_owned(),
                detail: "The field \"response_format\" is made of the schema.".to_owned(),
                hint: "Leave it out, or take hiems.submit_prompt().".to_owned(),
            });
        }
        let format = json!({
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": true, "schema": self.value},
        });
        fields.insert("response_format".to_owned(), format);
        // Else a provider that knows no schemas may be asked, and leaves it out.
        let provider = fields.entry("provider").or_insert_with(|| json!({}));
        if let Value::Object(provider) = provider {
            provider.entry("require_parameters").or_insert(Value::Bool(true));
        }
        Ok(Value::Object(fields).to_string())
    }
}

/// The JSON in an answer, every number as the model wrote it. `body` is OpenRouter's. The error: why it has none that
/// could match a schema.
pub fn answer_in(body: &str) -> Result<String, String> {
    let said = Said::in_body(body);
    if let Some(refusal) = said.refusal.filter(|text| !text.is_empty()) {
        return Err(format!("the model refused: {}", short(&refusal)));
    }
    match said.finish_reason.as_deref() {
        Some("length") => return Err("the answer was cut off (finish_reason length)".to_owned()),
        Some("content_filter") => {
            return Err("the answer was filtered (finish_reason content_filter)".to_owned());
        }
        _ => {}
    }
    let content = said.text.ok_or("the answer has no text")?;
    let json = json_in(&content)?;
    let fit = json_text::fit_for_jsonb(json.as_bytes());
    if fit.text != json {
        return Err("the answer holds what jsonb refuses".to_owned());
    }
    if fit.depth > MAX_DEPTH {
        return Err(format!("the answer is nested {} deep", fit.depth));
    }
    Ok(json.to_owned())
}

/// An answer's text as JSON: as it is, or in one fence that is around all of it.
fn json_in(content: &str) -> Result<&str, String> {
    let is_json = |text| serde_json::from_str::<IgnoredAny>(text);
    let text = content.trim();
    let Err(error) = is_json(text) else { return Ok(text) };
    let fenced = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```"));
    fenced
        .and_then(|inner| inner.split_once('\n'))
        .filter(|(language, inner)| {
            let language = language.trim();
            (language.is_empty() || language.eq_ignore_ascii_case("json")) && !inner.contains("```")
        })
        .map(|(_, inner)| inner.trim())
        .filter(|inner| is_json(inner).is_ok())
        .ok_or(format!("the answer is not JSON: {error}"))
}

fn short(text: &str) -> String {
    match text.char_indices().nth(MAX_WORDS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// A schema that cannot be used; `detail` says why.
pub fn bad(detail: String) -> BadRequest {
    BadRequest {
        message: "the schema cannot be used".to_owned(),
        detail,
        hint: r#"Example: '{"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"], "additionalProperties": false}'."#
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &str) -> Result<String, String> {
        answer_in(&json!({"choices": [{"message": {"content": content}}]}).to_string())
    }

    #[test]
    fn one_fence_around_all_of_it_is_taken_off() {
        for content in [
            "{\"a\": 1.10}",
            " {\"a\": 1.10}\n",
            "```json\n{\"a\": 1.10}\n```",
            "```\n{\"a\": 1.10}```",
        ] {
            assert_eq!(read(content).as_deref(), Ok("{\"a\": 1.10}"), "{content}");
        }
        for content in [
            "",
            "Here: {}",
            "```json\n{}\n```\n```json\n{}\n```",
            "```sql\n1\n```",
            "```json\n{}\n``` done",
        ] {
            let error = read(content).expect_err(content);
            assert!(error.starts_with("the answer is not JSON"), "{error}");
        }
    }

    #[test]
    fn what_is_no_object_or_too_large_is_no_schema() {
        let nested =
            |depth: usize| format!("{}{{}}{}", r#"{"not":"#.repeat(depth), "}".repeat(depth));
        let long = format!(r#"{{"title": "{}"}}"#, "x".repeat(MAX_SCHEMA));
        for text in ["true", "[]", "{", r#"{"minimum": 1e99999}"#, &nested(100), &long] {
            assert!(Schema::read(text.to_owned()).is_err(), "{}", short(text));
        }
        assert!(Schema::read(nested(99)).is_ok());
    }

    #[test]
    fn an_answer_may_be_nested_100_deep() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(read(&nested(100)), Ok(nested(100)));
        for depth in [101, 200_000] {
            assert_eq!(read(&nested(depth)), Err(format!("the answer is nested {depth} deep")));
        }
    }
}
