//! One round: what has ended is committed, and the next calls are taken out and journalled as about to be
//! sent, in one transaction.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::header::HeaderValue;
use uuid::Uuid;

use super::{Asked, Gateway, LOCK_DELAY};
use crate::contents;
use crate::idempotency;
use crate::openrouter::failure::Failure;
use crate::pg::xact::{self, Aborted};
use crate::queue::{self, Job, PutBack, Room};
use crate::rates;
use crate::realtime;
use crate::settings::{self, SwitchOff};
use crate::worker::batch::book::book;
use crate::worker::events::QueuedEnd;
use crate::worker::journal::{self, Intent, ToLookUp};
use crate::worker::queued;
use crate::worker::server::{Flight, OpenCall, Place};
use crate::worker::settlement::Settlement;

/// How long a call is left alone for which there is no key.
const WITHOUT_KEY: Duration = Duration::from_secs(30);
/// How many calls are taken out at once: callers, and ids of generations, wait meanwhile.
pub(super) const MOST_AT_ONCE: usize = 100;

/// What a round has come to, once it is committed.
#[derive(Default)]
pub(super) struct Done {
    has_taken: bool,
    /// The calls that were to be taken out.
    picked: Vec<Uuid>,
    go: Vec<(Job, HeaderValue)>,
    /// True if there may be more that are ready.
    is_full: bool,
    next_due: Option<Duration>,
    to_look_up: Vec<ToLookUp>,
    /// What is left to the sweep.
    left: Vec<Uuid>,
}

/// What may be taken out in a round.
pub(super) struct Take {
    rooms: Vec<Room>,
    of_a_model: usize,
    total: usize,
}

/// A round that has come to nothing.
pub(super) struct Failed {
    pub aborted: Aborted,
    /// The calls that it was to take out.
    pub picked: Vec<Uuid>,
}

impl Gateway {
    /// Commits what has ended, and takes out the next calls if `may_take`.
    pub(in super::super) fn queue_round(&mut self, may_take: bool) {
        let now = Instant::now();
        if self.queue.not_before.is_some_and(|not_before| now < not_before) {
            return;
        }
        if self.queue.not_before.take().is_some() {
            self.queue.may_have_more = true;
        }
        self.commit_stuck(now);
        if self.queue.next().is_some_and(|next| next <= now) {
            self.queue.may_have_more = true;
        }
        let may_take = may_take && self.queue.has_jobs && self.queue.may_have_more;
        let take = may_take.then(|| self.take(now)).flatten();
        // Else it is asked again once a call has ended, or at the next tick.
        self.queue.may_have_more = false;
        if may_take && take.is_none() {
            self.queue.next_due = None;
        }
        if self.queue.ended.is_empty() && take.is_none() {
            return;
        }
        self.commit_all();
        let ended = std::mem::take(&mut self.queue.ended);
        match self.commit_round(&ended, take.as_ref(), true) {
            Ok(done) => self.end_round(ended, done, now),
            Err(failed) if failed.aborted.lock_not_available => {
                self.queue.ended = ended;
                self.queue.not_before = Some(now + LOCK_DELAY);
            }
            Err(failed) => self.commit_apart(ended, take.as_ref(), failed, now),
        }
    }

    fn take(&mut self, now: Instant) -> Option<Take> {
        let of_a_model = self.settings.queue_concurrency;
        // A tenth is left to calls that somebody waits for.
        let most = self.settings.max_in_flight - self.settings.max_in_flight / 10;
        let total = most.saturating_sub(self.shared.in_flight()).min(self.queue.at_once);
        if total == 0 || of_a_model == 0 || self.queue.paces.is_held(now) {
            return None;
        }
        let rooms = self.queue.paces.rooms(of_a_model, now);
        Some(Take { rooms, of_a_model, total })
    }

