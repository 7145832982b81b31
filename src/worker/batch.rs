//! What is committed together: one transaction for all that came while the last one was being
//! written.

use std::collections::HashMap;
use std::time::Instant;

use pgrx::spi::SpiResult;
use reqwest::header::HeaderValue;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::admission::Keyring;
use super::call;
use super::events::{Admission, Event, Go};
use super::journal::{self, Intent};
use super::settlement::Settlement;
use crate::gateway::protocol::Submit;
use crate::openrouter::failure::{Failure, FailureKind};

type Asked<T> = oneshot::Sender<T>;

#[derive(Default)]
pub struct Batch {
    intents: Vec<(Box<Submit>, Asked<Admission>)>,
    generations: Vec<(Uuid, String)>,
    oldest_generation: Option<Instant>,
    again: Vec<(Uuid, i32, Asked<()>)>,
    settlements: Vec<(Box<Settlement>, Asked<String>)>,
    gone: Vec<Uuid>,
    unsent: Vec<Uuid>,
}

/// What a commit gave, to be told once it is durable.
#[derive(Default)]
pub struct Committed {
    go: Vec<Admission>,
    entries: HashMap<Uuid, String>,
}

impl Batch {
    /// Takes an event in. Sealing needs no transaction, and is done at once.
    pub fn add(&mut self, event: Event, keyring: &Keyring) {
        match event {
            Event::Intent { submit, done } => self.intents.push((submit, done)),
            Event::Generation { call, generation_id } => {
                self.oldest_generation.get_or_insert_with(Instant::now);
                self.generations.push((call, generation_id));
            }
            Event::Again { call, attempts, done } => {
                // The next attempt is another generation.
                self.forget_generation(call);
                self.again.push((call, attempts, done));
            }
            Event::Settle { settlement, done } => {
                // It holds the generation's id itself.
                self.forget_generation(settlement.entry.id);
                self.settlements.push((settlement, done));
            }
            Event::Unsent { call } => self.unsent.push(call),
            Event::CallerGone { call } => self.gone.push(call),
            Event::Seal { request, key, done } => {
                // A backend that no longer waits needs no answer.
                let _ = done.send(keyring.seal(&request, &key));
            }
        }
    }

    fn forget_generation(&mut self, of: Uuid) {
        self.generations.retain(|(call, _)| *call != of);
        if self.generations.is_empty() {
            self.oldest_generation = None;
        }
    }

    /// Since when a generation's id has been waiting.
    pub fn oldest_generation(&self) -> Option<Instant> {
        self.oldest_generation
    }

    /// True if somebody waits for the commit.
    pub fn is_urgent(&self) -> bool {
        !(self.intents.is_empty()
            && self.again.is_empty()
            && self.settlements.is_empty()
            && self.gone.is_empty()
            && self.unsent.is_empty())
    }

    pub fn is_empty(&self) -> bool {
        !self.is_urgent() && self.generations.is_empty()
    }

    /// Puts what could not be committed before what has come since.
    pub fn prepend(&mut self, mut earlier: Batch) {
        earlier.intents.append(&mut self.intents);
        earlier.generations.append(&mut self.generations);
        earlier.oldest_generation = earlier.oldest_generation.or(self.oldest_generation);
        earlier.again.append(&mut self.again);
        earlier.settlements.append(&mut self.settlements);
        earlier.gone.append(&mut self.gone);
        earlier.unsent.append(&mut self.unsent);
        *self = earlier;
    }

