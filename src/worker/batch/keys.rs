//! Idempotency keys of a batch's calls.

use std::collections::HashMap;

use pgrx::spi::SpiResult;
use uuid::Uuid;

use super::{Batch, Conditions};
use crate::gateway::protocol::Submit;
use crate::idempotency::{self, Idempotency, Taken};
use crate::openrouter::failure::{Failure, FailureKind};
use crate::worker::events::Hold;
use crate::worker::journal::Intent;

/// Takes the keys of calls that are about to be sent.
pub(super) fn take_keys(intents: &[Intent]) -> SpiResult<()> {
    for intent in intents {
        if let Some(wanted) = &intent.idempotency {
            idempotency::take(&intent.principal, wanted, intent.id)?;
        }
    }
    Ok(())
}

/// The keys that calls of the same commit have, by principal and key.
#[derive(Default)]
pub(super) struct TakenHere<'a>(HashMap<(&'a str, &'a str), Taken>);

impl<'a> TakenHere<'a> {
    pub fn of(intents: &'a [Intent]) -> TakenHere<'a> {
        let mut taken = TakenHere::default();
        for intent in intents {
            taken.insert(&intent.principal, intent.idempotency.as_ref(), intent.id);
        }
        taken
    }

    pub fn add(&mut self, submit: &'a Submit) {
        let entry = &submit.entry;
        self.insert(&entry.principal, submit.idempotency.as_ref(), entry.id);
    }

    fn insert(&mut self, principal: &'a str, key: Option<&'a Idempotency>, call: Uuid) {
        if let Some(Idempotency { key, digest }) = key {
            let taken = Taken { call, digest: digest.clone() };
            self.0.entry((principal, key)).or_insert(taken);
        }
    }
}

impl Batch {
    /// Why a call with an idempotency key may not be sent: another has it. `here` are the keys of the same
    /// commit.
    pub(super) fn taken(
        &self,
        submit: &Submit,
        wanted: &Idempotency,
        here: &TakenHere,
        conditions: &Conditions,
    ) -> SpiResult<Option<Hold>> {
        let retention = conditions.answer_retention;
        if retention.is_zero() {
            return Ok(Some(Hold::Refused(idempotency::no_retention())));
        }
        if !conditions.is_recovered {
            return Ok(Some(Hold::Refused(locked("hiems_private.calls"))));
        }
        let principal = &submit.entry.principal;
        let taken = match here.0.get(&(principal.as_str(), wanted.key.as_str())) {
            Some(taken) => Some(taken.clone()),
            None if !idempotency::try_lock() => {
                return Ok(Some(Hold::Refused(locked("hiems_private.idempotency_keys"))));
            }
            None if !idempotency::is_free_to_claim(principal, &wanted.key) => {
                return Ok(Some(Hold::Claimed));
            }
            None => idempotency::find(principal, &wanted.key, retention)?,
        };
        Ok(taken.map(|taken| match taken.digest == wanted.digest {
            true => Hold::Taken(taken.call),
            false => Hold::Refused(idempotency::other_content(taken.call)),
        }))
    }

    /// The calls that were surely not billed: their keys are free again.
    pub(super) fn unbilled(&self) -> Vec<Uuid> {
        let failed = self
            .settlements
            .iter()
            .map(|e| &e.settlement)
            .filter(|settlement| settlement.is_unbilled());
        failed.map(|settlement| settlement.entry.id).chain(self.unsent()).collect()
    }
}

fn locked(table: &str) -> Failure {
    Failure::new(FailureKind::Unavailable, "the idempotency keys are locked")
        .detail(format!("somebody holds a lock on {table}"))
        .hint("Try again when it is gone; pg_locks shows who holds it.")
}
