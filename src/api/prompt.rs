//! The synchronous call.

use pgrx::prelude::*;
use serde_json::json;
use uuid::Uuid;

use crate::booking;
use crate::collect;
use crate::error::{self, Error, or_raise};
use crate::gateway::{self, Answered, Submitted};
use crate::openrouter::content::Said;
use crate::pg::arguments::Jsonb;
use crate::pg::xact;
use crate::prompt::{self, Prompt};

/// Calls a model through OpenRouter, books the call in `hiems.ai_usage_logs` in the caller's
/// transaction, and returns OpenRouter's body. What each argument is and which errors there are stands
/// in the function's comment (`sql/90_grants_comments.sql`).
#[pg_extern(schema = "hiems", volatile, parallel_unsafe, cost = 100000)]
#[allow(clippy::too_many_arguments)] // the SQL signature
fn submit_prompt(
    model: Option<String>,
    messages: Option<Jsonb>,
    user: default!(Option<String>, "NULL"),
    use_case: default!(Option<String>, "NULL"),
    session_id: default!(Option<String>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
    options: default!(Option<Jsonb>, "NULL"),
    idempotency_key: default!(Option<String>, "NULL"),
) -> Jsonb {
    let prompt = Prompt::new(model, messages, user, use_case, session_id, metadata, options);
    let prompt = Prompt { idempotency_key, ..prompt };
    or_raise(call(prompt, false).map(|(_, body)| body))
}

/// Asks a model one question and returns the text of its answer; NULL where the answer has none.
/// Books and raises as submit_prompt does.
#[pg_extern(schema = "hiems", volatile, parallel_unsafe, cost = 100000)]
fn complete(
    prompt: Option<String>,
    model: default!(Option<String>, "NULL"),
    user: default!(Option<String>, "NULL"),
    use_case: default!(Option<String>, "NULL"),
) -> Option<String> {
    or_raise(ask(prompt, model, user, use_case))
}

fn ask(
    prompt: Option<String>,
    model: Option<String>,
    user: Option<String>,
    use_case: Option<String>,
) -> Result<Option<String>, Error> {
    let messages = Some(question(prompt)?);
    let prompt = Prompt { model, messages, user, use_case, ..Prompt::default() };
    let (id, body) = call(prompt, false)?;
    let said = Said::in_body(&body.0);
    error::warn_cut_off(id, said.finish_reason.as_deref());
    Ok(said.text)
}

/// Messages that ask one question.
pub fn question(prompt: Option<String>) -> Result<String, Error> {
    let prompt = prompt.ok_or_else(|| Error::InvalidArgument {
        message: "the prompt is NULL".to_owned(),
        detail: String::new(),
        hint: "Example: SELECT hiems.complete('Say hello.', 'openai/gpt-4o-mini').".to_owned(),
    })?;
    Ok(json!([{"role": "user", "content": prompt}]).to_string())
}

/// Makes a call and books it in the caller's transaction; gives its id, and OpenRouter's body.
/// `keeps_answer`: `hiems.await_prompt()` has the answer, too.
pub fn call(prompt: Prompt, keeps_answer: bool) -> Result<(Uuid, Jsonb), Error> {
    prompt::check_transaction()?;
    let (mut submit, body) = prompt.prepare()?;
    submit.keeps_answer = keeps_answer;
    // Before the bill, and again behind it: the call takes its time.
    booking::refuse_trigger(None)?;
    // Last, so that a refused call takes no transaction id.
    submit.xid = Some(xact::top_level_xid());
    let id = submit.entry.id;
    let principal = submit.entry.principal.clone();
    let mut answered = match gateway::submit(submit, body.as_bytes())? {
        Submitted::Answered(answered) => answered,
        Submitted::Replay(first) => return Ok((first, replay(first, &principal)?)),
    };
    booking::book(vec![(id, answered.entry.take())])?;
    Ok((id, returned(id, answered)))
}

/// OpenRouter's body, as its caller is given it.
pub fn returned(call: Uuid, answered: Answered) -> Jsonb {
    if answered.is_changed {
        error::warn_changed(call);
    }
    // The gateway has made it fit; UTF-8 it is by then.
    Jsonb(String::from_utf8_lossy(&answered.body).into_owned())
}

/// The answer of the call that has the same idempotency key, with a mark: nothing was sent, nothing is
/// booked.
pub fn replay(first: Uuid, principal: &str) -> Result<Jsonb, Error> {
    let answer = collect::answer(first, principal, None).map_err(|error| match error {
        Error::NoSuchAnswer(call) => Error::AnswerForgotten(call),
        error => error,
    })?;
    let mark = format!(r#"{{"hiems": {{"replayed": true, "call": "{first}"}}"#);
    // An object, and not an empty one: it has choices.
    let rest = answer.trim_start().strip_prefix('{').unwrap_or_default();
    Ok(Jsonb(format!("{mark}, {rest}")))
}
