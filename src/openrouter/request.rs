//! The request body, and what is refused before it is sent.
//! Source: OpenRouter's "API reference, chat completions" (openrouter.ai/docs/api-reference).

use serde_json::{Map, Value, json};

/// Why a request cannot be sent: lower-case message, cause, mend.
#[derive(Debug, PartialEq, Eq)]
pub struct BadRequest {
    pub message: String,
    pub detail: String,
    pub hint: String,
}

fn bad(message: &str, detail: impl Into<String>, hint: &str) -> BadRequest {
    BadRequest { message: message.to_owned(), detail: detail.into(), hint: hint.to_owned() }
}

/// The parts of a chat completion request, as the caller gave them.
pub struct ChatRequest<'a> {
    pub model: &'a str,
    /// Text of a JSON array of messages, or of a JSON string that holds one.
    pub messages: &'a str,
    pub user: &'a str,
    pub session_id: Option<&'a str>,
    /// Text of a JSON object: every other field, passed through.
    pub options: Option<&'a str>,
    /// True where the answer is to come as a stream.
    pub is_streamed: bool,
}

const ROLES: [&str; 5] = ["system", "developer", "user", "assistant", "tool"];

/// Fields of the body that are hiems's own, and what to use instead.
const RESERVED: [(&str, &str); 11] = [
    ("model", "Use the argument model."),
    ("messages", "Use the argument messages."),
    ("user", "Use the argument \"user\"."),
    ("session_id", "Use the argument session_id."),
    ("stream", "Use hiems.stream_prompt(), or another function for the whole answer."),
    ("stream_options", "A stream of hiems.stream_prompt() has the usage in any case."),
    ("usage", "hiems asks for it itself."),
    ("api_key", "Store the key with hiems.set_api_key()."),
    ("authorization", "Store the key with hiems.set_api_key()."),
    ("headers", "hiems sets the headers itself."),
    ("base_url", "A superuser sets hiems.base_url."),
];

/// A request body.
#[derive(Debug, PartialEq, Eq)]
pub struct Body {
    pub text: String,
    /// True if it asks for what is charged apart from tokens (web search, PDF reading, server tools):
    /// zero completion insurance does not cover it, so that a call that failed may have cost something.
    pub charges_beyond_tokens: bool,
}

const CHARGED_APART: [&str; 4] = ["plugins", "tools", "web_search_options", "preset"];
/// Files to read, models that search, and presets, which may ask for any of it.
const CHARGED_WORDS: [&str; 3] = [r#""type":"file""#, ":online", "@preset/"];

impl ChatRequest<'_> {
    /// The body to send: fields in a fixed order, every number as the caller wrote it.
    pub fn body(&self) -> Result<Body, BadRequest> {
        if self.model.trim().is_empty() {
            return Err(bad(
                "the model is empty",
                "A call names a model, such as 'openai/gpt-4o-mini'.",
                "Set hiems.default_model to have one where none is named.",
            ));
        }
        let mut body = self.options()?;
        body.insert("model".to_owned(), json!(self.model));
        body.insert("messages".to_owned(), self.messages()?);
        body.insert("user".to_owned(), json!(self.user));
        if let Some(session) = self.session_id {
            body.insert("session_id".to_owned(), json!(session));
        }
        // Also where it is false: gateways in between may have another default.
        body.insert("stream".to_owned(), json!(self.is_streamed));
        // A no-op today; older gateways leave the cost out without it.
        body.insert("usage".to_owned(), json!({"include": true}));
        let has_field = CHARGED_APART.iter().any(|field| body.contains_key(*field));
        let text = Value::Object(body).to_string();
        // A word of the prompt's that looks like one only makes the cost of a failure unknown.
        let charges_beyond_tokens =
            has_field || CHARGED_WORDS.iter().any(|word| text.contains(word));
        Ok(Body { text, charges_beyond_tokens })
    }

    fn messages(&self) -> Result<Value, BadRequest> {
        const HINT: &str = r#"Example: '[{"role": "user", "content": "Hello"}]'."#;
        let refuse = |detail: String| bad("messages cannot be used", detail, HINT);
        let mut messages = parse(self.messages).map_err(&refuse)?;
        // Over GET, and from clients that encode twice, the array arrives as a JSON string.
        if let Value::String(text) = &messages {
            messages = parse(text).map_err(&refuse)?;
        }
        let Value::Array(items) = &messages else {
            return Err(refuse("They are not a JSON array.".to_owned()));
        };
        if items.is_empty() {
            return Err(refuse("The array is empty.".to_owned()));
        }
        for (i, item) in items.iter().enumerate() {
            let position = i + 1;
            let Value::Object(message) = item else {
                return Err(refuse(format!("Message {position} is not an object.")));
            };
            match message.get("role") {
                Some(Value::String(role)) if ROLES.contains(&role.as_str()) => {}
                Some(Value::String(role)) => {
                    return Err(refuse(format!(
                        "Message {position} has the unknown role \"{role}\"."
                    )));
                }
                _ => return Err(refuse(format!("Message {position} has no role."))),
            }
        }
        Ok(messages)
    }

    fn options(&self) -> Result<Map<String, Value>, BadRequest> {
        const HINT: &str = r#"Example: '{"temperature": 0.2, "max_completion_tokens": 500}'."#;
        let refuse = |detail: String| bad("options cannot be used", detail, HINT);
        let Some(text) = self.options else {
            return Ok(Map::new());
        };
        let mut options = parse(text).map_err(&refuse)?;
        if let Value::String(inner) = &options {
            options = parse(inner).map_err(&refuse)?;
        }
        let options = match options {
            Value::Object(options) => options,
            Value::Null => Map::new(),
            _ => return Err(refuse("They are not a JSON object.".to_owned())),
        };
        for (field, instead) in RESERVED {
            if options.keys().any(|key| key.eq_ignore_ascii_case(field)) {
                let detail = format!("The field \"{field}\" is not the caller's to set.");
                return Err(bad("options cannot be used", detail, instead));
            }
        }
        Ok(options)
    }
}

