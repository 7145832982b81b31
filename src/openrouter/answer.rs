//! The answer to a chat completion: what the ledger and the caller need of it.
//! Source: OpenRouter's "API reference, responses" (openrouter.ai/docs/api-reference).

use serde_json::Value;

use super::failure::{self, ErrorAnswer};
use super::json_text::fit_for_jsonb;
use super::usage::Usage;

/// A whole HTTP answer.
pub struct HttpAnswer {
    pub status: u16,
    pub retry_after: Option<u64>,
    pub body: Vec<u8>,
}

/// What an answer says.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// The body for the caller: JSON that `jsonb` takes.
    pub text: String,
    pub generation_id: Option<String>,
    pub model: Option<String>,
    pub provider: Option<String>,
    pub finish_reason: Option<String>,
    pub native_finish_reason: Option<String>,
    pub usage: Option<Usage>,
}

/// How to take an HTTP answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An answer with choices; it may still have ended in an error of the provider's.
    Answered(Box<Answer>),
    /// An error, at whatever status. It may name a generation and a usage all the same.
    Failed {
        error: ErrorAnswer,
        answer: Option<Box<Answer>>,
    },
    /// Status 200, and not JSON: billed or not is not known.
    Unreadable(String),
}

/// Reads an HTTP answer.
pub fn read(http: &HttpAnswer) -> Outcome {
    let text = fit_for_jsonb(&http.body);
    // A slow answer begins with white space, sent to keep the connection alive.
    let text = text.trim();
    let body = match serde_json::from_str::<Value>(text) {
        Ok(body) => body,
        Err(_) if http.status >= 400 => {
            let error = failure::error_answer(http.status, None, http.retry_after);
            return Outcome::Failed {
                error,
                answer: None,
            };
        }
        Err(error) => return Outcome::Unreadable(format!("the body is not JSON: {error}")),
    };
    let error = body.get("error").filter(|error| error.is_object());
    let has_choices = body.get("choices").is_some_and(Value::is_array);
    let answer = Box::new(answer(&body, text));
    if http.status < 400 && has_choices {
        return Outcome::Answered(answer);
    }
    if http.status < 400 && error.is_none() {
        return Outcome::Unreadable("the body has no choices".to_owned());
    }
    let error = failure::error_answer(http.status, error, http.retry_after);
    Outcome::Failed {
        error,
        answer: Some(answer),
    }
}

fn answer(body: &Value, text: &str) -> Answer {
    let field = |path: &str| {
        body.pointer(path)
            .and_then(Value::as_str)
            .filter(|s| !s.is_empty())
            .map(str::to_owned)
    };
    Answer {
        text: text.to_owned(),
        generation_id: field("/id"),
        model: field("/model"),
        provider: field("/provider"),
        finish_reason: field("/choices/0/finish_reason"),
        native_finish_reason: field("/choices/0/native_finish_reason"),
        usage: body
            .get("usage")
            .filter(|usage| usage.is_object())
            .map(Usage::read),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(status: u16, body: &str) -> Outcome {
        read(&HttpAnswer {
            status,
            retry_after: None,
            body: body.as_bytes().to_vec(),
        })
    }

    #[test]
    fn leading_white_space_is_not_part_of_the_answer() {
        let outcome = read_text(
            200,
            "\n\n  {\"id\":\"gen-1\",\"choices\":[{\"finish_reason\":\"stop\"}]}\n",
        );
        assert!(matches!(outcome, Outcome::Answered(answer)
            if answer.text.starts_with('{')
                && answer.generation_id.as_deref() == Some("gen-1")
                && answer.finish_reason.as_deref() == Some("stop")
                && answer.usage.is_none()));
    }

    #[test]
    fn errors_come_at_any_status_and_junk_at_200() {
        let at_200 = read_text(200, r#"{"error":{"code":502,"message":"x"},"user_id":"u"}"#);
        assert!(matches!(at_200, Outcome::Failed { error, .. } if !error.surely_not_billed));
        assert!(matches!(
            read_text(502, "<html>"),
            Outcome::Failed { answer: None, .. }
        ));
        assert!(matches!(read_text(200, "  <html>"), Outcome::Unreadable(_)));
        assert!(matches!(read_text(200, "{}"), Outcome::Unreadable(_)));
    }
}
