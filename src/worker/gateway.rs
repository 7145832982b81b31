//! The main loop: takes what tokio's threads ask for, commits it many calls at a time, books what
//! callers left, and leaves when there is nothing to do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pgrx::{log, warning};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::batch::{Batch, Committed};
use super::events::{self, Inbox};
use super::server::{self, Shared};
use super::{admission::Keyring, journal};
use crate::gateway::protocol::Files;
use crate::ledger;
use crate::openrouter::client::{App, ClientOptions, OpenRouter};
use crate::pg::wait::{Interest, WaitSet};
use crate::pg::xact::{self, Aborted};
use crate::pg::{background, interrupts, lock, session};
use crate::settings::{self, GatewaySettings};

/// How often the sweep looks for what callers left, and the house is kept.
const TICK: Duration = Duration::from_millis(500);
/// How long a generation's id may wait for a commit that goes anyway.
const GENERATION_DELAY: Duration = Duration::from_millis(10);
/// How long to wait after a batch that somebody's lock held up, or that failed for another reason.
const LOCK_DELAY: Duration = Duration::from_millis(50);
const FAILURE_DELAY: Duration = Duration::from_secs(1);
/// How long calls in flight are waited for when the gateway is told to end.
const DRAIN: Duration = Duration::from_secs(10);

pub struct Gateway {
    wait: WaitSet,
    inbox: Inbox,
    shared: Arc<Shared>,
    leaving: watch::Sender<bool>,
    socket: std::path::PathBuf,
    settings: GatewaySettings,
    keyring: Keyring,
    system_identifier: i64,
    /// What is to be committed.
    batch: Batch,
    /// What could not be written, though nobody's lock was in the way: tried again now and then, and
    /// in the way of nothing else.
    stuck: Batch,
    stuck_until: Instant,
    /// After a failure, not before then.
    not_before: Option<Instant>,
    /// Calls on their way, as the last sweep saw them.
    on_their_way: i64,
    /// True if something has happened that a sweep may have to book.
    unswept: bool,
    next_tick: Instant,
    last_work: Instant,
    /// The foreign trigger that the log has been told of.
    warned_of_trigger: Option<String>,
}

impl Gateway {
    /// A gateway that listens. The error says why there is none.
    pub fn start(runtime: &Runtime, files: &Files) -> Result<Gateway, String> {
        let installed = xact::transaction(|| {
            if !journal::is_installed()? {
                return Ok(false);
            }
            journal::recover().map(|()| true)
        });
        match installed {
            Ok(true) => {}
            Ok(false) => return Err("the extension is not installed".to_owned()),
            Err(aborted) => return Err(aborted.message),
        }
        let settings = GatewaySettings::read();
        let (outbox, inbox) = events::channel().map_err(|error| error.to_string())?;
        let (leaving, told) = watch::channel(false);
        let shared = Arc::new(Shared::new(outbox, client(&settings), told));
        let listener = runtime
            .block_on(server::listen(&files.socket))
            .map_err(|error| format!("{}: {error}", files.socket.display()))?;
        runtime.spawn(server::serve(listener, Arc::clone(&shared)));
        session::report_activity("idle");
        let now = Instant::now();
        Ok(Gateway {
            wait: WaitSet::new(inbox.descriptor()),
            inbox,
            shared,
            leaving,
            socket: files.socket.clone(),
            keyring: Keyring::new(settings.master_key_file.clone()),
            settings,
            system_identifier: xact::system_identifier(),
            batch: Batch::default(),
            stuck: Batch::default(),
            stuck_until: now,
            not_before: None,
            on_their_way: 0,
            unswept: true,
            next_tick: now,
            last_work: now,
            warned_of_trigger: None,
        })
    }

    /// Works until it is time to leave, and leaves in order.
    pub fn work(mut self) {
        let mut end_asked = false;
        loop {
            self.wait.wait(Interest::Readable, Some(self.until_next()));
            interrupts::check_in_worker();
            if background::reload_asked() {
                self.reload();
            }
            end_asked |= background::end_asked();
            self.take_events();
            self.commit();
            if Instant::now() >= self.next_tick {
                self.next_tick = Instant::now() + TICK;
                let wanted = self.sweep();
                if end_asked || wanted || self.is_idle() {
                    break;
                }
            } else if end_asked {
                break;
            }
        }
        self.leave();
    }

    fn until_next(&self) -> Duration {
        let now = Instant::now();
        let mut until = self.next_tick.saturating_duration_since(now);
        if let Some(not_before) = self.not_before {
            until = until.min(not_before.saturating_duration_since(now));
        } else if let Some(since) = self.batch.oldest_generation() {
            until = until.min((since + GENERATION_DELAY).saturating_duration_since(now));
        }
        // Round up, so that a part of a millisecond is slept and not spun.
        until + Duration::from_millis(1)
    }

    fn take_events(&mut self) {
        for event in self.inbox.take() {
            self.last_work = Instant::now();
            self.batch.add(event, &self.keyring);
        }
    }

