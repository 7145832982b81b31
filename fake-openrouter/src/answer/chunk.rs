//! A streamed chat completion, as the events it consists of.

use serde::Serialize;
use serde_json::{Value, json};

use super::usage::{Told, told};
use super::{broken, errors, router};
use crate::control::{Control, ErrorForm, UsageForm};
use crate::generate::Outcome;

const COMMENT: &str = ": OPENROUTER PROCESSING\n\n";
const DONE: &str = "data: [DONE]\n\n";

/// The events of a stream in their order.
pub(crate) struct Script {
    /// Sent with the headers.
    pub(crate) opening: Vec<String>,
    /// The text, a word at a time.
    pub(crate) text: Vec<Piece>,
    /// Sent when the generation has ended.
    pub(crate) closing: Vec<String>,
}

/// An event of the text.
pub(crate) struct Piece {
    pub(crate) event: String,
    /// Tokens of the completion so far, this event's included.
    pub(crate) tokens: u64,
}

/// Writes the stream of an outcome.
pub(crate) fn stream(outcome: &Outcome, control: &Control) -> serde_json::Result<Script> {
    let generation = &outcome.generation;
    let wishes = &control.streaming;
    let opening = vec![COMMENT.to_owned(); wishes.comments.unwrap_or(2) as usize];

    let mut deltas = vec![json!({ "role": "assistant", "content": "" })];
    if generation.reasoning_tokens > 0 {
        let reasoning = "Weighing the question.";
        deltas.push(json!({ "role": "assistant", "content": "", "reasoning": reasoning }));
    }
    let words: Vec<&str> = outcome.content.split_inclusive(' ').collect();
    // An error comes when half the text is out.
    let said = if wishes.error.is_some() { words.len() / 2 } else { words.len() };
    let word = |word: &&str| json!({ "role": "assistant", "content": word });
    deltas.extend(words.iter().take(said).map(word));
    let count = deltas.len() as u64;
    let middle = count.div_ceil(2);
    let text = deltas.into_iter().zip(1..).map(|(mut delta, place)| {
        let error = control.answer.error.clone().filter(|_| place == middle);
        let [error, of_choice, of_message] = errors(error, control.answer.error_at);
        if let Some(error) = of_message {
            delta["error"] = error;
        }
        let choice = Choice { error: of_choice, ..Choice::open(delta) };
        let event = Event { choices: vec![choice], error, ..Event::of(outcome) }.text()?;
        Ok(Piece { event, tokens: generation.completion_tokens * place / count })
    });
    let text = text.collect::<serde_json::Result<_>>()?;

    let mut closing = match wishes.error {
        Some(form) => vec![failing(outcome, control, form).text()?],
        None => ending(outcome, control)?,
    };
    let ends = wishes.error.is_none_or(|form| form == ErrorForm::Usage);
    if ends && !wishes.no_done {
        closing.push(DONE.to_owned());
    }
    Ok(Script { opening, text, closing })
}

/// The chunk with the finish reason, and the one with the usage.
fn ending(outcome: &Outcome, control: &Control) -> serde_json::Result<Vec<String>> {
    let mut events = vec![Event { choices: vec![finished(outcome)], ..Event::of(outcome) }];
    if let Some(usage) = told(outcome, control) {
        let choices = match control.streaming.usage_chunk {
            UsageForm::Repeated => vec![finished(outcome)],
            UsageForm::Empty => Vec::new(),
            UsageForm::Null => {
                let open =
                    Choice { finish_reason: None, native_finish_reason: None, ..finished(outcome) };
                vec![open]
            }
        };
        events.push(Event { choices, usage: Some(usage), ..Event::of(outcome) });
    }
    if let Some(last) = events.last_mut() {
        last.openrouter_metadata = router::metadata(outcome);
    }
    events.iter().map(Event::text).collect()
}

/// The chunk that says what went wrong.
fn failing<'a>(outcome: &'a Outcome, control: &'a Control, form: ErrorForm) -> Event<'a> {
    let choice = |finish_reason| Choice {
        finish_reason,
        native_finish_reason: finish_reason,
        ..finished(outcome)
    };
    let (error, choices) = match form {
        ErrorForm::Choice => (broken(json!(502)), vec![choice(Some("error"))]),
        ErrorForm::Text => (broken(json!("server_error")), vec![choice(Some("error"))]),
        ErrorForm::Bare => (broken(json!(502)), Vec::new()),
        ErrorForm::Usage => {
            let metadata = json!({ "error_type": "token_limit_exceeded" });
            let error =
                json!({ "code": 400, "message": "Token limit reached", "metadata": metadata });
            (error, vec![choice(None)])
        }
    };
    let usage = if form == ErrorForm::Usage { told(outcome, control) } else { None };
    Event { choices, error: Some(error), usage, ..Event::of(outcome) }
}

/// A choice without text that ends as the generation does.
fn finished(outcome: &Outcome) -> Choice<'_> {
    Choice {
        finish_reason: outcome.generation.finish_reason.as_deref(),
        native_finish_reason: outcome.generation.native_finish_reason.as_deref(),
        ..Choice::open(json!({ "role": "assistant", "content": "" }))
    }
}

#[derive(Serialize)]
struct Event<'a> {
    id: &'a str,
    provider: &'a str,
    model: &'a str,
    object: &'a str,
    created: i64,
    choices: Vec<Choice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Told<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    openrouter_metadata: Option<Value>,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: u32,
    delta: Value,
    finish_reason: Option<&'a str>,
    native_finish_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Value>,
}

impl Choice<'_> {
    /// One that has not ended.
    fn open(delta: Value) -> Self {
        Self { index: 0, delta, finish_reason: None, native_finish_reason: None, error: None }
    }
}

impl<'a> Event<'a> {
    /// What all chunks of a stream share.
    fn of(outcome: &'a Outcome) -> Self {
        let generation = &outcome.generation;
        Self {
            id: &generation.id,
            provider: &generation.provider,
            model: &generation.model,
            object: "chat.completion.chunk",
            created: generation.created,
            choices: Vec::new(),
            error: None,
            usage: None,
            openrouter_metadata: None,
        }
    }

    fn text(&self) -> serde_json::Result<String> {
        Ok(format!("data: {}\n\n", serde_json::to_string(self)?))
    }
}
