//! The answer to a chat completion: what the ledger and the caller need of it.
//! Source: OpenRouter's "API reference, responses" (openrouter.ai/docs/api-reference).

use serde_json::Value;
use serde_json::value::RawValue;

use super::failure::{self, ErrorAnswer};
use super::fields::{self, Field};
use super::json_text::{self, Fit};
use super::usage::Usage;

/// A whole HTTP answer.
pub struct HttpAnswer {
    pub status: u16,
    pub retry_after: Option<u64>,
    /// The server's clock (the header Date) less this one's, in seconds.
    pub clock_skew: Option<i64>,
    pub body: Vec<u8>,
}

/// What an answer says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The body for the caller: JSON that `jsonb` takes.
    pub text: String,
    /// True where that is not what OpenRouter sent, since `jsonb` would have refused it.
    pub changed: bool,
    pub generation_id: Option<String>,
    pub model: Option<String>,
    pub provider: Option<String>,
    pub finish_reason: Option<String>,
    pub native_finish_reason: Option<String>,
    /// What the first choice ended in, where that is an error.
    pub choice_error: Option<String>,
    pub usage: Option<Usage>,
}

/// How to take an HTTP answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An answer with choices; it may still have ended in an error of the provider's.
    Answered(Box<Answer>),
    /// An error, at whatever status. It may name a generation and a usage all the same.
    Failed { error: ErrorAnswer, answer: Option<Box<Answer>> },
    /// Status 200, and nothing to give to the caller: why, and what could be read all the same.
    Unreadable { why: String, answer: Option<Box<Answer>> },
}

/// Deeper answers are not given to callers: `jsonb` reads them by recursion.
pub(super) const MAX_DEPTH: usize = 1_000;

/// What is looked at of a body, or of a chunk of one.
pub(super) struct Body<'a> {
    id: Field<'a>,
    model: Field<'a>,
    provider: Field<'a>,
    choices: Option<Vec<&'a RawValue>>,
    usage: Field<'a>,
    error: Field<'a>,
}

impl<'a> Body<'a> {
    /// The error: it is no JSON, or no object.
    pub fn read(text: &'a str) -> serde_json::Result<Body<'a>> {
        let names = ["id", "model", "provider", "choices", "usage", "error"];
        let [id, model, provider, choices, usage, error] = fields::pick(text, &names)?;
        Ok(Body { id, model, provider, choices: fields::read(choices), usage, error })
    }

    /// None where it is no array.
    pub fn choices(&self) -> Option<&[&'a RawValue]> {
        self.choices.as_deref()
    }

    /// The error, of whatever JSON type; None where it is null.
    pub fn error(&self) -> Option<Value> {
        fields::read(self.error).filter(|error: &Value| !error.is_null())
    }

    /// What it says; without its text.
    pub fn answer(&self) -> Answer {
        let choice = self.choices().and_then(|choices| choices.first().copied());
        let names = ["finish_reason", "native_finish_reason", "error"];
        let [finish_reason, native_finish_reason, error] = fields::pick_of(choice, &names);
        let error = fields::read(error).filter(|error: &Value| !error.is_null());
        Answer {
            text: String::new(),
            changed: false,
            generation_id: fields::read(self.id).and_then(fields::generation_id),
            model: label(self.model),
            provider: label(self.provider),
            finish_reason: label(finish_reason),
            native_finish_reason: label(native_finish_reason),
            choice_error: error.map(|error| failure::error_code(&error, None)),
            usage: self.usage.and_then(Usage::read),
        }
    }
}

fn label(field: Field) -> Option<String> {
    fields::read::<String>(field).filter(|text| !text.is_empty()).map(|text| fields::label(&text))
}

/// The answer without what may stand around it: white space, which keeps the connection of a slow answer alive, a
/// byte order mark, and the end of a stream that was not asked for. No JSON object begins or ends so.
fn without_frame(text: &str) -> &str {
    let text = text.trim();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim_start();
    text.strip_suffix("data: [DONE]").unwrap_or(text).trim_end()
}

/// Reads an HTTP answer.
pub fn read(http: &HttpAnswer) -> Outcome {
    let Fit { text, depth } = json_text::fit_for_jsonb(&http.body);
    let changed = text.as_bytes() != http.body;
    let text = without_frame(&text);
    let body = match Body::read(text) {
        Ok(body) => body,
        Err(_) if http.status >= 400 => {
            let error = failure::error_answer(http.status, None, http.retry_after);
            return Outcome::Failed { error, answer: None };
        }
        Err(error) => {
            let what = if error.is_data() { "an object" } else { "JSON" };
            let why = format!("the body is not {what}: {error}");
            return Outcome::Unreadable { why, answer: None };
        }
    };
    let error = body.error();
    let answer = Box::new(Answer { text: text.to_owned(), changed, ..body.answer() });
    let answered = body.choices().is_some_and(|c| error.is_none() || !c.is_empty());
    if http.status < 400 && answered {
        if depth > MAX_DEPTH {
            let why = format!("the body is nested {depth} deep");
            return Outcome::Unreadable { why, answer: Some(answer) };
        }
        return Outcome::Answered(answer);
    }
    if http.status < 400 && error.is_none() {
        let why = "the body has no choices".to_owned();
        return Outcome::Unreadable { why, answer: Some(answer) };
    }
    let error = failure::error_answer(http.status, error.as_ref(), http.retry_after);
    Outcome::Failed { error, answer: Some(answer) }
}

#[cfg(test)]
mod tests {
    use super::super::money::Amount;
    use super::*;

