//! What is committed together: one transaction for all that came while the last one was being
//! written.

pub mod book;
mod ending;
mod keys;
mod part;
mod room;
mod spill;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pgrx::spi::SpiResult;
use reqwest::header::HeaderValue;
use tokio::sync::oneshot;
use uuid::Uuid;

use ending::{Caller, Ending};
use keys::{TakenHere, take_keys};
pub use room::Room;

use super::admission::Keyring;
use super::call;
use super::events::{Admission, Event, Go, Hold};
use super::generation_ids::Kept;
use super::journal::{self, Ended, Intent, Rules, Settled, ToLookUp};
use super::settlement::{Content, Settlement};
use crate::contents;
use crate::gateway::protocol::Submit;
use crate::idempotency;
use crate::openrouter::failure::{Failure, FailureKind};
use crate::pg::xact::{self, Aborted};
use crate::rates;

type Asked<T> = oneshot::Sender<T>;

#[derive(Default)]
pub struct Batch {
    intents: Vec<(Arc<Submit>, Asked<Admission>)>,
    /// Intents that are durable in the spill, and whose callers have been told.
    spilled: Vec<Intent>,
    generations: HashMap<Uuid, Generation>,
    spilled_generations: HashMap<Uuid, String>,
    /// The generations' ids that a file holds as well, until this is committed.
    kept: HashMap<Uuid, Kept>,
    again: Vec<(Uuid, i32, Asked<()>)>,
    settlements: Vec<Ending>,
    deferred: Vec<(Uuid, u64, Option<Asked<()>>)>,
    /// Each caller's going is among `gone`, too.
    undelivered: Vec<Undelivered>,
    gone: Vec<Uuid>,
    spilled_gone: Vec<Uuid>,
    unsent: Vec<Uuid>,
    spilled_unsent: Vec<Uuid>,
}

/// A generation's id, and since when it has been waiting.
struct Generation {
    id: String,
    since: Instant,
}

/// An answer that its caller went without.
struct Undelivered {
    call: Uuid,
    principal: String,
    answer: Vec<u8>,
}

/// What a commit gave, to be told once it is durable.
#[derive(Default)]
pub struct Committed {
    go: Vec<Admission>,
    entries: HashMap<Uuid, String>,
    /// What has to be looked up before it is booked.
    pub to_look_up: Vec<ToLookUp>,
    /// What has not, with its caller's transaction.
    pub ended: Vec<(Uuid, Option<u64>)>,
}

/// What must hold for calls to be sent.
pub struct Conditions<'a> {
    pub keyring: &'a mut Keyring,
    pub system_identifier: i64,
    pub rules: &'a Rules,
    /// Which more calls may be sent.
    pub room: Room,
    /// How long answers that their callers do not have are kept, and whether prompts and answers are
    /// logged.
    pub answer_retention: Duration,
    pub log_content: bool,
    /// False while what an earlier gateway left is not in the journal: nobody knows which keys are taken.
    pub is_recovered: bool,
    /// Whether calls that are made for no transaction are booked as they are settled; and whether listeners
    /// are told of it.
    pub books: bool,
    pub tells_usage: bool,
    /// The tests of the tests: nothing is journalled before it is sent.
    pub without_intents: bool,
}

impl Batch {
    /// Takes an event in. What backends ask of the keys needs no transaction, and is done at once.
    pub fn add(&mut self, event: Event, keyring: &Keyring) {
        match event {
            Event::Intent { submit, done } => self.intents.push((submit, done)),
            Event::Generation { came, kept, since } => {
                self.generations.insert(came.id, Generation { id: came.generation_id, since });
                self.keep(came.id, kept);
            }
            Event::Again { call, attempts, done } => {
                // The next attempt is another generation.
                self.forget_generation(call);
                self.again.push((call, attempts, done));
            }
            Event::Settle { settlement, done } => {
                // It holds the generation's id itself.
                self.forget_generation(settlement.entry.id);
                self.settlements.push(Ending { settlement, caller: Caller::Waits(done) });
            }
            Event::Unsent { call } => self.unsent.push(call),
            Event::Defer { call, xid, done } => self.deferred.push((call, xid, Some(done))),
            Event::CallerGone { call } => self.gone.push(call),
            Event::Undelivered { call, principal, answer } => {
                self.undelivered.push(Undelivered { call, principal, answer });
            }
            // The main loop's own.
            Event::Status { .. }
            | Event::LookedUp { .. }
            | Event::SettleNow { .. }
            | Event::Wake
            | Event::Queued { .. }
            | Event::Principal { .. }
            | Event::Written { .. } => {}
            Event::Key(event) => keyring.serve(event),
        }
    }

    /// Keeps what a file holds of a call in there until this is committed.
    pub fn keep(&mut self, call: Uuid, kept: Kept) {
        self.kept.insert(call, kept);
    }

