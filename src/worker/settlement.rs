//! How a call ended, as the journal, the ledger and the caller see it.

pub mod stream;

use bytes::Bytes;
use pgrx::spi::SpiResult;
use serde::{Deserialize, Serialize};
use serde_json::Number;

use super::journal::Ended;
use crate::contents;
use crate::ledger::{CostSource, Entry};
use crate::openrouter::answer::{Answer, HttpAnswer, Outcome, read};
use crate::openrouter::client::HttpError;
use crate::openrouter::failure::{Failure, FailureKind};
use crate::openrouter::money::Amount;
use crate::openrouter::retry::Again;

/// A call's state in the journal, once it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Answered,
    Failed,
    /// Whether it was generated or billed is not known. Without an error code: its caller closed it.
    Unknown,
}

impl State {
    /// As the journal has it.
    pub fn name(self) -> &'static str {
        match self {
            State::Answered => "answered",
            State::Failed => "failed",
            State::Unknown => "unknown",
        }
    }
}

/// How a call ended.
pub struct Settlement {
    pub state: State,
    pub entry: Entry,
    /// What the caller gets: the body, or why there is none.
    pub result: Result<Vec<u8>, Failure>,
    /// A cost that no `numeric` should take, for the log.
    pub cost_out_of_range: Option<String>,
    /// Set where it was surely not billed, and may be taken later.
    pub again: Option<Again>,
    /// The request, and the answer as it came; both empty where there was no answer.
    pub content: Content,
}

/// What went over the wire.
#[derive(Default)]
pub struct Content {
    pub request: Bytes,
    pub answer: Vec<u8>,
    /// True where the caller does not have the answer as it came: it was changed to fit `jsonb`, it
    /// cannot be given at all, or there is no caller any more. And where it may be asked for again.
    pub is_wanted: bool,
    pub is_changed: bool,
}

impl Settlement {
    /// From what HTTP gave. `entry` knows the caller, the time and, if the headers came, the
    /// generation's id. `HttpError::NotSent` is no settlement: the call is forgotten.
    pub fn new(
        entry: Entry,
        http: Result<HttpAnswer, HttpError>,
        charges_beyond_tokens: bool,
    ) -> Settlement {
        match http {
            Ok(http) => {
                let mut settlement = Settlement::from_answer(entry, &http, charges_beyond_tokens);
                settlement.content.answer = http.body;
                settlement
            }
            Err(HttpError::Timeout) => Settlement::lost(
                entry,
                "timeout",
                Failure::new(FailureKind::Timeout, "OpenRouter did not answer in time")
                    .detail("the generation runs on, and may be billed")
                    .hint("A superuser can raise hiems.request_timeout."),
            ),
            Err(HttpError::Broken(what) | HttpError::NotSent(what)) => Settlement::lost(
                entry,
                "connection_lost",
                Failure::new(FailureKind::BadUpstream, "the connection to OpenRouter broke")
                    .detail(what),
            ),
            Err(HttpError::TooLarge) => Settlement::lost(
                entry,
                "response_too_large",
                Failure::new(FailureKind::BadUpstream, "the answer is too large")
                    .hint("A superuser can raise hiems.max_response_bytes."),
            ),
        }
    }

    /// A call of which nothing is known but that it was sent.
    pub fn lost(mut entry: Entry, error_code: &str, failure: Failure) -> Settlement {
        entry.error_code = Some(error_code.to_owned());
        entry.cost_source = CostSource::Unknown;
        Settlement {
            state: State::Unknown,
            entry,
            result: Err(failure),
            cost_out_of_range: None,
            again: None,
            content: Content::default(),
        }
    }

