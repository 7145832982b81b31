//! What a chat completion request asks for, checked as OpenRouter checks it.
//!
//! Only what shapes the answer or the bill is read; the many other legal fields pass unseen.

mod preferences;

use serde_json::{Map, Value, json};

use crate::control::Control;
use crate::models::{self, Offer};
use crate::refusal::Refusal;

const ROLES: [&str; 5] = ["system", "developer", "user", "assistant", "tool"];

/// The model that answers a request without one, standing for the account's default.
const DEFAULT_MODEL: &str = "openai/gpt-4o-mini";

/// A request that is worth an answer.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) model: String,
    pub(crate) offer: Offer,
    pub(crate) messages: u64,
    /// Characters of all texts together.
    pub(crate) prompt_length: u64,
    /// Text of the last user message.
    pub(crate) question: String,
    pub(crate) token_limit: Option<u64>,
    pub(crate) user: Option<String>,
    pub(crate) session_id: Option<String>,
    pub(crate) stream: bool,
    pub(crate) control: Control,
    /// What storms of refusals are counted by: the user and the metadata.
    pub(crate) storm: String,
}

impl Order {
    /// Reads a request; `wishes` are those of all requests, which its own come on top of.
    pub(crate) fn parse(body: &Value, wishes: &Map<String, Value>) -> Result<Self, Refusal> {
        let fields = body.as_object().ok_or_else(|| {
            Refusal::bad_request("Invalid request: the body is not a JSON object")
        })?;
        Self::read(fields, wishes).map_err(|message| Refusal::bad_request(&message))
    }

    fn read(fields: &Map<String, Value>, wishes: &Map<String, Value>) -> Result<Self, String> {
        let messages = fields
            .get("messages")
            .and_then(Value::as_array)
            .filter(|messages| !messages.is_empty())
            .ok_or("Input required: specify \"messages\"")?;
        for (place, message) in messages.iter().enumerate() {
            check_message(message).map_err(|fault| format!("messages.{place}: {fault}"))?;
        }
        preferences::check(fields)?;
        let (model, offer) = choose_model(fields)?;
        Ok(Self {
            model,
            offer,
            messages: messages.len() as u64,
            prompt_length: messages.iter().map(|m| text_of(m).chars().count() as u64).sum(),
            question: messages
                .iter()
                .rfind(|message| message["role"] == "user")
                .map(text_of)
                .unwrap_or_default(),
            token_limit: token_limit(fields)?,
            user: text_field(fields, "user", 512)?,
            session_id: text_field(fields, "session_id", 256)?,
            stream: stream(fields)?,
            control: control(fields, wishes.clone())?,
            storm: json!([fields.get("user"), fields.get("metadata")]).to_string(),
        })
    }
}

fn check_message(message: &Value) -> Result<(), String> {
    let role = message.get("role").and_then(Value::as_str).ok_or("role is required")?;
    if !ROLES.contains(&role) {
        return Err(format!("unknown role {role:?}"));
    }
    match message.get("content") {
        Some(Value::String(_) | Value::Array(_)) => Ok(()),
        None | Some(Value::Null) if role == "assistant" => Ok(()),
        _ => Err("content must be a string or an array of parts".into()),
    }
}

/// The content's text, and that of its text parts.
fn text_of(message: &Value) -> String {
    match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let texts: Vec<&str> = parts.iter().filter_map(|part| part["text"].as_str()).collect();
            texts.join("\n")
        }
        _ => String::new(),
    }
}

/// The first model of `model` and `models` that exists.
fn choose_model(fields: &Map<String, Value>) -> Result<(String, Offer), String> {
    let fallbacks = fields.get("models").and_then(Value::as_array).into_iter().flatten();
    let asked: Vec<&str> =
        fields.get("model").into_iter().chain(fallbacks).filter_map(Value::as_str).collect();
    let candidates = if asked.is_empty() { &[DEFAULT_MODEL][..] } else { &asked[..] };
    candidates
        .iter()
        .find_map(|model| Some(((*model).to_owned(), models::offer(model)?)))
        .ok_or_else(|| format!("{} is not a valid model ID", candidates[0]))
}

fn stream(fields: &Map<String, Value>) -> Result<bool, String> {
    match fields.get("stream") {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(stream)) => Ok(*stream),
        Some(_) => Err("stream: expected true or false".into()),
    }
}

fn token_limit(fields: &Map<String, Value>) -> Result<Option<u64>, String> {
    for name in ["max_completion_tokens", "max_tokens"] {
        match fields.get(name) {
            None | Some(Value::Null) => {}
            Some(value) => match value.as_u64() {
                Some(limit) if limit > 0 => return Ok(Some(limit)),
                _ => return Err(format!("{name}: expected a whole number of at least 1")),
            },
        }
    }
    Ok(None)
}

fn text_field(
    fields: &Map<String, Value>,
    name: &str,
    longest: usize,
) -> Result<Option<String>, String> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.chars().count() <= longest => Ok(Some(text.clone())),
        Some(_) => Err(format!("{name}: expected a string of at most {longest} characters")),
    }
}

/// OpenRouter's limits hold for the caller's own keys; the fake's controls may be longer.
fn control(fields: &Map<String, Value>, mut wishes: Map<String, Value>) -> Result<Control, String> {
    let pairs = match fields.get("metadata") {
        None | Some(Value::Null) => return Control::parse(&wishes),
        Some(Value::Object(pairs)) => pairs,
        Some(_) => return Err("metadata: expected an object".into()),
    };
    if pairs.len() > 16 {
        return Err("metadata: expected at most 16 pairs".into());
    }
    for (key, value) in pairs {
        let text = value.as_str().ok_or_else(|| format!("metadata.{key}: expected a string"))?;
        let own = !key.starts_with("fake_");
        if own && (key.chars().count() > 64 || text.chars().count() > 512) {
            return Err(format!("metadata.{key}: too long"));
        }
    }
    wishes.extend(pairs.clone());
    Control::parse(&wishes)
}