    /// Gives what files hold as well.
    pub fn take_kept(&mut self) -> impl Iterator<Item = Kept> {
        std::mem::take(&mut self.kept).into_values()
    }

    /// A generation's id that need not be written any more.
    pub fn forget_generation(&mut self, of: Uuid) {
        self.generations.remove(&of);
        self.spilled_generations.remove(&of);
    }

    /// Since when a generation's id has been waiting.
    pub fn oldest_generation(&self) -> Option<Instant> {
        self.generations.values().map(|generation| generation.since).min()
    }

    /// Takes out the generations' ids that have come after `moment`: most calls end soon after, and their settlements
    /// hold the ids themselves.
    pub fn take_generations_after(&mut self, moment: Instant) -> Batch {
        let is_young = |_: &Uuid, generation: &mut Generation| generation.since > moment;
        let generations: HashMap<_, _> = self.generations.extract_if(is_young).collect();
        let kept = self.kept.extract_if(|call, _| generations.contains_key(call)).collect();
        Batch { generations, kept, ..Batch::default() }
    }

    /// True if somebody waits for the commit.
    pub fn is_urgent(&self) -> bool {
        !(self.intents.is_empty()
            && self.spilled.is_empty()
            && self.spilled_generations.is_empty()
            && self.again.is_empty()
            && self.settlements.is_empty()
            && self.deferred.is_empty()
            && self.undelivered.is_empty()
            && self.gone.is_empty()
            && self.spilled_gone.is_empty()
            && self.unsent.is_empty()
            && self.spilled_unsent.is_empty())
    }

    pub fn is_empty(&self) -> bool {
        !self.is_urgent() && self.generations.is_empty()
    }

    /// Puts what could not be committed before what has come since.
    pub fn prepend(&mut self, mut earlier: Batch) {
        earlier.intents.append(&mut self.intents);
        earlier.spilled.append(&mut self.spilled);
        earlier.spilled_generations.extend(std::mem::take(&mut self.spilled_generations));
        earlier.generations.extend(std::mem::take(&mut self.generations));
        earlier.kept.extend(std::mem::take(&mut self.kept));
        earlier.again.append(&mut self.again);
        earlier.settlements.append(&mut self.settlements);
        earlier.deferred.append(&mut self.deferred);
        earlier.undelivered.append(&mut self.undelivered);
        earlier.gone.append(&mut self.gone);
        earlier.spilled_gone.append(&mut self.spilled_gone);
        earlier.unsent.append(&mut self.unsent);
        earlier.spilled_unsent.append(&mut self.spilled_unsent);
        *self = earlier;
    }

    /// Writes everything to the journal, in the current transaction.
    pub fn write(&self, conditions: Conditions) -> Result<Committed, Aborted> {
        let (system, rules) = (conditions.system_identifier, conditions.rules);
        let keep_answers = !conditions.answer_retention.is_zero();
        let log_content = conditions.log_content;
        let without_intents = conditions.without_intents;
        let (books, tells_usage) = (conditions.books, conditions.tells_usage);
        if !journal::try_lock() || !self.settlements.is_empty() && !rates::try_lock() {
            return Err(Aborted::by_lock());
        }
        if !self.is_urgent() {
            xact::commit_without_waiting();
        }
        let (go, mut intents) = self.admit(conditions)?;
        if without_intents {
            intents.clear();
        }
        take_keys(&intents)?;
        // The keys of those that were spilled are taken already.
        let intents: Vec<&Intent> = self.spilled.iter().chain(&intents).collect();
        journal::insert(&intents, system)?;
        journal::set_generations(&self.spilled_generations)?;
        let generations = self.generations.iter();
        journal::set_generations(generations.map(|(call, generation)| (call, &generation.id)))?;
        journal::send_again(self.again.iter().map(|(call, attempts, _)| (*call, *attempts)))?;
        let mut entries = HashMap::new();
        let (mut to_look_up, mut ended, mut to_book) = (Vec::new(), Vec::new(), Vec::new());
        for settled in journal::settle(&self.ended(), rules)? {
            let Settled { call, entry, to_look_up: wanted, caller_xid } = settled;
            entries.insert(call, entry);
            match wanted {
                Some(wanted) => to_look_up.push(wanted),
                None if books && caller_xid.is_none() => to_book.push(call),
                None => ended.push((call, caller_xid)),
            }
        }
        self.keep_content(keep_answers, log_content)?;
        let deferred: Vec<_> = self.deferred.iter().map(|(call, xid, _)| (*call, *xid)).collect();
        journal::defer(&deferred)?;
        journal::callers_gone(&self.gone().collect::<Vec<_>>())?;
        journal::forget(&self.unsent().collect::<Vec<_>>())?;
        idempotency::release(&self.unbilled())?;
        // Last: whose caller has gone is known by now.
        let booked = book::book(system, &to_book, tells_usage)?;
        to_look_up.extend(booked.to_look_up);
        ended.extend(booked.left.into_iter().map(|call| (call, None)));
        Ok(Committed { go, entries, to_look_up, ended })
    }

