//! What becomes of calls whose callers have been told how they ended before the journal was: most are in the ledger a
//! moment later, and the journal forgets them as it is. The others are settled.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use pgrx::warning;
use uuid::Uuid;

use super::Gateway;
use crate::ledger;
use crate::pg::xact::{self, Aborted};
use crate::realtime;
use crate::worker::journal;
use crate::worker::settlement::Settlement;
use crate::worker::told::Told;

/// How long a caller's transaction has to end.
pub(super) const PATIENCE: Duration = Duration::from_millis(20);

impl Gateway {
    /// Takes in a call whose caller has been told.
    pub(super) fn add_told(&mut self, told: Told) {
        self.batch.forget_kept(told.entry.id);
        self.told.add(told);
    }

    /// Has a call settled that there is more to write of.
    pub(super) fn settle_told(&mut self, call: Uuid) {
        if let Some(told) = self.told.remove(call) {
            self.settle_all(vec![told]);
        }
    }

    /// When there is something to do.
    pub(super) fn told_is_due(&self) -> Option<Instant> {
        self.told.oldest().map(|since| since + PATIENCE)
    }

    /// Forgets the calls that are in the ledger, where any of them has been told for so long; and has those settled that
    /// are not.
    pub(super) fn look_after_told(&mut self, patience: Duration) {
        let now = Instant::now();
        if self.told.oldest().is_none_or(|since| now < since + patience) {
            return;
        }
        let over = self.told.take_over();
        let forgotten = self.forget_booked(&over);
        let mut left: Vec<Told> =
            over.into_iter().filter(|told| !forgotten.contains(&told.entry.id)).collect();
        left.extend(self.told.take_since(now - patience));
        self.settle_all(left);
    }

    fn settle_all(&mut self, told: Vec<Told>) {
        for Told { entry, first, kept, .. } in told {
            self.batch.keep(entry.id, kept);
            self.batch.add_told(Settlement::told(*entry, first));
        }
    }

    /// Forgets those that are in the ledger, and tells listeners; gives them. Behind somebody's lock it is none.
    fn forget_booked(&mut self, told: &[Told]) -> HashSet<Uuid> {
        if told.is_empty() {
            return HashSet::new();
        }
        let calls: Vec<Uuid> = told.iter().map(|told| told.entry.id).collect();
        let tells = self.settings.tells_usage;
        let forgotten = xact::transaction(|| {
            if !(ledger::try_lock() && journal::try_lock()) {
                return Err(Aborted::by_lock());
            }
            // Undone by a crash, it is to be done once more.
            xact::commit_without_waiting();
            let forgotten = ledger::forget_booked(&calls)?;
            realtime::tell(&forgotten, tells)?;
            Ok(forgotten)
        });
        match forgotten {
            Ok(forgotten) => forgotten.into_iter().collect(),
            Err(aborted) => {
                if !aborted.lock_not_available {
                    warning!("hiems cannot forget booked calls: {}", aborted.message);
                }
                HashSet::new()
            }
        }
    }
}