fn parse(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("The JSON cannot be read: {error}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request<'a>(messages: &'a str, options: Option<&'a str>) -> ChatRequest<'a> {
        ChatRequest {
            model: "a/b",
            messages,
            user: "u1",
            session_id: None,
            options,
            is_streamed: false,
        }
    }

    #[test]
    fn numbers_pass_as_written_and_fields_have_a_fixed_order() {
        let body = request(
            r#"[{"role":"user","content":"hi"}]"#,
            Some(r#"{"temperature":0.10,"top_p":1e-3}"#),
        )
        .body();
        let expected = concat!(
            r#"{"messages":[{"content":"hi","role":"user"}],"model":"a/b","stream":false,"#,
            r#""temperature":0.10,"top_p":1e-3,"usage":{"include":true},"user":"u1"}"#
        );
        assert_eq!(body.map(|body| body.text).as_deref(), Ok(expected));
    }

    #[test]
    fn a_stream_is_asked_for_with_its_usage() {
        let request = request(r#"[{"role":"user"}]"#, None);
        let body = ChatRequest { is_streamed: true, ..request }.body();
        let expected = concat!(
            r#"{"messages":[{"role":"user"}],"model":"a/b","stream":true,"#,
            r#""usage":{"include":true},"user":"u1"}"#
        );
        assert_eq!(body.map(|body| body.text).as_deref(), Ok(expected));
    }

    #[test]
    fn what_is_charged_apart_from_tokens_is_noticed() {
        let charged = |options| {
            let body = request(r#"[{"role":"user"}]"#, Some(options)).body();
            body.map(|body| body.charges_beyond_tokens)
        };
        assert_eq!(charged(r#"{"temperature":1}"#), Ok(false));
        assert_eq!(charged(r#"{"plugins":[{"id":"web"}]}"#), Ok(true));
        assert_eq!(charged(r#"{"tools":[]}"#), Ok(true));
        assert_eq!(charged(r#"{"models":["a/b:online"]}"#), Ok(true));
        let file = r#"[{"role":"user","content":[{"type":"file","file":{}}]}]"#;
        let body = request(file, None).body().map(|body| body.charges_beyond_tokens);
        assert_eq!(body, Ok(true));
    }

    #[test]
    fn messages_in_a_json_string_are_unwrapped() {
        let text = r#""[{\"role\":\"user\",\"content\":\"hi\"}]""#;
        let body = request(text, None).body().map(|body| body.text).unwrap_or_default();
        assert!(body.starts_with(r#"{"messages":[{"#), "{body}");
    }

    #[test]
    fn what_cannot_be_sent_is_refused_with_its_cause() {
        let cases = [
            ("[]", None, "The array is empty."),
            ("{}", None, "They are not a JSON array."),
            ("[1]", None, "Message 1 is not an object."),
            (r#"[{"role":"user"},{"content":"x"}]"#, None, "Message 2 has no role."),
            (r#"[{"role":"robot"}]"#, None, "Message 1 has the unknown role \"robot\"."),
            (
                r#"[{"role":"user"}]"#,
                Some(r#"{"Stream":true}"#),
                "The field \"stream\" is not the caller's to set.",
            ),
            (r#"[{"role":"user"}]"#, Some("[]"), "They are not a JSON object."),
        ];
        for (messages, options, cause) in cases {
            let detail = request(messages, options).body().map_err(|bad| bad.detail);
            assert_eq!(detail, Err(cause.to_owned()), "{messages} {options:?}");
        }
    }
}