    /// Behind somebody's lock it is let go: no call waits for it.
    fn keep_content(&self, answers: bool, log: bool) -> SpiResult<()> {
        let settlements = || self.settlements.iter().map(|ending| &ending.settlement);
        let is_due = |s: &Settlement| (answers && s.content.is_wanted) || log;
        let undelivered = || self.undelivered.iter().filter(|_| answers);
        let is_due = settlements().any(|s| is_due(s)) || undelivered().next().is_some();
        if !is_due || !contents::try_lock() {
            return Ok(());
        }
        for Undelivered { call, principal, answer } in undelivered() {
            contents::keep(*call, principal, answer.clone())?;
        }
        for settlement in settlements() {
            settlement.keep_content(answers, log)?;
        }
        Ok(())
    }

    /// Whether each call may be sent, and the intents of those that may.
    fn admit(&self, mut conditions: Conditions) -> SpiResult<(Vec<Admission>, Vec<Intent>)> {
        let created_at = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
        let mut keys: HashMap<&str, Result<HeaderValue, Failure>> = HashMap::new();
        let mut go = Vec::new();
        let mut intents = Vec::new();
        let mut taken = TakenHere::of(&self.spilled);
        for (submit, _) in &self.intents {
            let entry = &submit.entry;
            if !keys.contains_key(entry.key_name.as_str()) {
                let key = conditions.keyring.authorization(&entry.key_name)?;
                keys.insert(&entry.key_name, key);
            }
            let key = &keys[entry.key_name.as_str()];
            let held = match &submit.idempotency {
                Some(wanted) => self.taken(submit, wanted, &taken, &conditions)?,
                None => None,
            };
            go.push(match key {
                _ if let Some(held) = held => Err(held),
                Err(failure) => Err(Hold::Refused(failure.clone())),
                Ok(authorization) => {
                    let place = match conditions.room.take(&entry.principal) {
                        Ok(place) => place,
                        Err(full) => {
                            go.push(Err(full));
                            continue;
                        }
                    };
                    taken.add(submit);
                    intents.push(Intent {
                        id: entry.id,
                        caller_xid: submit.xid.map(|xid| xid.to_string()),
                        principal: entry.principal.clone(),
                        created_at: created_at.clone(),
                        entry: call::intended(entry, &created_at),
                        idempotency: submit.idempotency.clone(),
                        batch: submit.batch,
                    });
                    let authorization = authorization.clone();
                    Ok(Go { authorization, created_at: created_at.clone(), place })
                }
            });
        }
        Ok((go, intents))
    }

    fn ended(&self) -> Vec<Ended<'_>> {
        self.settlements.iter().map(|ending| ending.settlement.ended()).collect()
    }

    /// The calls of which something is not written yet.
    pub fn calls(&self) -> impl Iterator<Item = Uuid> {
        let ended = self.settlements.iter().map(|ending| ending.settlement.entry.id);
        let deferred = self.deferred.iter().map(|(call, ..)| *call);
        ended.chain(deferred).chain(self.gone()).chain(self.unsent())
    }

    fn gone(&self) -> impl Iterator<Item = Uuid> {
        self.spilled_gone.iter().chain(&self.gone).copied()
    }

    fn unsent(&self) -> impl Iterator<Item = Uuid> {
        self.spilled_unsent.iter().chain(&self.unsent).copied()
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
        for Ending { settlement, caller } in self.settlements {
            if let Some(entry) = committed.entries.remove(&settlement.entry.id)
                && let Caller::Waits(done) = caller
            {
                let _ = done.send(Some(entry));
            }
        }
        for done in self.deferred.into_iter().filter_map(|(_, _, done)| done) {
            let _ = done.send(());
        }
    }

    /// How many calls wait to be sent.
    pub fn waiting(&self) -> usize {
        self.intents.len()
    }

    /// Refuses the calls that wait to be sent: the journal cannot take them. Those that wait to be sent
    /// again keep the answer that they have.
    pub fn refuse_intents(&mut self, reason: &str) {
        self.again.clear();
        for (_, done) in self.intents.drain(..) {
            let failure =
                Failure::new(FailureKind::Unavailable, "the call could not be journalled");
            let _ = done.send(Err(Hold::Refused(failure.detail(reason))));
        }
    }

    /// Lets go of what went over the wire: what cannot be kept holds up nothing that must be.
    pub fn forget_content(&mut self) {
        for ending in &mut self.settlements {
            ending.settlement.content = Content::default();
        }
        self.undelivered.clear();
    }
}
