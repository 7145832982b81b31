//! The answer to a chat completion: what the ledger and the caller need of it.
//! Source: OpenRouter's "API reference, responses" (openrouter.ai/docs/api-reference).

use std::collections::HashMap;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::failure::{self, ErrorAnswer, Head, Told};
use super::fields::{self, Field};
use super::json_text::{self, Fit};
use super::sse::Events;
use super::stream::Transcript;
use super::usage::Usage;
use super::words;

/// A whole HTTP answer.
pub struct HttpAnswer {
    pub status: u16,
    pub retry_after: Option<u64>,
    /// The server's clock (the header Date) less this one's, in seconds.
    pub clock_skew: Option<i64>,
    pub body: Vec<u8>,
}

impl HttpAnswer {
    pub fn head(&self) -> Head {
        let skew = self.clock_skew.unwrap_or(0).saturating_mul(1_000);
        let now = chrono::Utc::now().timestamp_millis().saturating_add(skew);
        Head { status: self.status, retry_after: self.retry_after, now }
    }
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
    /// What went wrong: the body's own error, or that of a choice, its message or its delta; of whatever JSON type.
    pub error: Option<Value>,
    /// True where a choice ended in an error, whether or not that is told.
    pub ends_in_error: bool,
    /// True where there is text, reasoning, a tool call or the like.
    pub has_text: bool,
    pub usage: Option<Usage>,
}

impl Answer {
    /// True where it is a failure, at whatever status, though there may be a text, too.
    pub fn is_failed(&self) -> bool {
        self.error.is_some() || self.ends_in_error
    }

    /// Why it is a failure; `told`: the words of a body without an error.
    pub fn error_answer(&self, head: Head, told: Option<String>) -> ErrorAnswer {
        let untold = json!({"message": "the answer ended in an error that is not told"});
        let told = match &self.error {
            Some(error) => Told::Error(error),
            None if self.ends_in_error => Told::Error(&untold),
            None => Told::Words(told),
        };
        let mut error = failure::error_answer(head, &told);
        if self.has_text {
            // Something was generated, whatever the status is.
            error.surely_not_billed = false;
            error.failure = error.failure.with_part();
        }
        error
    }
}

/// How to take an HTTP answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An answer with choices.
    Answered(Box<Answer>),
    /// An error, at whatever status. It may name a generation and a usage, and have a part of the text, all the same.
    Failed { error: ErrorAnswer, answer: Box<Answer> },
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

    /// True where it has a message, and not only a piece of one.
    fn is_message(&self) -> bool {
        let first = self.choices.as_ref().and_then(|choices| choices.first().copied());
        let [message] = fields::pick_of(first, &["message"]);
        message.is_some()
    }

    /// What it says; without its text.
    pub fn answer(&self) -> Answer {
        let mut answer = Answer {
            generation_id: fields::read(self.id).and_then(fields::generation_id),
            model: label(self.model),
            provider: label(self.provider),
            error: error(self.error),
            usage: self.usage.and_then(Usage::read),
            ..Answer::default()
        };
        for (i, choice) in self.choices.iter().flatten().enumerate() {
            let names = ["finish_reason", "native_finish_reason", "error", "message", "delta"];
            let [finish_reason, native_finish_reason, of_choice, message, delta] =
                fields::pick_of(Some(*choice), &names);
            let finish_reason = label(finish_reason);
            answer.ends_in_error |= finish_reason.as_deref() == Some("error");
            if i == 0 {
                answer.finish_reason = finish_reason;
                answer.native_finish_reason = label(native_finish_reason);
            }
            for part in [message, delta] {
                answer.has_text |= says_anything(part);
            }
            let [of_message] = fields::pick_of(message, &["error"]);
            let [of_delta] = fields::pick_of(delta, &["error"]);
            let errors = [of_choice, of_message, of_delta];
            answer.error = answer.error.or_else(|| errors.into_iter().find_map(error));
        }
        answer
    }
}

/// An error, of whatever JSON type; null and false say that there is none.
fn error(field: Field) -> Option<Value> {
    let text = field?.get();
    // What is nested too deep to be read is an error all the same.
    let error = serde_json::from_str(text)
        .unwrap_or_else(|_| Value::String("an error that cannot be read".to_owned()));
    Some(error).filter(|error| !matches!(error, Value::Null | Value::Bool(false)))
}

