//! The main loop: takes what tokio's threads ask for, commits it many calls at a time, books what
//! callers left, and leaves when there is nothing to do.

mod chunk;
mod commit;
mod leave;
mod principals;
mod queue;
mod recover;
mod retention;
mod settle;
mod sweep;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, Runtime};
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use chunk::Chunk;
use commit::NotDurable;
use retention::Retention;

use super::Left;
use super::admission::Keyring;
use super::batch::Batch;
use super::ended::EndedCalls;
use super::events::{self, Event, Inbox, QueuedEnd};
use super::generation_ids::{GenerationIds, Inherited};
use super::journal::{self, Rules};
use super::look_ups::LookUps;
use super::server::{self, Shared};
use super::spill::Spill;
use crate::gateway::protocol::{Files, Status, StoredKey};
use crate::openrouter::client::{App, ClientOptions, OpenRouter};
use crate::openrouter::generation::LookUp;
use crate::pg::wait::{Interest, WaitSet};
use crate::pg::xact;
use crate::pg::{background, identity, interrupts, session};
use crate::settings::{self, GatewaySettings, SwitchOff};
use crate::supabase::broadcast;

/// How often the sweep looks for what callers left, and the house is kept.
const TICK: Duration = Duration::from_millis(500);
/// How often where it tells listeners of what it finds: with its own work they know within 50 ms.
const TELLING: Duration = Duration::from_millis(20);

/// How many of the calls that are set aside hiems.health() names.
const MOST_NAMED: usize = 3;

pub struct Gateway {
    wait: WaitSet,
    runtime: Handle,
    inbox: Inbox,
    shared: Arc<Shared>,
    leaving: watch::Sender<bool>,
    socket: std::path::PathBuf,
    settings: GatewaySettings,
    keyring: Keyring,
    system_identifier: i64,
    /// True once what an earlier gateway left is in the journal.
    recovered: bool,
    /// The ids of generations that it had in its files.
    inherited_ids: Option<Inherited>,
    /// Where calls are made durable while the journal is locked, and whether anything is in there.
    spill: Spill,
    has_spilled: bool,
    /// Since when the journal has been locked.
    locked_since: Option<Instant>,
    /// What is to be committed.
    batch: Batch,
    /// What could not be written, though nobody's lock was in the way: tried again now and then, and
    /// in the way of nothing else.
    stuck: Batch,
    stuck_until: Instant,
    not_durable: Option<NotDurable>,
    /// After a failure, not before then.
    not_before: Option<Instant>,
    /// Who waits until nothing of a call is left to be written.
    waiting: Vec<(Uuid, oneshot::Sender<()>)>,
    /// What is to be looked up at OpenRouter, and what has been found and is not written yet.
    look_ups: LookUps,
    /// Calls out of the queue.
    queue: queue::Lane,
    looked_up: Vec<(Uuid, LookUp)>,
    /// Calls on their way, as the last sweep saw them.
    on_their_way: i64,
    /// True if something has happened that a sweep may have to book.
    unswept: bool,
    /// The calls that have ended since, which the sweep need not look for.
    ended: EndedCalls,
    /// True if there may be others to book: it has to look at the whole journal.
    looks_at_all: bool,
    last_look_at_all: Instant,
    next_telling: Instant,
    next_tick: Instant,
    next_purge: Instant,
    last_work: Instant,
    /// How many calls the sweep books at a time.
    chunk: Chunk,
    retention: Retention,
    /// The foreign trigger that the log has been told of.
    warned_of_trigger: Option<String>,
}

