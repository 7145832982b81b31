//! Who may have the places that are left of `hiems.max_in_flight`.
//!
//! The last tenth of them is for principals that hold less than their share: as many as each would hold if there were one
//! principal more, and no more than `hiems.max_share` says. So one that comes new finds a place, however many calls others
//! make at once; and what others hold beyond their shares goes to it as their calls end. Where calls are queued, the tenth
//! before is kept from what is beyond a share as well, or the queue would stand still behind one caller's batches.

use std::collections::HashMap;
use std::sync::Arc;

use crate::worker::events::Hold;
use crate::worker::server::{Place, Shared};

/// The places that are left.
pub struct Room {
    shared: Arc<Shared>,
    most: usize,
    /// The largest share, in places.
    largest_share: usize,
    taken: usize,
    /// From so many on only those take a place that have not their share.
    kept_from: usize,
    /// How many places each principal has.
    held: HashMap<String, usize>,
}

impl Room {
    /// The room beside the calls that hold a place. `most` places in all; `share` in percent of `most`; 100: first come,
    /// first served.
    pub fn new(shared: &Arc<Shared>, most: usize, share: usize, has_queue: bool) -> Room {
        let kept = if has_queue { 2 * (most / 10) } else { most / 10 };
        // Where half of the places are free, all that is under way, and asks to be, finds one, whosever it is.
        let is_ample = shared.in_flight() <= most / 2;
        let held = if is_ample { HashMap::new() } else { shared.flights.places() };
        Room {
            shared: Arc::clone(shared),
            most,
            largest_share: most.saturating_mul(share) / 100,
            taken: held.values().sum(),
            kept_from: if share >= 100 { most } else { most - kept },
            held,
        }
    }

    /// Takes a place for a call of this principal's; the error: there is none for it.
    pub fn take(&mut self, principal: &str) -> Result<Place, Hold> {
        if self.taken >= self.most {
            return Err(Hold::Full { by_share: false });
        }
        let held = self.held.get(principal).copied().unwrap_or_default();
        if self.taken >= self.kept_from {
            let share = (self.most / (self.held.len() + 1)).min(self.largest_share).max(1);
            if held >= share {
                return Err(Hold::Full { by_share: true });
            }
        }
        self.taken += 1;
        match self.held.get_mut(principal) {
            Some(held) => *held += 1,
            None => drop(self.held.insert(principal.to_owned(), 1)),
        }
        Ok(Place::new(&self.shared, principal))
    }
}