    /// `books`: whether calls are booked as they are settled.
    pub(super) fn commit_round(
        &mut self,
        ended: &[Asked],
        take: Option<&Take>,
        books: bool,
    ) -> Result<Done, Failed> {
        self.recover().map_err(|aborted| Failed { aborted, picked: Vec::new() })?;
        let rules = self.rules();
        let (system, retention) = (self.system_identifier, self.settings.answer_retention);
        let (log_content, notifies) = (self.settings.log_content, self.settings.notifies);
        let tells_usage = self.settings.tells_usage;
        let without_intents = self.settings.switch_off == SwitchOff::Intent;
        let keyring = &mut self.keyring;
        let mut done = Done::default();
        let committed = xact::transaction(|| {
            let content = ended.is_empty() || (rates::try_lock() && contents::try_lock());
            if !(journal::try_lock() && queue::try_lock() && content) {
                return Err(Aborted::by_lock());
            }
            let settled: Vec<&Settlement> = ended.iter().filter_map(|(e, _)| settled(e)).collect();
            let rows: Vec<_> = settled.iter().map(|s| s.ended()).collect();
            for settled in journal::settle(&rows, &rules)? {
                match settled.to_look_up {
                    Some(wanted) => done.to_look_up.push(wanted),
                    None => done.left.push(settled.call),
                }
            }
            if books {
                let booked = book(system, &done.left, tells_usage)?;
                done.to_look_up.extend(booked.to_look_up);
                done.left = booked.left;
            }
            for settlement in &settled {
                settlement.keep_content(!retention.is_zero(), log_content)?;
            }
            let unbilled = settled.iter().filter(|s| s.is_unbilled()).map(|s| s.entry.id);
            idempotency::release(&unbilled.collect::<Vec<_>>())?;
            let back: Vec<&PutBack> = ended.iter().filter_map(|(e, _)| put_back(e)).collect();
            let ids: Vec<Uuid> = back.iter().map(|back| back.job.call()).collect();
            journal::forget(&ids)?;
            queue::put_back(&back)?;
            if notifies {
                let over = back.iter().filter(|back| back.wait.is_none()).map(|b| b.job.call());
                let told: Vec<Uuid> = settled.iter().map(|s| s.entry.id).chain(over).collect();
                realtime::tell_ended(&told);
            }
            let Some(take) = take else { return Ok(()) };
            done.has_taken = true;
            let promoted = queue::promote()?;
            let of_a_model = i64::try_from(take.of_a_model).unwrap_or(i64::MAX);
            let total = i64::try_from(take.total).unwrap_or(i64::MAX);
            let picked = queue::pick(&take.rooms, of_a_model, total)?;
            done.is_full = !picked.is_empty() || promoted > 0;
            let id_of = |job: &Result<Job, Uuid>| job.as_ref().map_or_else(|call| *call, Job::call);
            done.picked = picked.iter().map(id_of).collect();
            done.next_due = queue::until_next()?;
            let created_at =
                chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
            let mut keys: HashMap<String, Result<HeaderValue, Failure>> = HashMap::new();
            let mut without_key = Vec::new();
            let mut not_ours = Vec::new();
            for picked in picked {
                let Ok(mut job) = picked.map_err(|call| not_ours.push(call)) else { continue };
                let name = &job.entry.key_name;
                if !keys.contains_key(name) {
                    keys.insert(name.clone(), keyring.authorization(name)?);
                }
                match &keys[name] {
                    Ok(authorization) => {
                        job.entry.created_at = Some(created_at.clone());
                        job.entry.attempts += 1;
                        done.go.push((job, authorization.clone()));
                    }
                    Err(failure) => without_key.push((job.call(), failure.clone())),
                }
            }
            queue::pause(&not_ours)?;
            queue::put_off(&without_key, settings::interval(WITHOUT_KEY))?;
            let intents: Vec<Intent> =
                done.go.iter().map(|(job, _)| intent(job, &created_at)).collect();
            if !without_intents {
                journal::insert(&intents.iter().collect::<Vec<_>>(), system)?;
            }
            let taken: Vec<Uuid> = intents.iter().map(|intent| intent.id).collect();
            queue::take(&taken)?;
            Ok(())
        });
        match committed {
            Ok(()) => Ok(done),
            Err(aborted) => Err(Failed { aborted, picked: done.picked }),
        }
    }

    /// Tells, paces and sends, once it is committed.
    pub(super) fn end_round(&mut self, ended: Vec<Asked>, done: Done, now: Instant) {
        let lane = &mut self.queue;
        if done.has_taken {
            lane.at_once = (lane.at_once * 2).min(MOST_AT_ONCE);
            lane.problem = None;
            lane.next_due = done.next_due.map(|next| now + next);
            lane.may_have_more = done.is_full;
        }
        for (ended, told) in ended {
            let call = call_of(&ended);
            lane.in_flight.remove(&call);
            if let QueuedEnd::Back { back: PutBack { wait: Some(wait), .. }, .. } = &*ended {
                let due = now.checked_add(*wait);
                lane.next_due = [lane.next_due, due].into_iter().flatten().min();
                lane.has_jobs = true;
            } else {
                lane.tell(&call);
            }
            // The task lives until its runtime goes.
            let _ = told.send(());
        }
        for call in done.left {
            self.ended.add(call, None);
        }
        for wanted in done.to_look_up {
            self.look_ups.add(wanted);
        }
        for (job, authorization) in done.go {
            let call = job.call();
            self.queue.in_flight.insert(call, job.entry.principal.clone());
            self.queue.paces.started(job.model());
            let shared = Arc::clone(&self.shared);
            let principal = &job.entry.principal;
            let open = OpenCall::new(&shared, call, principal);
            let under_way = (open, Flight::new(&shared), Place::new(&shared, principal));
            self.runtime.spawn(queued::run(under_way, shared, job, authorization));
        }
    }
}

fn intent(job: &Job, created_at: &str) -> Intent {
    Intent {
        id: job.call(),
        caller_xid: None,
        principal: job.entry.principal.clone(),
        created_at: created_at.to_owned(),
        entry: job.entry.clone(),
        idempotency: None,
        batch: None,
    }
}

fn settled(ended: &QueuedEnd) -> Option<&Settlement> {
    match ended {
        QueuedEnd::Settled { settlement, .. } => Some(settlement),
        QueuedEnd::Back { .. } => None,
    }
}

fn put_back(ended: &QueuedEnd) -> Option<&PutBack> {
    match ended {
        QueuedEnd::Settled { .. } => None,
        QueuedEnd::Back { back, .. } => Some(back),
    }
}

pub(super) fn call_of(ended: &QueuedEnd) -> Uuid {
    match ended {
        QueuedEnd::Settled { settlement, .. } => settlement.entry.id,
        QueuedEnd::Back { back, .. } => back.job.call(),
    }
}