impl Gateway {
    /// A gateway that listens. The error says why there is none.
    pub fn start(runtime: &Runtime, files: &Files) -> Result<Gateway, String> {
        let extension = xact::transaction(journal::extension)
            .map_err(|aborted| aborted.message)?
            .ok_or("the extension is not installed")?;
        let spill = Spill::of(identity::database_oid(), extension)
            .map_err(|error| format!("what an earlier gateway spilled: {error}"))?;
        let (ids, inherited_ids) = GenerationIds::of(identity::database_oid(), extension);
        let settings = GatewaySettings::read();
        let (outbox, inbox) = events::channel().map_err(|error| error.to_string())?;
        let (leaving, told) = watch::channel(false);
        let shared = Arc::new(Shared::new(outbox, client(&settings), ids, told));
        let listener = runtime
            .block_on(server::listen(&files.socket))
            .map_err(|error| format!("{}: {error}", files.socket.display()))?;
        runtime.spawn(server::serve(listener, Arc::clone(&shared)));
        session::report_activity("idle");
        let now = Instant::now();
        let mut gateway = Gateway {
            wait: WaitSet::new(inbox.descriptor()),
            runtime: runtime.handle().clone(),
            inbox,
            shared,
            leaving,
            socket: files.socket.clone(),
            keyring: Keyring::new(settings.master_key_file.clone()),
            settings,
            system_identifier: xact::system_identifier(),
            recovered: false,
            inherited_ids: Some(inherited_ids),
            spill,
            has_spilled: false,
            locked_since: None,
            batch: Batch::default(),
            stuck: Batch::default(),
            stuck_until: now,
            not_durable: None,
            not_before: None,
            waiting: Vec::new(),
            look_ups: LookUps::default(),
            queue: queue::Lane::new(),
            looked_up: Vec::new(),
            on_their_way: 0,
            unswept: true,
            ended: EndedCalls::default(),
            looks_at_all: true,
            last_look_at_all: now,
            next_telling: now,
            next_tick: now,
            next_purge: now,
            last_work: now,
            chunk: Chunk::new(),
            retention: Retention::new(),
            warned_of_trigger: None,
        };
        match gateway.recover() {
            Err(aborted) if !aborted.lock_not_available => Err(aborted.message),
            _ => Ok(gateway),
        }
    }

    /// Works until it is time to leave, and leaves in order.
    pub fn work(mut self) -> Left {
        let mut end_asked = false;
        let mut wanted = false;
        loop {
            self.wait.wait(Interest::Readable, Some(self.until_next()));
            interrupts::check_in_worker();
            if background::reload_asked() {
                self.reload();
            }
            end_asked |= background::end_asked();
            self.take_events();
            self.commit();
            self.make_durable(commit::DURABLE_WITHIN);
            self.queue_round(!end_asked);
            self.tell_waiting();
            if !self.looked_up.is_empty() {
                self.look_up();
            }
            if Instant::now() >= self.next_tick {
                self.next_tick = Instant::now() + settings::interval(TICK);
                wanted = self.sweep();
                self.look_up();
                self.look_after_queue();
                if end_asked || wanted || self.is_idle() {
                    break;
                }
            } else if end_asked {
                break;
            } else if self.is_telling() && Instant::now() >= self.next_telling {
                self.book_ended();
            }
            broadcast::send();
            self.delete_old_rows();
        }
        // A database that somebody wants to drop or copy is left alone.
        let is_enqueuing = self.shared.is_enqueuing();
        match self.leave() {
            has_work if !wanted && (has_work || is_enqueuing) => Left::WithWork,
            _ => Left::InOrder,
        }
    }

    fn until_next(&self) -> Duration {
        if self.not_before.is_none() && self.batch.waiting() > 0 {
            return Duration::ZERO;
        }
        let now = Instant::now();
        let mut until = self.next_tick.saturating_duration_since(now);
        if self.is_telling() {
            until = until.min(self.next_telling.saturating_duration_since(now));
        }
        if let Some(not_before) = self.not_before {
            until = until.min(not_before.saturating_duration_since(now));
        } else if let Some(since) = self.batch.oldest_generation() {
            until = until.min((since + commit::GENERATION_DELAY).saturating_duration_since(now));
        }
        if let Some(due) = self.durable_by() {
            until = until.min(due.saturating_duration_since(now));
        }
        if let Some(due) = broadcast::due_in() {
            until = until.min(due);
        }
        if let Some(next) = self.queue.next().into_iter().chain(self.retention.next()).min() {
            until = until.min(next.saturating_duration_since(now));
        }
        // Round up, so that a part of a millisecond is slept and not spun.
        until + Duration::from_millis(1)
    }