/// Parts of a message, or of a delta, that are no sign of a token.
const NO_TOKENS: [&str; 2] = ["role", "error"];

/// True if this message or delta has a token in it.
fn says_anything(part: Field) -> bool {
    let part: HashMap<String, &RawValue> = fields::read(part).unwrap_or_default();
    let is_token = |value: &RawValue| !matches!(value.get(), "null" | "\"\"" | "[]" | "{}");
    part.iter().any(|(name, value)| !NO_TOKENS.contains(&&**name) && is_token(value))
}

fn label(field: Field) -> Option<String> {
    fields::read::<String>(field).filter(|text| !text.is_empty()).map(|text| fields::label(&text))
}

/// A body without what may stand around it: white space, which keeps the connection of a slow answer alive, a byte
/// order mark, and the end of a stream that was not asked for. No JSON object begins or ends so.
pub(super) fn without_frame(text: &str) -> &str {
    let text = text.trim();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim_start();
    let end = text.strip_suffix("[DONE]").and_then(|text| text.trim_end().strip_suffix("data:"));
    end.unwrap_or(text).trim_end()
}

/// Reads an HTTP answer.
pub fn read(http: &HttpAnswer) -> Outcome {
    let Fit { text, depth } = json_text::fit_for_jsonb(&http.body);
    let changed = text.as_bytes() != http.body;
    let text = without_frame(&text);
    let body = match Body::read(text) {
        Ok(body) => body,
        Err(_) if is_stream(text) => return read_stream(http, text),
        Err(_) if http.status >= 400 => {
            let told = words::of_body(text).or_else(|| words::of_text(text));
            // Half an answer is none of the words of a refusal.
            let has_text = text.contains(r#""choices""#);
            return failed(http, Answer { has_text, ..Answer::default() }, told);
        }
        Err(error) => {
            let what = if error.is_data() { "an object" } else { "JSON" };
            let why = format!("the body is not {what}: {error}");
            return Outcome::Unreadable { why, answer: None };
        }
    };
    let answer = Answer { text: text.to_owned(), changed, ..body.answer() };
    if http.status >= 400 || answer.is_failed() {
        return failed(http, answer, words::of_body(text));
    }
    let answer = Box::new(answer);
    if body.choices.is_none() {
        let told = words::of_body(text).map(|words| format!(": {words}")).unwrap_or_default();
        let why = format!("the body has no choices{told}");
        return Outcome::Unreadable { why, answer: Some(answer) };
    }
    if depth > MAX_DEPTH {
        let why = format!("the body is nested {depth} deep");
        return Outcome::Unreadable { why, answer: Some(answer) };
    }
    Outcome::Answered(answer)
}

fn failed(http: &HttpAnswer, answer: Answer, told: Option<String>) -> Outcome {
    let error = answer.error_answer(http.head(), told);
    Outcome::Failed { error, answer: Box::new(answer) }
}

/// True of the events of a stream.
fn is_stream(text: &str) -> bool {
    ["data:", ":", "event:"].iter().any(|begin| text.starts_with(begin))
}

/// Reads the events of a stream, which either nobody asked for, or somebody has had. Where the whole answer is in one of
/// them, it is that; where there are only pieces, what they cost is known.
fn read_stream(http: &HttpAnswer, text: &str) -> Outcome {
    let mut transcript = Transcript::default();
    let mut events = Events::default();
    let mut whole = events.take(text.as_bytes());
    whole.extend(events.end());
    let is_answer = |data: &[u8]| {
        let text = str::from_utf8(data).ok();
        text.and_then(|text| Body::read(text).ok()).is_some_and(|body| body.is_message())
    };
    if let Some(event) = whole.iter().find(|event| is_answer(event)) {
        return read(&HttpAnswer { body: event.clone(), ..*http });
    }
    for event in whole {
        transcript.take_rest(&event);
    }
    if http.status >= 400 || transcript.answer.is_failed() {
        return failed(http, transcript.answer, words::of_text(text));
    }
    let why = "the body is a stream, which was not asked for".to_owned();
    Outcome::Unreadable { why, answer: Some(Box::new(transcript.answer)) }
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
        assert!(matches!(read_text(502, "<html>"), Outcome::Failed { .. }));
        assert!(matches!(read_text(200, "  <html>"), Outcome::Unreadable { answer: None, .. }));
        assert!(matches!(read_text(200, "{}"), Outcome::Unreadable { answer: Some(_), .. }));
    }

    #[test]
    fn an_error_of_any_type_at_any_place_makes_it_a_failure() {
        let errors =
            [r#"{"code":502,"message":"x"}"#, r#""x""#, "502", "true", r#"["x"]"#, r#""""#];
        for error in errors {
            for body in [
                format!(r#"{{"error":{error},"choices":[{{"message":{{"content":"half"}}}}]}}"#),
                format!(r#"{{"choices":[{{"error":{error},"message":{{"content":"half"}}}}]}}"#),
                format!(r#"{{"choices":[{{"message":{{"content":"half","error":{error}}}}}]}}"#),
                format!(r#"{{"choices":[{{"delta":{{"content":"half","error":{error}}}}}]}}"#),
                format!(
                    r#"{{"choices":[{{}},{{"error":{error},"message":{{"content":"half"}}}}]}}"#
                ),
            ] {
                let read = read_text(200, &body);
                let Outcome::Failed { error, answer } = read else { panic!("{body}: {read:?}") };
                assert!(answer.has_text && !error.surely_not_billed, "{body}");
                assert!(error.again.is_none(), "{body}");
                let hint = error.failure.hint.unwrap_or_default();
                assert!(hint.contains("hiems.raw_answer()"), "{body}: {hint}");
            }
        }
        let ended = r#"{"choices":[{"finish_reason":"error","message":{"content":""}}]}"#;
        assert!(matches!(read_text(200, ended), Outcome::Failed { error, answer }
            if !answer.has_text && error.error_code == "502"));
        let deep = format!(r#"{{"error":{}{}}}"#, "[".repeat(500), "]".repeat(500));
        assert!(matches!(read_text(200, &deep), Outcome::Failed { .. }));
        for none in ["null", "false"] {
            let body =
                format!(r#"{{"error":{none},"choices":[{{"error":{none},"message":{{}}}}]}}"#);
            assert!(matches!(read_text(200, &body), Outcome::Answered(_)), "{body}");
        }
    }

    #[test]
    fn what_has_a_text_may_have_been_billed_at_any_status() {
        let with = r#"{"error":{"code":429},"choices":[{"message":{"content":"half"}}]}"#;
        let without = r#"{"error":{"code":429},"choices":[{"message":{"role":"assistant"}}]}"#;
        let is_free = |body| match read_text(429, body) {
            Outcome::Failed { error, .. } => error.surely_not_billed,
            other => panic!("{other:?}"),
        };
        assert_eq!((is_free(with), is_free(without)), (false, true));
        assert!(!is_free(&with[..with.len() - 3]));
        assert!(!is_free("data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\n"));
        assert!(is_free("slow down"));
    }

    #[test]
    fn a_stream_that_nobody_asked_for_tells_its_cost_at_least() {
        let pieces = "data: {\"id\":\"gen-1\",\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\n\
                      data: {\"choices\":[],\"usage\":{\"cost\":0.5}}\n\ndata: [DONE]\n\n";
        let read = read_text(200, pieces);
        assert!(
            matches!(&read, Outcome::Unreadable { answer: Some(answer), .. }
            if answer.generation_id.as_deref() == Some("gen-1") && answer.usage.is_some()),
            "{read:?}"
        );
        let whole = r#"{"id":"gen-1","choices":[{"message":{"content":"hi"}}]}"#;
        let event = format!(": wait\n\ndata: {whole}\n\ndata: [DONE]\n\n");
        let read = read_text(200, &event);
        assert!(matches!(&read, Outcome::Answered(answer) if answer.text == whole), "{read:?}");
        let failed = "data: {\"error\":{\"code\":402},\"choices\":[]}\n\n";
        assert!(
            matches!(read_text(200, failed), Outcome::Failed { error, .. } if error.error_code == "402")
        );
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
