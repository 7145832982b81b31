//! Which callers may be told how a call ended before that is durable: those whose own transactions make it so.

use pgrx::spi::SpiResult;

use super::Conditions;
use crate::gateway::protocol::Submit;
use crate::rates::{self, Rates};
use crate::worker::events::First;

/// The calls of a commit, all of the same moment.
pub struct Firsts<'a> {
    /// False where the gateway itself has something to do with each answer, and once the rates are locked.
    is_possible: bool,
    /// None until they are locked by this transaction.
    rates: Option<Rates<'a>>,
    time_zone: &'a str,
    created_at: &'a str,
}

impl<'a> Firsts<'a> {
    pub fn new(conditions: &Conditions<'a>, created_at: &'a str) -> Firsts<'a> {
        Firsts {
            is_possible: !(conditions.log_content || conditions.rules.look_up_all),
            rates: None,
            time_zone: &conditions.rules.time_zone,
            created_at,
        }
    }

    /// What there has to be to tell this call's caller first. None: it waits until its settlement is durable, since
    /// there is more to write than its ledger row.
    pub fn of(&mut self, submit: &Submit) -> SpiResult<Option<First>> {
        let is_plain = submit.idempotency.is_none()
            && !submit.keeps_answer
            && submit.batch.is_none()
            && !submit.entry.streamed;
        let Some(xid) = submit.xid.filter(|_| is_plain && self.is_possible) else {
            return Ok(None);
        };
        if self.rates.is_none() {
            self.is_possible = rates::try_lock();
            self.rates = self.is_possible.then(|| Rates::new(self.time_zone));
        }
        let Some(rates) = &mut self.rates else { return Ok(None) };
        Ok(Some(First { xid, rate: rates.at(self.created_at)?.cloned() }))
    }
}