    fn take_events(&mut self) {
        let mut asked = Vec::new();
        for event in self.inbox.take() {
            self.last_work = Instant::now();
            match event {
                // A backend that no longer waits needs no answer.
                Event::Status { keys, done } => drop(done.send(self.status(&keys))),
                Event::LookedUp { call, found } => self.looked_up.push((call, found)),
                Event::SettleNow { done } => self.settle_now(done),
                Event::Written { call, principal, done } => asked.push((call, principal, done)),
                Event::Principal { role, name, done } => {
                    drop(done.send(principals::take(role, &name)));
                }
                Event::Wake => self.queue.wake(),
                Event::Queued { ended, done } => {
                    if let QueuedEnd::Back { back, .. } = &*ended {
                        // The next attempt is another generation. That of one that is settled is written
                        // all the same: the queue may be locked for long.
                        self.batch.forget_generation(back.job.call());
                    }
                    self.queue.add(ended, done, self.settings.queue_concurrency);
                }
                event => self.batch.add(event, &self.keyring),
            }
        }
        let written = self.hold_waiting(asked);
        self.waiting.extend(written);
    }

    fn tell_waiting(&mut self) {
        // What an earlier gateway left is not written yet.
        if self.waiting.is_empty() || !self.recovered {
            return;
        }
        let unwritten: HashSet<Uuid> =
            self.batch.all_calls().into_iter().chain(self.stuck.all_calls()).collect();
        for (_, done) in self.waiting.extract_if(.., |(call, _)| !unwritten.contains(call)) {
            // A backend that no longer waits needs no answer.
            let _ = done.send(());
        }
    }

    fn status(&self, keys: &[StoredKey]) -> Status {
        let queued = self.queue.stuck();
        let unwritten: HashSet<Uuid> = self.batch.calls().chain(self.stuck.calls()).collect();
        let unwritten = unwritten.len() + queued.len();
        let others = self.stuck.all_calls().into_iter().map(|call| call.to_string());
        let set_aside = queued.map(|(call, why)| format!("{call}: {why}")).chain(others);
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            in_flight: self.shared.in_flight(),
            max_in_flight: self.settings.max_in_flight,
            unwritten,
            set_aside: set_aside.take(MOST_NAMED).collect(),
            queue_problem: self.queue.problem(),
            settings_problem: self.shared.openrouter().err(),
            master_key_is_default: self.settings.master_key_file.is_none(),
            master_key_problem: self.keyring.problem(keys),
            clock_skew_seconds: self.shared.clock_skew(),
            last_contact: self.shared.last_contact(),
        }
    }

    fn is_idle(&self) -> bool {
        self.last_work.elapsed() >= self.settings.idle_timeout
            && self.on_their_way == 0
            && !self.unswept
            && self.ended.is_empty()
            && self.is_written()
            && self.queue.is_empty()
            && !self.queue.has_jobs
            && self.retention.next().is_none()
            && !self.shared.is_enqueuing()
            && !self.shared.is_busy()
    }

    /// True while listeners may have to be told of something soon.
    fn is_telling(&self) -> bool {
        (self.settings.tells_usage || broadcast::is_on()) && !self.ended.is_empty()
    }

    /// What a settlement goes by.
    fn rules(&self) -> Rules {
        Rules {
            time_zone: settings::reporting_time_zone(),
            look_up: !self.settings.settlement_timeout.is_zero()
                && self.settings.switch_off != SwitchOff::Settlement,
            look_up_all: self.settings.verify_every_cost,
        }
    }

    fn is_written(&self) -> bool {
        self.batch.is_empty() && self.stuck.is_empty()
    }

    fn reload(&mut self) {
        session::reload();
        self.settings = GatewaySettings::read();
        self.retention.look_again();
        self.keyring = Keyring::new(self.settings.master_key_file.clone());
        self.shared.set_openrouter(client(&self.settings));
    }
}

fn client(settings: &GatewaySettings) -> Result<OpenRouter, String> {
    OpenRouter::new(&ClientOptions {
        base_url: &settings.base_url,
        ca_file: settings.ca_file.as_deref(),
        // A request that is given up while it connects was not sent.
        connect_timeout: settings.connect_timeout.min(settings.request_timeout / 2),
        request_timeout: settings.request_timeout,
        max_attempts: settings.max_attempts,
        max_response_bytes: settings.max_response_bytes,
        app: App {
            url: settings.app_url.as_deref(),
            title: settings.app_title.as_deref(),
            categories: settings.app_categories.as_deref(),
        },
    })
}
