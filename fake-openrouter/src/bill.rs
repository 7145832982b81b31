//! The record of what was received and generated. The only place that knows what was billed.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::Value;

use crate::control::Lookup;

/// One generation. While it runs, only what the request said is filled in; tokens and amounts
/// appear together with `finished` and `billed`.
#[derive(Clone, Debug, Serialize)]
pub struct Generation {
    /// `gen-<unix seconds>-<20 alphanumerics>`.
    pub id: String,
    /// The model that answers, usually a dated slug.
    pub model: String,
    /// The model as the request spelled it.
    pub model_requested: String,
    /// Display name of the provider, such as `Amazon Bedrock`.
    pub provider: String,
    /// The request's `user`.
    pub user: Option<String>,
    /// The request's `session_id`, or else its `x-session-id` header.
    pub session_id: Option<String>,
    /// Native tokens of the prompt, cached ones included.
    pub prompt_tokens: u64,
    /// Native tokens of the completion, reasoning included.
    pub completion_tokens: u64,
    /// Prompt tokens read from the provider's cache.
    pub cached_tokens: u64,
    /// Prompt tokens written to the provider's cache.
    pub cache_write_tokens: u64,
    /// Completion tokens spent on reasoning.
    pub reasoning_tokens: u64,
    /// The prompt counted with the normalised tokenizer; not what is billed.
    pub normalized_prompt_tokens: u64,
    /// The completion counted with the normalised tokenizer; not what is billed.
    pub normalized_completion_tokens: u64,
    /// What the account is charged, as the literal number token of the response.
    pub cost: String,
    /// `upstream_inference_cost` as the literal token of the response.
    pub upstream_cost: Option<String>,
    /// Whether the caller's own provider key paid for the inference.
    pub is_byok: bool,
    /// How often a server tool ran.
    pub server_tool_calls: u64,
    /// How often a provider failed before one answered. Those attempts cost nothing.
    pub failed_attempts: u64,
    /// The answer was asked for as a stream.
    pub streamed: bool,
    /// The client left a stream, and the provider stopped.
    pub cancelled: bool,
    /// The generation is complete.
    pub finished: bool,
    /// The key has been charged `cost`.
    pub billed: bool,
    /// The whole body was handed to the connection.
    pub delivered: bool,
    /// The header with the id was handed to the connection.
    pub id_sent: bool,
    /// When that was; for who shares the process.
    #[serde(skip)]
    pub id_sent_at: Option<SystemTime>,
    /// Unix seconds of the start.
    pub created: i64,
    /// The start in ISO 8601, UTC.
    pub created_at: String,
    /// Why it ended, in OpenRouter's words.
    pub finish_reason: Option<String>,
    /// Why it ended, in the provider's words.
    pub native_finish_reason: Option<String>,
    /// The provider's own id of the answer.
    pub upstream_id: String,
    /// OpenRouter's id of the request.
    pub request_id: String,
    /// The generation whose cached answer this is.
    pub response_cache_source_id: Option<String>,
    /// Milliseconds until the first token.
    pub latency_ms: u64,
    /// Milliseconds of the whole generation.
    pub generation_time_ms: u64,
    /// The request's `Referer` or `HTTP-Referer` header.
    pub http_referer: Option<String>,
    /// The request's `User-Agent` header.
    pub user_agent: Option<String>,
}

/// One chat completion request as it arrived.
#[derive(Clone, Debug, Serialize)]
pub struct ReceivedRequest {
    /// The bearer key, empty when there was none.
    pub key: String,
    /// All headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body; a JSON string of the raw text when it was not JSON.
    pub body: Value,
    /// The status that was decided on.
    pub status: u16,
    /// The generation it started, if any.
    pub generation_id: Option<String>,
}

/// A generation together with what only this server needs to know about it.
struct Entry {
    generation: Generation,
    key: String,
    finished_at: Option<Instant>,
    lookup: Lookup,
}

/// What a look-up finds.
pub(crate) enum Found {
    Generation(Box<Generation>),
    Nothing,
    /// An error that was asked for.
    Error(StatusCode),
}

#[derive(Default)]
struct Records {
    entries: Vec<Entry>,
    places: HashMap<String, usize>,
    requests: Vec<ReceivedRequest>,
    lookups: Vec<String>,
}

