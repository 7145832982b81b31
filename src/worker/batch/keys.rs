//! Idempotency keys of a batch's calls.

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

impl Batch {
    /// Why a call with an idempotency key may not be sent: another has it. `admitted` are intents of the
    /// same commit.
    pub(super) fn taken(
        &self,
        submit: &Submit,
        wanted: &Idempotency,
        admitted: &[Intent],
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
        let same = |intent: &&Intent| {
            let key = intent.idempotency.as_ref().map(|other| &other.key);
            intent.principal == *principal && key == Some(&wanted.key)
        };
        let of = |intent: &Intent| {
            let digest = intent.idempotency.as_ref().map(|other| other.digest.clone());
            Taken { call: intent.id, digest: digest.unwrap_or_default() }
        };
        let here = admitted.iter().chain(&self.spilled).find(same).map(of);
        let taken = match here {
            Some(taken) => Some(taken),
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
