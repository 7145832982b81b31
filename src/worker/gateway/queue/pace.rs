//! How many calls of each model may be on their way out of the queue. A provider's 429 slows its own model:
//! half as many at once, after a pause, and one more with every call that is taken.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::queue::Room;
use crate::worker::events::Pace as Ended;

/// Of all models.
#[derive(Default)]
pub struct Paces {
    models: HashMap<String, Model>,
    /// OpenRouter cannot be reached: nothing is sent before then.
    held_until: Option<Instant>,
    unreachable: u32,
}

#[derive(Default)]
struct Model {
    in_flight: usize,
    /// None: as many as the setting says.
    allowed: Option<usize>,
    held_until: Option<Instant>,
}

const LONGEST_HOLD: Duration = Duration::from_secs(30);

impl Paces {
    /// Takes note of a call that is sent.
    pub fn started(&mut self, model: &str) {
        match self.models.get_mut(model) {
            Some(model) => model.in_flight += 1,
            None => {
                let known = Model { in_flight: 1, ..Model::default() };
                self.models.insert(model.to_owned(), known);
            }
        }
    }

    /// Takes note of how one has ended. `most`: how many of a model there may be at once.
    pub fn ended(&mut self, name: &str, how: Ended, most: usize, now: Instant) {
        let Some(model) = self.models.get_mut(name) else { return };
        let before = model.in_flight;
        model.in_flight = before.saturating_sub(1);
        match how {
            Ended::Taken => {
                self.unreachable = 0;
                model.allowed = model.allowed.map(|allowed| allowed + 1).filter(|a| *a < most);
            }
            Ended::Refused(wait) => {
                self.unreachable = 0;
                // Those that were sent together are refused together: once is enough.
                if model.held_until.is_none_or(|until| until <= now) {
                    let at_once = model.allowed.unwrap_or(most).min(before);
                    model.allowed = Some((at_once / 2).max(1));
                }
                let until = now.checked_add(wait).unwrap_or(now);
                model.held_until = Some(model.held_until.map_or(until, |held| held.max(until)));
            }
            Ended::Unreachable => {
                if self.held_until.is_none_or(|until| until <= now) {
                    let doubled = 1_u32.checked_shl(self.unreachable).unwrap_or(u32::MAX);
                    let hold = Duration::from_secs(1).saturating_mul(doubled).min(LONGEST_HOLD);
                    self.held_until = Some(now + hold);
                    self.unreachable += 1;
                }
            }
        }
    }

    /// True while nothing at all is to be sent.
    pub fn is_held(&mut self, now: Instant) -> bool {
        self.held_until = self.held_until.filter(|until| *until > now);
        self.held_until.is_some()
    }

    /// The room of those models that have another than `most`.
    pub fn rooms(&mut self, most: usize, now: Instant) -> Vec<Room> {
        for model in self.models.values_mut() {
            model.held_until = model.held_until.filter(|until| *until > now);
        }
        self.models.retain(|_, model| {
            model.in_flight > 0 || model.allowed.is_some() || model.held_until.is_some()
        });
        self.models
            .iter()
            .map(|(name, model)| {
                let allowed = model.allowed.unwrap_or(most).min(most);
                let room = match model.held_until {
                    Some(_) => 0,
                    None => allowed.saturating_sub(model.in_flight),
                };
                Room { model: name.clone(), room: i64::try_from(room).unwrap_or(i64::MAX) }
            })
            .collect()
    }

    /// When the first hold ends.
    pub fn next_end_of_hold(&self) -> Option<Instant> {
        let holds = self.models.values().filter_map(|model| model.held_until);
        holds.chain(self.held_until).min()
    }
}
