//! Prepared transactions, which are resolved later.

use std::sync::Mutex;

use hiems_tests::Random;
use postgres::Client;

use crate::world::{Expected, World};

/// More than so many are not left about.
const MOST: usize = 12;

struct Waiting {
    label: String,
    commits: bool,
}

/// Those that nobody has resolved.
#[derive(Default)]
pub struct Prepared(Mutex<Vec<Waiting>>);

impl Prepared {
    /// Notes one that may have been prepared, and how it is to be resolved.
    pub fn add(&self, label: &str, commits: bool) {
        let waiting = Waiting { label: label.to_owned(), commits };
        self.0.lock().expect("the list").push(waiting);
    }

    /// Resolves one of them where there are many; tries again another time what fails.
    pub fn resolve_some(&self, world: &World, client: &mut Client, random: &mut Random) {
        let taken = {
            let mut list = self.0.lock().expect("the list");
            let is_due = list.len() > MOST || (!list.is_empty() && random.percent(10));
            let count = list.len() as u64;
            is_due.then(|| list.swap_remove(random.below(count) as usize))
        };
        if let Some(waiting) = taken
            && !resolve(world, client, &waiting)
        {
            self.0.lock().expect("the list").push(waiting);
        }
    }

    /// Resolves all; false if one cannot be.
    pub fn resolve_all(&self, world: &World, client: &mut Client) -> bool {
        let list = std::mem::take(&mut *self.0.lock().expect("the list"));
        list.iter().all(|waiting| resolve(world, client, waiting))
    }
}

fn resolve(world: &World, client: &mut Client, waiting: &Waiting) -> bool {
    let Waiting { label, commits } = waiting;
    let verb = if *commits { "COMMIT" } else { "ROLLBACK" };
    let expected = if *commits { Expected::Committed } else { Expected::NotCommitted };
    match client.batch_execute(&format!("{verb} PREPARED '{label}'")) {
        Ok(()) => {
            world.expect(label, expected);
            world.endings.add(&format!("{} prepared", verb.to_lowercase()));
            true
        }
        // It was never prepared, or an earlier try was not confirmed.
        Err(error) => error.code().is_some_and(|code| code.code() == "42704"),
    }
}
