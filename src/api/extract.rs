//! Structured output: the model's answer as JSON that matches a schema.

use pgrx::prelude::*;

use super::prompt::{call, question};
use crate::access::{self, Level};
use crate::error::{self, Error, or_raise};
use crate::gateway;
use crate::openrouter::content::Said;
use crate::openrouter::schema::{self, Schema};
use crate::pg::arguments::Jsonb;
use crate::prompt::Prompt;
use crate::validator;

/// Asks a model one question and returns its answer as JSON that matches `schema`. What each argument is and
/// which errors there are stands in the function's comment (`sql/90_grants_comments.sql`).
#[pg_extern(schema = "hiems", volatile, parallel_unsafe, cost = 100000)]
fn extract(
    prompt: Option<String>,
    schema: Option<Jsonb>,
    model: default!(Option<String>, "NULL"),
    user: default!(Option<String>, "NULL"),
    use_case: default!(Option<String>, "NULL"),
    options: default!(Option<Jsonb>, "NULL"),
) -> Jsonb {
    let text = |jsonb: Option<Jsonb>| jsonb.map(|jsonb| jsonb.0);
    let (schema, options) = (text(schema), text(options));
    or_raise(ask(prompt, schema, Prompt { model, user, use_case, options, ..Prompt::default() }))
}

fn ask(
    question_text: Option<String>,
    schema: Option<String>,
    mut prompt: Prompt,
) -> Result<Jsonb, Error> {
    // Who may not call has nothing tried, either.
    access::require(Level::Caller)?;
    prompt.messages = Some(question(question_text)?);
    let schema = schema.ok_or_else(|| Error::InvalidArgument {
        message: "the schema is NULL".to_owned(),
        detail: String::new(),
        hint: "Without one, take hiems.complete().".to_owned(),
    })?;
    let schema = Schema::read(schema)?;
    validator::check_schema(schema.text())?;
    prompt.options = Some(schema.ask_for_it(prompt.options.as_deref())?);
    let (id, body) = call(prompt, true)?;
    error::warn_cut_off(id, Said::in_body(&body.0).finish_reason.as_deref());
    // It is booked by now: what is raised rolls back, and it is booked all the same.
    let _detail = gateway::detail_of(id);
    let answer = schema::answer_in(&body.0)
        .and_then(|answer| validator::compare(schema.text(), &answer).map(|()| answer))
        .map_err(|what| Error::NotExtracted { call: id, what })?;
    Ok(Jsonb(answer))
}
