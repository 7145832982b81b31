//! Looks generations up at OpenRouter: calls of unknown cost, so that they can be booked, and booked ones
//! whose figures may not be right.

use pgrx::spi::SpiResult;
use pgrx::{log, warning};
use reqwest::header::HeaderValue;
use uuid::Uuid;

use super::Gateway;
use crate::gateway::protocol::Settlements;
use crate::ledger::{self, Entry};
use crate::openrouter::failure::{Failure, FailureKind};
use crate::openrouter::generation::{self, LookUp, Record};
use crate::pg::xact::{self, Aborted};
use crate::rates;
use crate::realtime;
use crate::settings::SwitchOff;
use crate::worker::events::Event;
use crate::worker::journal::{self, ToLookUp};
use crate::worker::look_ups::{Asked, Found};
use crate::worker::settlement::State;

impl Gateway {
    /// Asks for the generations that are due, and writes what has been answered.
    pub(super) fn look_up(&mut self) {
        self.write_found();
        let due = self.look_ups.take_due();
        if due.is_empty() {
            return;
        }
        let keyring = &mut self.keyring;
        let keys = xact::transaction(|| {
            due.iter()
                .map(|wanted| keyring.authorization(&wanted.key_name))
                .collect::<SpiResult<Vec<_>>>()
        });
        let keys = match keys {
            Ok(keys) => keys,
            Err(aborted) => due.iter().map(|_| Err(unavailable(&aborted.message))).collect(),
        };
        for (wanted, key) in due.into_iter().zip(keys) {
            match key {
                Ok(authorization) => self.ask(wanted, authorization),
                // Somebody may put the key back.
                Err(failure) => {
                    let found = LookUp::NotYet { why: failure.message, after: None };
                    self.looked_up.push((wanted.call, found));
                }
            }
        }
    }

    fn ask(&self, wanted: ToLookUp, authorization: HeaderValue) {
        let shared = std::sync::Arc::clone(&self.shared);
        self.runtime.spawn(async move {
            let ToLookUp { call, generation_id, .. } = wanted;
            let found = match shared.openrouter() {
                Ok(openrouter) => {
                    match openrouter.generation(authorization, &generation_id).await {
                        Ok(answer) => generation::read(&answer, &generation_id),
                        Err(error) => LookUp::NotYet { why: format!("{error:?}"), after: None },
                    }
                }
                Err(why) => LookUp::NotYet { why, after: None },
            };
            shared.outbox.send(Event::LookedUp { call, found });
        });
    }

    /// Writes what was found, and gives up what was not found for too long. Behind somebody's lock it
    /// waits.
    fn write_found(&mut self) {
        let answers = std::mem::take(&mut self.looked_up);
        if answers.is_empty() {
            return;
        }
        match self.write(&answers) {
            Ok(written) => self.end_look_ups(&written),
            Err(aborted) if aborted.lock_not_available => self.looked_up = answers,
            Err(_) => {
                for answer in answers {
                    match self.write(std::slice::from_ref(&answer)) {
                        Ok(written) => self.end_look_ups(&written),
                        Err(aborted) => {
                            let call = answer.0;
                            let what = aborted.message;
                            warning!("hiems cannot write what call {call} did cost: {what}");
                            self.give_up(call);
                        }
                    }
                }
            }
        }
    }

    /// Asks no more for one whose record cannot be written, if it is time; else later.
    fn give_up(&mut self, call: Uuid) {
        let is_over = self.look_ups.is_given_up(call, self.settings.settlement_timeout);
        let stop = || match journal::try_lock() {
            true => Ok(journal::stop_looking(&[call])?),
            false => Err(Aborted::by_lock()),
        };
        match is_over && xact::transaction(stop).is_ok() {
            true => self.end_look_ups(&[(call, Written::Ended(Found::Nothing))]),
            false => self.look_ups.put_off(call, None, self.settings.settlement_timeout),
        }
    }

