//! A call's arguments, checked, made into what the gateway is handed: the same for every form of call.

mod item;

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::caller::{self, Caller};
use crate::error::Error;
use crate::gateway::protocol::Submit;
use crate::idempotency::Idempotency;
use crate::ledger::Entry;
use crate::openrouter::json_text;
use crate::openrouter::request::ChatRequest;
use crate::pg::arguments::Jsonb;
use crate::pg::{session, xact};
use crate::settings;

pub use item::{Item, Request, items};

/// The arguments of a call, as they came.
#[derive(Default)]
pub struct Prompt {
    pub model: Option<String>,
    pub messages: Option<String>,
    pub user: Option<String>,
    pub use_case: Option<String>,
    pub session_id: Option<String>,
    pub metadata: Option<String>,
    pub options: Option<String>,
    pub idempotency_key: Option<String>,
    /// True where the answer is to come as a stream.
    pub is_streamed: bool,
}

/// Texts that go into the journal and the ledger with each call, and how many octets they may have.
const MAX_LABEL: usize = 512;
/// With `jwt:` before it.
const MAX_SUBJECT: usize = MAX_LABEL - 4;
const MAX_METADATA: usize = 64 * 1024;
/// PostgreSQL reads JSON by recursion, and what one process has the stack for another may not.
const MAX_METADATA_DEPTH: usize = 500;
/// In characters.
const MAX_SESSION_ID: usize = 256;

impl Prompt {
    /// As SQL's functions are given them.
    pub fn new(
        model: Option<String>,
        messages: Option<Jsonb>,
        user: Option<String>,
        use_case: Option<String>,
        session_id: Option<String>,
        metadata: Option<Jsonb>,
        options: Option<Jsonb>,
    ) -> Prompt {
        let text = |jsonb: Option<Jsonb>| jsonb.map(|jsonb| jsonb.0);
        Prompt {
            model,
            messages: text(messages),
            user,
            use_case,
            session_id,
            metadata: text(metadata),
            options: text(options),
            ..Prompt::default()
        }
    }
}

impl Prompt {
    fn check_lengths(
        &self,
        model: &str,
        use_case: Option<&str>,
        caller: &Caller,
    ) -> Result<(), Error> {
        let subject = caller::jwt_subject();
        let labels = [
            ("model", Some(model), MAX_LABEL),
            ("the user", Some(caller.user_id.as_str()), MAX_LABEL),
            ("the token's subject", subject.as_deref(), MAX_SUBJECT),
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
        let metadata = self.metadata.as_deref().unwrap_or_default();
        let depth = json_text::fit_for_jsonb(metadata.as_bytes()).depth;
        if depth > MAX_METADATA_DEPTH {
            return Err(Error::InvalidArgument {
                message: "metadata is nested too deep".to_owned(),
                detail: format!("It is nested {depth} deep, and may be {MAX_METADATA_DEPTH}."),
                hint: String::new(),
            });
        }
        let bad_key = |detail: &str| Error::InvalidArgument {
            message: "idempotency_key cannot be used".to_owned(),
            detail: detail.to_owned(),
            hint: "Take a text of your own for each request, such as a uuid.".to_owned(),
        };
        if self.idempotency_key.as_deref() == Some("") {
            return Err(bad_key("It is empty."));
        }
        if self.idempotency_key.is_some() && caller::is_nobody() {
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

/// What must hold of the caller's transaction, before anything is sent.
pub fn check_transaction() -> Result<(), Error> {
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

impl Prompt {
    /// What the gateway is handed, without a transaction; and the request body. Refuses who may not call,
    /// and what cannot be sent.
    pub fn prepare(mut self) -> Result<(Submit, String), Error> {
        let caller = caller::identify(self.user.clone())?;
        let model = self.model.take().or_else(settings::default_model).ok_or_else(no_model)?;
        let use_case =
            self.use_case.take().filter(|text| !text.is_empty()).or_else(settings::use_case);
        self.check_lengths(&model, use_case.as_deref(), &caller)?;
        // Before it is read: what is too large costs no time.
        let large = self.messages.as_ref().map_or(0, String::len);
        check_size(large + self.options.as_ref().map_or(0, String::len))?;
        let body = ChatRequest {
            model: &model,
            messages: self.messages.as_deref().unwrap_or("null"),
            user: &caller.user_id,
            session_id: self.session_id.as_deref(),
            options: self.options.as_deref(),
            is_streamed: self.is_streamed,
        }
        .body()?;
        check_size(body.text.len())?;
        let metadata = self.metadata.map(RawValue::from_string).transpose();
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
            session_id: self.session_id,
            metadata,
            principal: caller::take_principal()?,
            key_name: settings::api_key_name(),
            role_name: caller.role_name,
            application_name: session::setting(c"application_name"),
            attempts: 1,
            streamed: self.is_streamed,
            calls: 1,
            ..Entry::default()
        };
        let charges_beyond_tokens = body.charges_beyond_tokens;
        let idempotency =
            self.idempotency_key.map(|key| Idempotency { key, digest: digest(&body.text) });
        let submit = Submit {
            entry,
            xid: None,
            charges_beyond_tokens,
            idempotency,
            keeps_answer: false,
            batch: None,
        };
        Ok((submit, body.text))
    }
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