/// Every generation and every request since the start or the last `clear`.
#[derive(Default)]
pub(crate) struct Bill(Mutex<Records>);

impl Bill {
    pub(crate) fn generations(&self) -> Vec<Generation> {
        self.lock().entries.iter().map(|entry| entry.generation.clone()).collect()
    }

    pub(crate) fn generation(&self, id: &str) -> Option<Generation> {
        let records = self.lock();
        let place = records.places.get(id)?;
        Some(records.entries[*place].generation.clone())
    }

    pub(crate) fn has_begun(&self, user: &str) -> bool {
        let records = self.lock();
        records.entries.iter().any(|entry| entry.generation.user.as_deref() == Some(user))
    }

    pub(crate) fn has_received(&self, user: &str) -> bool {
        self.lock().requests.iter().rev().any(|request| request.body["user"] == user)
    }

    /// Looks a generation up: it is found when it has been finished for as long as it wished for, or
    /// else for `lag`.
    pub(crate) fn look_up(&self, id: &str, lag: Duration) -> Found {
        let mut records = self.lock();
        records.lookups.push(id.to_owned());
        let Some(place) = records.places.get(id).copied() else {
            return Found::Nothing;
        };
        let entry = &mut records.entries[place];
        if let Some(status) = entry.lookup.errors.pop_front() {
            return Found::Error(status);
        }
        let lag = entry.lookup.lag.unwrap_or(lag);
        if entry.finished_at.is_some_and(|moment| moment.elapsed() >= lag) {
            Found::Generation(Box::new(entry.generation.clone()))
        } else {
            Found::Nothing
        }
    }

    /// The id of each look-up so far.
    pub(crate) fn lookups(&self) -> Vec<String> {
        self.lock().lookups.clone()
    }

    /// What was billed to the keys that are asked for.
    pub(crate) fn billed(&self, asked_for: impl Fn(&str) -> bool) -> Vec<Generation> {
        self.lock()
            .entries
            .iter()
            .filter(|entry| entry.generation.billed && asked_for(&entry.key))
            .map(|entry| entry.generation.clone())
            .collect()
    }

    pub(crate) fn requests(&self) -> Vec<ReceivedRequest> {
        self.lock().requests.clone()
    }

    pub(crate) fn request_count(&self) -> usize {
        self.lock().requests.len()
    }

    pub(crate) fn received(&self, request: ReceivedRequest) {
        self.lock().requests.push(request);
    }

    /// Enters a generation that has just begun.
    pub(crate) fn begin(&self, key: &str, generation: Generation, lookup: Lookup) {
        let mut records = self.lock();
        let place = records.entries.len();
        records.places.insert(generation.id.clone(), place);
        let key = key.to_owned();
        records.entries.push(Entry { generation, key, finished_at: None, lookup });
    }

    /// Fills in the outcome and charges it. What the connection did so far stays as recorded.
    pub(crate) fn finish(&self, outcome: Generation) {
        self.update(&outcome.id.clone(), |entry| {
            let Generation { id_sent, id_sent_at, delivered, .. } = entry.generation;
            entry.generation = Generation {
                finished: true,
                billed: true,
                id_sent,
                id_sent_at,
                delivered,
                ..outcome
            };
            entry.finished_at = Some(Instant::now());
        });
    }

    pub(crate) fn id_sent(&self, id: &str) {
        self.update(id, |entry| {
            entry.generation.id_sent = true;
            entry.generation.id_sent_at.get_or_insert_with(SystemTime::now);
        });
    }

    pub(crate) fn delivered(&self, id: &str) {
        self.update(id, |entry| entry.generation.delivered = true);
    }

    pub(crate) fn clear(&self) {
        *self.lock() = Records::default();
    }

    fn update(&self, id: &str, change: impl FnOnce(&mut Entry)) {
        let mut records = self.lock();
        // Absent when the bill was cleared while the generation ran.
        if let Some(place) = records.places.get(id).copied() {
            change(&mut records.entries[place]);
        }
    }

    /// Each change is a single assignment, so a panic elsewhere cannot leave half of one behind.
    fn lock(&self) -> MutexGuard<'_, Records> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