    fn end_look_ups(&mut self, written: &[(Uuid, Written)]) {
        let timeout = self.settings.settlement_timeout;
        self.looks_at_all = true;
        for (call, written) in written {
            match written {
                Written::Ended(found) => self.look_ups.end(*call, *found),
                Written::NotYet(after) => self.look_ups.put_off(*call, *after, timeout),
            }
        }
    }

    fn write(&self, answers: &[(Uuid, LookUp)]) -> Result<Vec<(Uuid, Written)>, Aborted> {
        let timeout = self.settings.settlement_timeout;
        let rules = self.rules();
        xact::transaction(|| {
            if !(journal::try_lock() && ledger::try_lock() && rates::try_lock()) {
                return Err(Aborted::by_lock());
            }
            if ledger::foreign_trigger().is_some() {
                return Err(Aborted::by_lock());
            }
            let mut written = Vec::new();
            let (mut over, mut added) = (Vec::new(), Vec::new());
            for (call, answer) in answers {
                let what = match answer {
                    LookUp::Found(record) => {
                        Written::Ended(settle(*call, record, &rules, &mut added)?)
                    }
                    LookUp::NotYet { why, .. } if self.look_ups.is_given_up(*call, timeout) => {
                        if !self.look_ups.is_free(*call) {
                            log!("hiems gives up asking what call {call} did cost: {why}");
                        }
                        over.push(*call);
                        Written::Ended(Found::Nothing)
                    }
                    LookUp::NotYet { after, .. } => Written::NotYet(*after),
                };
                written.push((*call, what));
            }
            journal::stop_looking(&over)?;
            realtime::tell(&added, self.settings.tells_usage)?;
            Ok(written)
        })
    }

    /// Asks for everything of unknown cost now, also for what was given up; tells what has come of it.
    pub(super) fn settle_now(&mut self, done: Asked) {
        if self.settings.switch_off == SwitchOff::Settlement {
            let _ = done.send(Ok(Settlements::default()));
            return;
        }
        let system = self.system_identifier;
        let added = self.recover().and_then(|()| {
            xact::transaction(|| match journal::try_lock() {
                true => {
                    journal::look_again(system)?;
                    Ok(journal::to_look_ups()?)
                }
                false => Err(Aborted::by_lock()),
            })
        });
        match added {
            Ok(added) => {
                for wanted in added {
                    self.look_ups.add(wanted);
                }
                self.look_ups.ask_now(done);
            }
            Err(aborted) => {
                // A backend that no longer waits needs no answer.
                let _ = done.send(Err(unavailable(&aborted.message)));
            }
        }
    }
}

/// What was written of an answer.
enum Written {
    Ended(Found),
    NotYet(Option<std::time::Duration>),
}

/// Writes what a generation did cost: into the journal, where the call waits to be booked, or as a
/// correcting row, whose id is put to `added`.
fn settle(
    call: Uuid,
    record: &Record,
    rules: &journal::Rules,
    added: &mut Vec<Uuid>,
) -> Result<Found, Aborted> {
    let Some((is_booked, entry)) = journal::looked_at(call)? else { return Ok(Found::Nothing) };
    if is_booked {
        let (compared, row) = ledger::correct(call, record)?;
        added.extend(row);
        journal::stop_looking(&[call])?;
        return Ok(Found::Compared(compared));
    }
    let mut entry: Entry = serde_json::from_str(&entry).map_err(|error| Aborted {
        lock_not_available: false,
        message: format!("its row in the journal cannot be read: {error}"),
    })?;
    // What its caller closed has no error: the call did what was asked of it for as long as it was.
    let state = if entry.error_code.is_some() { State::Failed } else { State::Answered };
    entry.settle_by(record.clone());
    journal::settle(&[journal::Ended { state, entry: &entry }], rules)?;
    Ok(Found::Settled)
}

fn unavailable(why: &str) -> Failure {
    Failure::new(FailureKind::Unavailable, "the journal is not available").detail(why)
}