    /// Commits the batch if it is due; what cannot be committed stays for the next time.
    fn commit(&mut self) {
        let now = Instant::now();
        if self.not_before.is_some_and(|not_before| now < not_before) {
            return;
        }
        if now >= self.stuck_until {
            self.batch.prepend(std::mem::take(&mut self.stuck));
        }
        self.not_before = None;
        let due =
            self.batch.oldest_generation().is_some_and(|since| now >= since + GENERATION_DELAY);
        if !self.batch.is_urgent() && !due {
            return;
        }
        let batch = std::mem::take(&mut self.batch);
        self.unswept = true;
        let Err(failed) = self.commit_batch(batch) else { return };
        let (batch, aborted) = *failed;
        if aborted.lock_not_available {
            self.batch.prepend(batch);
            self.not_before = Some(Instant::now() + LOCK_DELAY);
            return;
        }
        // Something in it cannot be written: the rest must not wait for it.
        for part in batch.part() {
            if let Err(failed) = self.commit_batch(part) {
                let (mut part, aborted) = *failed;
                warning!("the hiems gateway cannot write its journal: {}", aborted.message);
                if !aborted.lock_not_available {
                    part.refuse_intents(&aborted.message);
                }
                self.stuck.prepend(part);
                self.stuck_until = Instant::now() + FAILURE_DELAY;
            }
        }
    }

    /// Writes a batch, and tells those who wait for it. An error gives it back.
    fn commit_batch(&mut self, batch: Batch) -> Result<(), Box<(Batch, Aborted)>> {
        // Those that wait to be sent are in flight already, as far as their connections are concerned.
        let in_flight = self.shared.in_flight().saturating_sub(batch.waiting());
        let room = self.settings.max_in_flight.saturating_sub(in_flight);
        let time_zone = settings::reporting_time_zone();
        let (keyring, system) = (&mut self.keyring, self.system_identifier);
        match xact::transaction(|| batch.write(keyring, system, &time_zone, room)) {
            Ok(committed) => {
                self.tell(batch, committed);
                Ok(())
            }
            Err(aborted) => Err(Box::new((batch, aborted))),
        }
    }

    fn tell(&self, batch: Batch, committed: Committed) {
        for (call, token) in batch.costs_out_of_range() {
            warning!(
                "hiems call {call}: the cost {token} is out of range; it is booked as unknown"
            );
        }
        for call in batch.not_in_journal(&committed) {
            warning!("somebody has taken from the hiems journal {call}");
        }
        batch.tell(committed);
    }

    /// Books what callers left. True if the gateway has to leave: the database is wanted by somebody,
    /// or the extension is gone.
    fn sweep(&mut self) -> bool {
        // The open calls are looked at before the events: a caller's going is an event first, and
        // leaves the set after.
        let mut open = self.shared.open_calls();
        self.take_events();
        self.commit();
        open.extend(self.shared.open_calls());
        let due = self.unswept || self.on_their_way > 0;
        let system = self.system_identifier;
        let warned = &mut self.warned_of_trigger;
        let swept = xact::transaction(|| {
            // While calls are in flight their callers hold the database anyway.
            let wanted = open.is_empty() && lock::database_is_wanted();
            if wanted || !journal::is_installed()? {
                return Ok((true, None));
            }
            if due && let Some(name) = ledger::foreign_trigger()? {
                if warned.as_ref() != Some(&name) {
                    warning!(
                        "hiems books nothing: the trigger {name:?} on its ledger is not its own"
                    );
                    *warned = Some(name);
                }
                return Ok((false, None));
            }
            let left = if due { Some(ledger::book_finished(system, &open, None)?) } else { None };
            Ok((false, left))
        });
        let wanted = match swept {
            Ok((wanted, left)) => {
                if let Some(left) = left {
                    self.on_their_way = left;
                    self.unswept = false;
                }
                wanted
            }
            Err(aborted) => {
                if !aborted.lock_not_available {
                    warning!("the hiems gateway cannot book finished calls: {}", aborted.message);
                    self.sweep_one_by_one(&open);
                }
                false
            }
        };
        session::report_activity("idle");
        wanted
    }

    /// Where one call cannot be booked, the others must be.
    fn sweep_one_by_one(&self, open: &[uuid::Uuid]) {
        let system = self.system_identifier;
        let Ok(settled) = xact::transaction(journal::settled) else { return };
        for call in settled {
            let booked = xact::transaction(|| ledger::book_finished(system, open, Some(call)));
            if let Err(aborted) = booked {
                warning!("hiems call {call} cannot be booked: {}", aborted.message);
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.last_work.elapsed() >= self.settings.idle_timeout
            && self.on_their_way == 0
            && self.is_written()
            && self.shared.in_flight() == 0
    }

    fn is_written(&self) -> bool {
        self.batch.is_empty() && self.stuck.is_empty()
    }

    fn reload(&mut self) {
        session::reload();
        self.settings = GatewaySettings::read();
        self.keyring = Keyring::new(self.settings.master_key_file.clone());
        self.shared.set_openrouter(client(&self.settings));
    }

    /// New callers find no socket and start the next gateway; those that are connected and wait for
    /// nothing are told; calls in flight are finished, within bounds.
    fn leave(mut self) {
        let _ = std::fs::remove_file(&self.socket);
        self.leaving.send_replace(true);
        let deadline = Instant::now() + DRAIN;
        while (self.shared.connections() > 0 || !self.is_written()) && Instant::now() < deadline {
            self.wait.wait(Interest::Readable, Some(Duration::from_millis(5)));
            interrupts::check_in_worker();
            self.take_events();
            self.commit();
        }
        if self.shared.in_flight() > 0 {
            log!(
                "the hiems gateway leaves {} calls in flight: their outcome is unknown",
                self.shared.in_flight()
            );
        }
        for call in self.batch.unwritten().chain(self.stuck.unwritten()) {
            warning!("the hiems gateway leaves without having journalled {call}");
        }
        self.sweep();
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
