//! The calls that are under way, by whose they are, and those that wait for room.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, OwnedMutexGuard};

use super::Shared;

/// The calls that are under way, or ask to be.
#[derive(Default)]
pub struct Flights {
    all: AtomicUsize,
    by_principal: Mutex<HashMap<String, usize>>,
    /// The principals whose calls wait for room.
    lines: Mutex<HashMap<String, Weak<Line>>>,
}

/// The calls of one principal that wait for room: the first is told when a flight ends, whosever, and the others wait for
/// their turn. Each principal has its own, since there may be room for one and not for another.
#[derive(Default)]
struct Line {
    first: Arc<tokio::sync::Mutex<()>>,
    landed: Notify,
}

impl Flights {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.all.load(Ordering::Acquire)
    }

    /// How many of each principal there are.
    pub fn by_principal(&self) -> HashMap<String, usize> {
        self.of_principals(|flights| flights.clone())
    }

    fn of_principals<R>(&self, work: impl FnOnce(&mut HashMap<String, usize>) -> R) -> R {
        work(&mut self.by_principal.lock().unwrap_or_else(PoisonError::into_inner))
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

/// A call that is under way, or asks to be, counted for as long as it lives.
pub struct Flight(Arc<Shared>, String);

impl Flight {
    /// Of a call of `principal`'s.
    pub fn new(shared: &Arc<Shared>, principal: &str) -> Flight {
        shared.flights.all.fetch_add(1, Ordering::AcqRel);
        shared.flights.of_principals(|flights| match flights.get_mut(principal) {
            Some(count) => *count += 1,
            None => drop(flights.insert(principal.to_owned(), 1)),
        });
        Flight(Arc::clone(shared), principal.to_owned())
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let flights = &self.0.flights;
        flights.of_principals(|flights| {
            if let Some(count) = flights.get_mut(&self.1) {
                *count -= 1;
                if *count == 0 {
                    flights.remove(&self.1);
                }
            }
        });
        flights.all.fetch_sub(1, Ordering::AcqRel);
        flights.of_lines(|lines| {
            for line in lines.values().filter_map(Weak::upgrade) {
                line.landed.notify_one();
            }
        });
    }
}

/// A call's place among those of its principal that wait for room.
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