    fn read_text(status: u16, body: &str) -> Outcome {
        read(&HttpAnswer {
            status,
            retry_after: None,
            clock_skew: None,
            body: body.as_bytes().to_vec(),
        })
    }

    #[test]
    fn leading_white_space_is_not_part_of_the_answer() {
        let body = "\n\n  {\"id\":\"gen-1\",\"choices\":[{\"finish_reason\":\"stop\"}]}\n";
        assert!(matches!(read_text(200, body), Outcome::Answered(answer)
            if answer.text.starts_with('{')
                && answer.generation_id.as_deref() == Some("gen-1")
                && answer.finish_reason.as_deref() == Some("stop")
                && answer.usage.is_none()));
    }

    #[test]
    fn a_byte_order_mark_and_the_end_of_a_stream_are_not_part_of_the_answer() {
        let whole = r#"{"id":"gen-1","choices":[{"finish_reason":"stop"}]}"#;
        for (before, after) in
            [("\u{feff}", ""), ("\n\u{feff}\n", "\n"), ("", "\n\ndata: [DONE]\n\n")]
        {
            let body = format!("{before}{whole}{after}");
            let read = read_text(200, &body);
            assert!(matches!(&read, Outcome::Answered(answer) if answer.text == whole), "{read:?}");
        }
    }

    #[test]
    fn errors_come_at_any_status_and_junk_at_200() {
        let at_200 = read_text(200, r#"{"error":{"code":502,"message":"x"},"user_id":"u"}"#);
        assert!(matches!(at_200, Outcome::Failed { error, .. } if !error.surely_not_billed));
        assert!(matches!(read_text(502, "<html>"), Outcome::Failed { answer: None, .. }));
        assert!(matches!(read_text(200, "  <html>"), Outcome::Unreadable { answer: None, .. }));
        assert!(matches!(read_text(200, "{}"), Outcome::Unreadable { answer: Some(_), .. }));
    }

    #[test]
    fn what_a_choice_ended_in_is_seen() {
        let body = r#"{"choices":[{"finish_reason":"error","error":{"code":502,"message":"x"}}]}"#;
        assert!(matches!(read_text(200, body), Outcome::Answered(answer)
            if answer.choice_error.as_deref() == Some("502")));
    }

    #[test]
    fn the_cost_of_an_answer_that_is_too_deep_is_read_all_the_same() {
        for depth in [200, 100_000] {
            let (open, close) = ("[".repeat(depth), "]".repeat(depth));
            let body =
                format!(r#"{{"id":"gen-1","choices":[{open}{close}],"usage":{{"cost":0.5}}}}"#);
            let cost = match read_text(200, &body) {
                Outcome::Answered(answer) if depth < MAX_DEPTH => answer.usage,
                Outcome::Unreadable { answer: Some(answer), .. } if depth > MAX_DEPTH => {
                    answer.usage
                }
                other => panic!("{depth}: {other:?}"),
            };
            let cost = cost.map(|usage| usage.cost);
            assert!(matches!(cost, Some(Amount::Known(cost)) if cost.as_str() == "0.5"));
        }
    }
}
