//! The call without a transaction: nothing is held open while it waits for its answer.

use pgrx::prelude::*;

use super::prompt::{replay, returned};
use crate::booking;
use crate::error::{Error, or_raise};
use crate::gateway::{self, Submitted};
use crate::pg::arguments::Jsonb;
use crate::pg::procedure::{self, Calling, Inout};
use crate::prompt::{self, Prompt};

/// Commits, then calls a model through OpenRouter and returns its body; the gateway books the call. What each
/// argument is and which errors there are stands in the procedure's comment (`sql/90_grants_comments.sql`),
/// its signature in `sql/82_procedures.sql`.
#[pg_extern(sql = false)]
#[allow(clippy::too_many_arguments)] // the SQL signature
fn submit_prompt_detached(
    model: Option<String>,
    messages: Option<Jsonb>,
    user: Option<String>,
    use_case: Option<String>,
    session_id: Option<String>,
    metadata: Option<Jsonb>,
    options: Option<Jsonb>,
    idempotency_key: Option<String>,
    _answer: Option<Jsonb>,
    calling: Calling,
) -> Inout {
    let prompt = Prompt::new(model, messages, user, use_case, session_id, metadata, options);
    let prompt = Prompt { idempotency_key, ..prompt };
    Inout(or_raise(call(prompt, &calling)))
}

fn call(prompt: Prompt, calling: &Calling) -> Result<Jsonb, Error> {
    prompt::check_transaction()?;
    if !calling.may_commit() {
        return Err(Error::Atomic);
    }
    // `submit.xid` stays None: it is made for no transaction.
    let (submit, body) = prompt.prepare()?;
    booking::refuse_trigger(None)?;
    let id = submit.entry.id;
    let principal = submit.entry.principal.clone();
    // Everything is checked. From here on nothing is held: no snapshot, no transaction id.
    procedure::commit();
    match gateway::submit(submit, body.as_bytes())? {
        Submitted::Answered(answered) => Ok(returned(id, answered)),
        Submitted::Replay(first) => replay(first, &principal),
    }
}
