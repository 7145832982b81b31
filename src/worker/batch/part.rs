//! Parts of a batch. All that there is of one call stays together: a settlement without the intent
//! before it would find no row to settle.

use std::collections::HashSet;

use uuid::Uuid;

use super::Batch;

impl Batch {
    /// Two halves, so that what cannot be written is found, and holds up nothing else. The error: it is
    /// of one call alone.
    pub fn halves(mut self) -> Result<[Batch; 2], Box<Batch>> {
        let calls = self.all_calls();
        if calls.len() < 2 {
            return Err(Box::new(self));
        }
        let half = calls.into_iter().collect::<Vec<_>>();
        let first = self.take_of(&half[..half.len() / 2].iter().copied().collect());
        Ok([first, self])
    }

    /// Takes out all that there is of these calls.
    pub fn take_of(&mut self, calls: &HashSet<Uuid>) -> Batch {
        let is_of = |call: &Uuid| calls.contains(call);
        Batch {
            intents: self.intents.extract_if(.., |(s, _)| is_of(&s.entry.id)).collect(),
            spilled: self.spilled.extract_if(.., |intent| is_of(&intent.id)).collect(),
            generations: self.generations.extract_if(|call, _| is_of(call)).collect(),
            spilled_generations: self
                .spilled_generations
                .extract_if(|call, _| is_of(call))
                .collect(),
            kept: self.kept.extract_if(|call, _| is_of(call)).collect(),
            again: self.again.extract_if(.., |(call, ..)| is_of(call)).collect(),
            settlements: self
                .settlements
                .extract_if(.., |ending| is_of(&ending.settlement.entry.id))
                .collect(),
            deferred: self.deferred.extract_if(.., |(call, ..)| is_of(call)).collect(),
            undelivered: self.undelivered.extract_if(.., |one| is_of(&one.call)).collect(),
            gone: self.gone.extract_if(.., |call| is_of(call)).collect(),
            spilled_gone: self.spilled_gone.extract_if(.., |call| is_of(call)).collect(),
            unsent: self.unsent.extract_if(.., |call| is_of(call)).collect(),
            spilled_unsent: self.spilled_unsent.extract_if(.., |call| is_of(call)).collect(),
        }
    }

    /// Every call that it says something of.
    pub fn all_calls(&self) -> HashSet<Uuid> {
        let intents = self.intents.iter().map(|(submit, _)| submit.entry.id);
        let generations = self.spilled_generations.keys().chain(self.generations.keys());
        intents
            .chain(self.spilled.iter().map(|intent| intent.id))
            .chain(generations.copied())
            .chain(self.again.iter().map(|(call, ..)| *call))
            .chain(self.calls())
            .collect()
    }
}