    /// Writes everything in the current transaction. `room`: how many more calls may be sent.
    pub fn write(
        &self,
        keyring: &mut Keyring,
        system_identifier: i64,
        time_zone: &str,
        room: usize,
    ) -> SpiResult<Committed> {
        let created_at = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
        let mut keys: HashMap<&str, Result<HeaderValue, Failure>> = HashMap::new();
        let mut committed = Committed::default();
        let mut intents = Vec::new();
        for (submit, _) in &self.intents {
            let entry = &submit.entry;
            if !keys.contains_key(entry.key_name.as_str()) {
                let key = keyring.authorization(&entry.key_name)?;
                keys.insert(&entry.key_name, key);
            }
            let key = &keys[entry.key_name.as_str()];
            committed.go.push(match key {
                Err(failure) => Err(failure.clone()),
                Ok(_) if intents.len() >= room => Err(too_many()),
                Ok(authorization) => {
                    intents.push(Intent {
                        id: entry.id,
                        caller_xid: submit.xid.to_string(),
                        principal: entry.principal.clone(),
                        created_at: created_at.clone(),
                        entry: call::intended(entry, &created_at),
                    });
                    let authorization = authorization.clone();
                    Ok(Go { authorization, created_at: created_at.clone() })
                }
            });
        }
        journal::insert(&intents, system_identifier)?;
        journal::set_generations(&self.generations)?;
        journal::send_again(self.again.iter().map(|(call, attempts, _)| (*call, *attempts)))?;
        let settlements: Vec<&Settlement> = self.settlements.iter().map(|(s, _)| &**s).collect();
        committed.entries = journal::settle(&settlements, time_zone)?.into_iter().collect();
        journal::callers_gone(&self.gone)?;
        journal::forget(&self.unsent)?;
        Ok(committed)
    }

    /// Tells everybody who waits that their part is durable.
    pub fn tell(self, mut committed: Committed) {
        // Whoever no longer waits has left word of it, as an event of its own.
        for ((_, done), go) in self.intents.into_iter().zip(committed.go) {
            let _ = done.send(go);
        }
        for (_, _, done) in self.again {
            let _ = done.send(());
        }
        for (settlement, done) in self.settlements {
            if let Some(entry) = committed.entries.remove(&settlement.entry.id) {
                let _ = done.send(entry);
            }
        }
    }

    /// How many calls wait to be sent.
    pub fn waiting(&self) -> usize {
        self.intents.len()
    }

    /// Each settlement by itself, and then the rest: so that what cannot be written holds up nothing
    /// else. One batch alone where there is nothing to part.
    pub fn part(mut self) -> Vec<Batch> {
        let mut parts: Vec<Batch> = std::mem::take(&mut self.settlements)
            .into_iter()
            .map(|settlement| Batch { settlements: vec![settlement], ..Batch::default() })
            .collect();
        if !self.is_empty() {
            parts.push(self);
        }
        parts
    }

    /// What is not written yet of calls that have ended: for the log, if it never will be.
    pub fn unwritten(&self) -> impl Iterator<Item = String> {
        self.settlements.iter().map(|(settlement, _)| describe(settlement))
    }

    /// The calls that have ended and were not found in the journal.
    pub fn not_in_journal(&self, committed: &Committed) -> impl Iterator<Item = String> {
        self.settlements
            .iter()
            .filter(|(settlement, _)| !committed.entries.contains_key(&settlement.entry.id))
            .map(|(settlement, _)| describe(settlement))
    }

    /// Refuses the calls that wait to be sent: the journal cannot take them. Those that wait to be sent
    /// again keep the answer that they have.
    pub fn refuse_intents(&mut self, reason: &str) {
        self.again.clear();
        for (_, done) in self.intents.drain(..) {
            let failure = Failure::new(FailureKind::Internal, "the call could not be journalled");
            let _ = done.send(Err(failure.detail(reason)));
        }
    }

    /// Costs that no `numeric` should take.
    pub fn costs_out_of_range(&self) -> impl Iterator<Item = (Uuid, &str)> {
        self.settlements
            .iter()
            .filter_map(|(s, _)| Some((s.entry.id, s.cost_out_of_range.as_deref()?)))
    }
}

fn describe(settlement: &Settlement) -> String {
    let entry = &settlement.entry;
    let cost = entry.cost_usd.as_ref().map_or("unknown", |cost| cost.as_str());
    let generation = entry.generation_id.as_deref().unwrap_or("unknown");
    format!("call {}: generation {generation}, cost {cost} USD", entry.id)
}

fn too_many() -> Failure {
    Failure::new(FailureKind::RateLimited, "too many calls are in flight")
        .detail("hiems.max_in_flight is reached; try again in 1 s")
        .hint("A superuser can raise hiems.max_in_flight.")
}