    /// What the journal is told of it.
    pub fn ended(&self) -> Ended<'_> {
        Ended { state: self.state, entry: &self.entry }
    }

    /// True where it was surely not billed.
    pub fn is_unbilled(&self) -> bool {
        self.state == State::Failed && self.entry.cost_source == CostSource::NotBilled
    }

    /// Keeps what went over the wire: the answer where somebody may ask for it and `answers`, all of it
    /// where `log`.
    pub fn keep_content(&self, answers: bool, log: bool) -> SpiResult<()> {
        let (id, principal) = (self.entry.id, &self.entry.principal);
        let Content { request, answer, is_wanted, .. } = &self.content;
        if answers && *is_wanted && !answer.is_empty() {
            contents::keep(id, principal, answer.clone())?;
        }
        if log && !request.is_empty() {
            contents::log(id, principal, request, answer)?;
        }
        Ok(())
    }

    /// True where the caller gets an answer that was changed to fit `jsonb`.
    pub fn is_changed(&self) -> bool {
        self.result.is_ok() && self.content.is_changed
    }

    fn from_answer(mut entry: Entry, http: &HttpAnswer, charges_beyond_tokens: bool) -> Settlement {
        entry.http_status = Some(http.status);
        let cost_out_of_range;
        let mut again = None;
        let is_wanted;
        let mut is_changed = false;
        let (state, result) = match read(http) {
            Outcome::Answered(answer) => {
                is_changed = answer.changed;
                is_wanted = is_changed;
                let text;
                (text, cost_out_of_range) = fill(&mut entry, *answer);
                (State::Answered, Ok(text.into_bytes()))
            }
            Outcome::Failed { error, answer } => {
                // The part of an answer that came is paid for.
                is_wanted = answer.has_text;
                cost_out_of_range = fill(&mut entry, *answer).1;
                entry.error_code = Some(error.error_code);
                // Before a provider is asked, nothing can have been charged; behind it, tools can.
                let nothing_generated = entry.completion_tokens.unwrap_or(0) == 0
                    && !(error.behind_provider && charges_beyond_tokens);
                let not_billed = entry.cost_usd.is_none()
                    && cost_out_of_range.is_none()
                    && nothing_generated
                    && error.surely_not_billed;
                if not_billed {
                    entry.cost_usd = Some(Number::from(0));
                    entry.cost_source = CostSource::NotBilled;
                }
                again = error.again.filter(|_| not_billed);
                (State::Failed, Err(error.failure))
            }
            Outcome::Unreadable { why, answer } => {
                is_wanted = true;
                cost_out_of_range = answer.and_then(|answer| fill(&mut entry, *answer).1);
                entry.error_code = Some("unreadable_answer".to_owned());
                (State::Failed, Err(Failure::unreadable(why)))
            }
        };
        let content = Content { is_wanted, is_changed, ..Content::default() };
        Settlement { state, entry, result, cost_out_of_range, again, content }
    }
}

/// Takes over what the answer says; gives its text, and a cost that is out of range.
fn fill(entry: &mut Entry, answer: Answer) -> (String, Option<String>) {
    entry.generation_id = answer.generation_id.or(entry.generation_id.take());
    entry.model = answer.model;
    entry.provider = answer.provider;
    entry.finish_reason = answer.finish_reason;
    entry.native_finish_reason = answer.native_finish_reason;
    let mut out_of_range = None;
    if let Some(usage) = answer.usage {
        entry.prompt_tokens = usage.prompt_tokens;
        entry.completion_tokens = usage.completion_tokens;
        entry.total_tokens = usage.total_tokens;
        entry.cached_tokens = usage.cached_tokens;
        entry.cache_write_tokens = usage.cache_write_tokens;
        entry.reasoning_tokens = usage.reasoning_tokens;
        entry.is_byok = usage.is_byok;
        entry.upstream_cost_usd = usage.upstream_cost.known();
        match usage.cost {
            Amount::Known(cost) => {
                entry.cost_usd = Some(cost);
                entry.cost_source = CostSource::Billed;
            }
            Amount::OutOfRange(token) => out_of_range = Some(token),
            Amount::Absent => {}
        }
    }
    (answer.text, out_of_range)
}
