//! The synchronous call.

use std::time::{Duration, Instant};

use pgrx::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::caller::{self, Caller};
use crate::collect;
use crate::error::{self, Error, or_raise};
use crate::gateway::protocol::Submit;
use crate::gateway::{self, Answered, Submitted};
use crate::idempotency::Idempotency;
use crate::ledger::{self, Entry};
use crate::openrouter::request::ChatRequest;
use crate::pg::arguments::Jsonb;
use crate::pg::{interrupts, session, wait, xact};
use crate::settings;

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
    let text = |jsonb: Option<Jsonb>| jsonb.map(|jsonb| jsonb.0);
    or_raise(call(Prompt {
        model,
        messages: text(messages),
        user,
        use_case,
        session_id,
        metadata: text(metadata),
        options: text(options),
        idempotency_key,
    }))
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

/// The arguments of a call, as they came.
#[derive(Default)]
struct Prompt {
    model: Option<String>,
    messages: Option<String>,
    user: Option<String>,
    use_case: Option<String>,
    session_id: Option<String>,
    metadata: Option<String>,
    options: Option<String>,
    idempotency_key: Option<String>,
}

/// Texts that go into the journal and the ledger with each call, and how many octets they may have.
const MAX_LABEL: usize = 512;
const MAX_METADATA: usize = 64 * 1024;
/// In characters.
const MAX_SESSION_ID: usize = 256;

impl Prompt {
    fn check_lengths(
        &self,
        model: &str,
        use_case: Option<&str>,
        caller: &Caller,
    ) -> Result<(), Error> {
        let labels = [
            ("model", Some(model), MAX_LABEL),
            ("the user", Some(caller.user_id.as_str()), MAX_LABEL),
            ("the token's subject", Some(caller.principal.as_str()), MAX_LABEL),
            ("use_case", use_case, MAX_LABEL),
            ("metadata", self.metadata.as_deref(), MAX_METADATA),
            ("idempotency_key", self.idempotency_key.as_deref(), MAX_LABEL),
        ];
        for (name, text, limit) in labels {
            let length = text.map_or(0, str::len);
            if length > limit {
                return Err(Error::InvalidArgument {
                    message: format!("{name} is too long"),
                    detail: format!("It has {length} octets, and may have {limit}."),
                    hint: String::new(),
                });
            }
        }
        let bad_key = |detail: &str| Error::InvalidArgument {
            message: "idempotency_key cannot be used".to_owned(),
            detail: detail.to_owned(),
            hint: "Take a text of your own for each request, such as a uuid.".to_owned(),
        };
        if self.idempotency_key.as_deref() == Some("") {
            return Err(bad_key("It is empty."));
        }
        if self.idempotency_key.is_some() && caller::current_principal().is_none() {
            return Err(bad_key("The token names no subject: its keys would be everybody's."));
        }
        // OpenRouter's own limit: https://openrouter.ai/docs/api-reference, session_id.
        let characters = self.session_id.as_ref().map_or(0, |text| text.chars().count());
        if characters > MAX_SESSION_ID {
            return Err(Error::InvalidArgument {
                message: "session_id is too long".to_owned(),
                detail: format!(
                    "It has {characters} characters, and OpenRouter takes {MAX_SESSION_ID}."
                ),
                hint: String::new(),
            });
        }
        Ok(())
    }
}

fn ask(
    prompt: Option<String>,
    model: Option<String>,
    user: Option<String>,
    use_case: Option<String>,
) -> Result<Option<String>, Error> {
    let prompt = prompt.ok_or_else(|| Error::InvalidArgument {
        message: "the prompt is NULL".to_owned(),
        detail: String::new(),
        hint: "Example: SELECT hiems.complete('Say hello.', 'openai/gpt-4o-mini').".to_owned(),
    })?;
    let messages = json!([{"role": "user", "content": prompt}]).to_string();
    let body =
        call(Prompt { model, messages: Some(messages), user, use_case, ..Prompt::default() })?;
    let body: Value = serde_json::from_str(&body.0).unwrap_or_default();
    Ok(body.pointer("/choices/0/message/content").and_then(Value::as_str).map(str::to_owned))
}

fn call(prompt: Prompt) -> Result<Jsonb, Error> {
    check_transaction()?;
    let caller = caller::identify(prompt.user.clone())?;
    let (submit, body) = prepare(prompt, caller)?;
    // Before the bill, and again behind it: the call takes its time.
    refuse_trigger(ledger::foreign_trigger()?, None)?;
    let id = submit.entry.id;
    let principal = submit.entry.principal.clone();
    let Answered { entry, body, is_changed } = match gateway::submit(submit, body.as_bytes())? {
        Submitted::Answered(answered) => answered,
        Submitted::Replay(first) => return replay(first, &principal),
    };
    match entry {
        Some(entry) if lock_ledger() || !defer(id)? => {
            refuse_trigger(ledger::foreign_trigger_now()?, Some(id))?;
            ledger::book(&entry)?;
        }
        Some(_) => {}
        // A gateway that is gone by now has it in its journal: the next one books it.
        None => drop(defer(id)?),
    }
    if is_changed {
        error::warn_changed(id);
    }
    // The gateway has made it fit; UTF-8 it is by then.
    Ok(Jsonb(String::from_utf8_lossy(&body).into_owned()))
}

