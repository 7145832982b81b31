//! Structured output: a JSON Schema that the answer has to match.
//! Source: OpenRouter's "Structured outputs" (openrouter.ai/docs/guides/features/structured-outputs).
//!
//! References are never fetched, patterns run in linear time, and `bounds.rs` keeps the work within bounds: nothing
//! of it can be cancelled.

mod bounds;

use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::{Map, Value, json};

use super::json_text;
use super::request::BadRequest;
use bounds::Bounds;

/// In octets, as `jsonb` writes it.
const MAX_SCHEMA: usize = 256 * 1024;
/// For one pattern, compiled.
const MAX_PATTERN: usize = 1024 * 1024;
/// Of a message that DETAIL repeats.
const MAX_WORDS: usize = 500;

/// A schema that was compiled.
pub struct Schema {
    value: Value,
    validator: Validator,
    bounds: Bounds,
}

impl Schema {
    /// Compiles a schema, before anything is sent. `text` is JSON.
    pub fn compile(text: &str) -> Result<Schema, BadRequest> {
        if text.len() > MAX_SCHEMA {
            return Err(bad(format!("It has {} octets, and may have {MAX_SCHEMA}.", text.len())));
        }
        let value: Value = serde_json::from_str(text)
            .map_err(|error| bad(format!("The JSON cannot be read: {error}.")))?;
        if !value.is_object() {
            return Err(bad("It is not a JSON object.".to_owned()));
        }
        if json_text::fit_for_jsonb(text.as_bytes()).text != text {
            return Err(bad("It holds a number or a text that cannot be compared.".to_owned()));
        }
        let bounds = Bounds::of(&value).map_err(bad)?;
        let validator = jsonschema::options()
            .with_draft(Draft::Draft202012)
            .offline()
            .with_pattern_options(
                PatternOptions::regex().size_limit(MAX_PATTERN).dfa_size_limit(MAX_PATTERN),
            )
            .build(&value)
            .map_err(|error| bad(at(error.instance_path().as_str(), &error.to_string())))?;
        Ok(Schema { value, validator, bounds })
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

    /// The JSON in an answer, every number as the model wrote it. The error: what is wrong, and where.
    pub fn read(&self, body: &str) -> Result<String, String> {
        let body: Value = serde_json::from_str(body).unwrap_or_default();
        let choice = &body["choices"][0];
        if let Some(refusal) = choice["message"]["refusal"].as_str().filter(|text| !text.is_empty())
        {
            return Err(format!("the model refused: {}", short(refusal)));
        }
        match choice["finish_reason"].as_str() {
            Some("length") => {
                return Err("the answer was cut off (finish_reason length)".to_owned());
            }
            Some("content_filter") => {
                return Err("the answer was filtered (finish_reason content_filter)".to_owned());
            }
            _ => {}
        }
        let Some(content) = choice["message"]["content"].as_str() else {
            return Err("the answer has no text".to_owned());
        };
        let (text, answer) = parse(content)?;
        let fit = json_text::fit_for_jsonb(text.as_bytes());
        if fit.text != text {
            return Err("the answer holds what jsonb refuses".to_owned());
        }
        self.bounds.check(&answer, fit.depth)?;
        match self.validator.iter_errors(&answer).next() {
            None => Ok(text.to_owned()),
            Some(error) => Err(at(error.instance_path().as_str(), &error.masked().to_string())),
        }
    }
}

/// An answer's text as JSON: as it is, or in one fence that is around all of it.
fn parse(content: &str) -> Result<(&str, Value), String> {
    let text = content.trim();
    let error = match serde_json::from_str(text) {
        Ok(answer) => return Ok((text, answer)),
        Err(error) => error,
    };
    let fenced = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```"));
    let inner = fenced
        .and_then(|inner| inner.split_once('\n'))
        .filter(|(language, inner)| {
            let language = language.trim();
            (language.is_empty() || language.eq_ignore_ascii_case("json")) && !inner.contains("```")
        })
        .map(|(_, inner)| inner.trim());
    match inner.map(|inner| (inner, serde_json::from_str(inner))) {
        Some((inner, Ok(answer))) => Ok((inner, answer)),
        _ => Err(format!("the answer is not JSON: {error}")),
    }
}

fn at(pointer: &str, what: &str) -> String {
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

fn bad(detail: String) -> BadRequest {
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

    fn compile(schema: &Value) -> Result<Schema, String> {
        Schema::compile(&schema.to_string()).map_err(|bad| bad.detail)
    }

    fn read(schema: &Value, content: &str) -> Result<String, String> {
        let body = json!({"choices": [{"message": {"content": content}}]}).to_string();
        compile(schema)?.read(&body)
    }

    #[test]
    fn one_fence_around_all_of_it_is_taken_off() {
        let any = json!({});
        for content in [
            "{\"a\": 1.10}",
            " {\"a\": 1.10}\n",
            "```json\n{\"a\": 1.10}\n```",
            "```\n{\"a\": 1.10}```",
        ] {
            assert_eq!(read(&any, content).as_deref(), Ok("{\"a\": 1.10}"), "{content}");
        }
        for content in [
            "",
            "Here: {}",
            "```json\n{}\n```\n```json\n{}\n```",
            "```sql\n1\n```",
            "```json\n{}\n``` done",
        ] {
            let error = read(&any, content).expect_err(content);
            assert!(error.starts_with("the answer is not JSON"), "{error}");
        }
    }

    #[test]
    fn bad_schemas_are_refused() {
        for schema in [
            json!(true),
            json!([]),
            json!({"type": "strin"}),
            json!({"type": 5}),
            json!({"$ref": "#/nowhere"}),
            json!({"$ref": "http://127.0.0.1/x.json"}),
            json!({"$ref": "file:///etc/passwd"}),
            json!({"$ref": "#"}),
            json!({"$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}, "properties": {"x": {"$ref": "#/$defs/a"}}}),
            json!({"$dynamicRef": "#x"}),
            json!({"pattern": "("}),
            json!({"pattern": "(?=a)b"}),
            json!({"pattern": "(a{1000}){1000}"}),
            json!({"properties": {"x": {"$id": "http://x/", "type": "string"}}}),
        ] {
            assert!(compile(&schema).is_err(), "{schema}");
        }
        assert!(Schema::compile(r#"{"minimum": 1e99999}"#).is_err());
    }

    #[test]
    fn what_would_take_for_ever_is_refused() {
        let twice = |n: usize| json!({"anyOf": [{"$ref": format!("#/$defs/{n}")}, {"$ref": format!("#/$defs/{n}")}]});
        let mut defs: Map<String, Value> = (1..40).map(|n| (n.to_string(), twice(n - 1))).collect();
        defs.insert("0".to_owned(), json!({"type": "string"}));
        assert!(compile(&json!({"$defs": defs, "$ref": "#/$defs/39"})).is_err());
        // Recursion is fine, and linear where one alternative leads on.
        let list =
            json!({"anyOf": [{"type": "string"}, {"type": "array", "items": {"$ref": "#"}}]});
        let nested = |depth: usize| format!("{}\"x\"{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(&list, &nested(60)).is_ok());
        assert!(read(&list, &nested(120)).is_err());
        let item = json!({"anyOf": [{"$ref": "#"}, {"$ref": "#"}]});
        let tree = json!({"anyOf": [{"type": "string"}, {"type": "array", "items": item}]});
        assert!(read(&tree, &nested(5)).is_ok());
        let error = read(&tree, &nested(60)).expect_err("2 to the power of 60");
        assert!(error.contains("too many ways"), "{error}");
    }
}
