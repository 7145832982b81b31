//! The calls that are under way, the places that they hold, and the calls that wait for a place.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, OwnedMutexGuard};

use super::Shared;

/// The calls that are under way, or ask to be; and the places of `hiems.max_in_flight` that are held.
#[derive(Default)]
pub struct Flights {
    all: AtomicUsize,
    /// How many places each principal holds.
    places: Mutex<HashMap<String, usize>>,
    /// The principals whose calls wait for a place.
    lines: Mutex<HashMap<String, Weak<Line>>>,
}

/// The calls of one principal that wait for a place: the first is told when any call gives its place back, and the others
/// wait for their turn. Each principal has its own line, since there may be room for one and not for another.
#[derive(Default)]
struct Line {
    first: Arc<tokio::sync::Mutex<()>>,
    landed: Notify,
}

impl Flights {
    /// How many calls are under way, or ask to be.
    pub fn count(&self) -> usize {
        self.all.load(Ordering::Acquire)
    }

    /// How many places each principal holds. A call that only asks for one is not counted: it could take the last place
    /// from another that asks, and neither would be sent.
    pub fn places(&self) -> HashMap<String, usize> {
        self.of_places(|places| places.clone())
    }

    fn of_places<R>(&self, work: impl FnOnce(&mut HashMap<String, usize>) -> R) -> R {
        work(&mut self.places.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn of_lines<R>(&self, work: impl FnOnce(&mut HashMap<String, Weak<Line>>) -> R) -> R {
        work(&mut self.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn line(&self, principal: &str) -> Arc<Line> {
        self.of_lines(|lines| match lines.get(principal).and_then(Weak::upgrade) {
            Some(line) => line,
            None => {
                lines.retain(|_, line| line.strong_count() > 0);
                let line = Arc::new(Line::default());
                lines.insert(principal.to_owned(), Arc::downgrade(&line));
                line
            }
        })
    }
}

/// A call that is under way, or asks to be, counted for as long as this lives.
pub struct Flight(Arc<Shared>);

impl Flight {
    /// Counts one call more.
    pub fn new(shared: &Arc<Shared>) -> Flight {
        shared.flights.all.fetch_add(1, Ordering::AcqRel);
        Flight(Arc::clone(shared))
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.flights.all.fetch_sub(1, Ordering::AcqRel);
    }
}

/// One place of `hiems.max_in_flight`, held by a call of a principal's for as long as this lives.
pub struct Place(Arc<Shared>, String);

impl Place {
    /// Takes a place, whether or not one is left: `Room` judges that.
    pub fn new(shared: &Arc<Shared>, principal: &str) -> Place {
        shared.flights.of_places(|places| match places.get_mut(principal) {
            Some(count) => *count += 1,
            None => drop(places.insert(principal.to_owned(), 1)),
        });
        Place(Arc::clone(shared), principal.to_owned())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let flights = &self.0.flights;
        flights.of_places(|places| {
            if let Some(count) = places.get_mut(&self.1) {
                *count -= 1;
                if *count == 0 {
                    places.remove(&self.1);
                }
            }
        });
        flights.of_lines(|lines| {
            for line in lines.values().filter_map(Weak::upgrade) {
                line.landed.notify_one();
            }
        });
    }
}

/// A call's position in the line of its principal's calls that wait for a place.
#[derive(Default)]
pub struct Queue {
    line: Option<Arc<Line>>,
    turn: Option<OwnedMutexGuard<()>>,
}

/// How long the first one waits where nobody says that there is room: a setting may have changed.
const PATIENCE: Duration = Duration::from_millis(50);

impl Queue {
    /// Waits until it is worth asking again: only the first in the line asks, or hundreds would each time.
    pub async fn wait(&mut self, shared: &Shared, principal: &str) {
        let line = self.line.get_or_insert_with(|| shared.flights.line(principal));
        match self.turn {
            None => self.turn = Some(Arc::clone(&line.first).lock_owned().await),
            Some(_) => {
                let _ = tokio::time::timeout(PATIENCE, line.landed.notified()).await;
            }
        }
    }
}