/// The answer of the call that has the same idempotency key, with a mark: nothing was sent, nothing is
/// booked.
fn replay(first: Uuid, principal: &str) -> Result<Jsonb, Error> {
    let answer = collect::answer(first, principal, None).map_err(|error| match error {
        Error::NoSuchAnswer(call) => Error::AnswerForgotten(call),
        error => error,
    })?;
    let mark = format!(r#"{{"hiems": {{"replayed": true, "call": "{first}"}}"#);
    // An object, and not an empty one: it has choices.
    let rest = answer.trim_start().strip_prefix('{').unwrap_or_default();
    Ok(Jsonb(format!("{mark}, {rest}")))
}

/// How long somebody's lock on the ledger is waited for before the gateway is asked to book.
const LEDGER_PATIENCE: Duration = Duration::from_millis(100);

/// True once the ledger can be written to. The wait can be cancelled.
fn lock_ledger() -> bool {
    let deadline = Instant::now() + LEDGER_PATIENCE;
    while !ledger::try_lock() {
        if Instant::now() > deadline {
            return false;
        }
        wait::wait_for_latch(Duration::from_millis(10));
        interrupts::check();
    }
    true
}

/// Leaves the booking to the gateway: an answer that was paid for does not wait for a VACUUM FULL.
fn defer(call: Uuid) -> Result<bool, Error> {
    let told = gateway::defer(call, xact::innermost_xid())?;
    if told {
        // The gateway goes by its fate, and may be gone by then.
        xact::force_durable_commit();
        error::warn_deferred(call);
    }
    Ok(told)
}

fn refuse_trigger(foreign: Option<String>, call: Option<Uuid>) -> Result<(), Error> {
    foreign.map_or(Ok(()), |name| Err(Error::ForeignTrigger { name, call }))
}

/// What must hold of the caller's transaction, before anything is sent.
fn check_transaction() -> Result<(), Error> {
    if xact::is_in_recovery() {
        return Err(Error::Standby);
    }
    if xact::is_read_only() {
        return Err(Error::ReadOnly);
    }
    if xact::is_parallel() {
        return Err(Error::Parallel);
    }
    if caller::is_jwt_session() && !xact::is_read_committed() {
        return Err(Error::Isolation);
    }
    Ok(())
}

fn prepare(mut prompt: Prompt, caller: Caller) -> Result<(Submit, String), Error> {
    let model = prompt.model.take().or_else(settings::default_model).ok_or_else(no_model)?;
    let use_case =
        prompt.use_case.take().filter(|text| !text.is_empty()).or_else(settings::use_case);
    prompt.check_lengths(&model, use_case.as_deref(), &caller)?;
    // Before it is read: what is too large costs no time.
    let large = prompt.messages.as_ref().map_or(0, String::len);
    check_size(large + prompt.options.as_ref().map_or(0, String::len))?;
    let body = ChatRequest {
        model: &model,
        messages: prompt.messages.as_deref().unwrap_or("null"),
        user: &caller.user_id,
        session_id: prompt.session_id.as_deref(),
        options: prompt.options.as_deref(),
    }
    .body()?;
    check_size(body.text.len())?;
    let metadata = prompt.metadata.map(RawValue::from_string).transpose();
    let metadata = metadata.map_err(|error| Error::InvalidArgument {
        message: "metadata cannot be used".to_owned(),
        detail: format!("The JSON cannot be read: {error}."),
        hint: String::new(),
    })?;
    let entry = Entry {
        id: Uuid::now_v7(),
        model_requested: model,
        user_id: caller.user_id,
        use_case,
        session_id: prompt.session_id,
        metadata,
        principal: caller.principal,
        key_name: settings::api_key_name(),
        role_name: caller.role_name,
        application_name: session::setting(c"application_name"),
        attempts: 1,
        calls: 1,
        ..Entry::default()
    };
    // Last, so that a refused call takes no transaction id.
    let xid = xact::top_level_xid();
    let charges_beyond_tokens = body.charges_beyond_tokens;
    let idempotency =
        prompt.idempotency_key.map(|key| Idempotency { key, digest: digest(&body.text) });
    Ok((Submit { entry, xid, charges_beyond_tokens, idempotency }, body.text))
}

/// SHA-256, in hexadecimal digits: what a second call under the same key has to have, too.
fn digest(body: &str) -> String {
    Sha256::digest(body.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn check_size(bytes: usize) -> Result<(), Error> {
    let limit = settings::max_request_bytes();
    if bytes > limit { Err(Error::RequestTooLarge { bytes, limit }) } else { Ok(()) }
}

fn no_model() -> Error {
    Error::InvalidArgument {
        message: "no model is named".to_owned(),
        detail: "The model is NULL, and hiems.default_model is not set.".to_owned(),
        hint: "Name a model, such as 'openai/gpt-4o-mini', or set hiems.default_model.".to_owned(),
    }
}
