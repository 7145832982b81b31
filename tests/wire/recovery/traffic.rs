//! Sessions that call one after the other, until they are told to stop or their server is gone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use hiems_tests::{Database, Fake};
use postgres::{Client, Row};

use super::{billed_at_most_once, call_as, is_billed, is_settled_or_unknown, is_unknown};

pub const SESSIONS: usize = 4;

pub struct Traffic {
    over: Arc<AtomicBool>,
    sessions: Vec<JoinHandle<Vec<String>>>,
}

impl Traffic {
    pub fn start(database: &Database) -> Traffic {
        let over = Arc::new(AtomicBool::new(false));
        let session = |number| {
            let (mut client, over) = (database.admin(), Arc::clone(&over));
            std::thread::spawn(move || {
                let mut answered = Vec::new();
                while !over.load(Ordering::Acquire) {
                    let user = format!("traffic{number}-{}", answered.len());
                    if call_as(&mut client, &user, "20").is_err() {
                        break;
                    }
                    answered.push(user);
                }
                answered
            })
        };
        let sessions = (0..SESSIONS).map(session).collect();
        Traffic { over, sessions }
    }

    /// The names of the calls that were answered.
    pub fn stop(self) -> Vec<String> {
        self.over.store(true, Ordering::Release);
        self.sessions.into_iter().flat_map(|s| s.join().expect("no panic")).collect()
    }
}

/// Each row of a ledger is of one generation, and has its cost or says that it is not known; where the request was
/// about to be sent when its gateway was killed, there may be no generation, which nobody can know: of at most
/// `unsent` rows. Gives the number of rows of each outcome.
pub fn agree_with_bill(
    client: &mut Client,
    fake: &Fake,
    rows: &[Row],
    mut unsent: usize,
) -> BTreeMap<String, usize> {
    let users: Vec<&str> = rows.iter().map(|row| row.get("user_id")).collect();
    let mut outcomes = BTreeMap::new();
    for (i, row) in rows.iter().enumerate() {
        assert!(!users[..i].contains(&users[i]), "{} is there twice", users[i]);
        let outcome = row.get::<_, &str>("outcome");
        *outcomes.entry(outcome.to_owned()).or_default() += 1;
        let Some(generation) = billed_at_most_once(fake, users[i]) else {
            assert!(outcome == "unknown" && is_unknown(row), "{row:?}");
            unsent = unsent.checked_sub(1).expect("it was sent");
            continue;
        };
        if ["committed", "rolled_back", "cancelled"].contains(&outcome) {
            assert!(is_billed(client, row, &generation), "{row:?}");
        } else {
            assert!(is_settled_or_unknown(client, row, &generation), "{row:?}");
        }
        // The headers may not have come before it was broken off.
        let id = row.get::<_, Option<&str>>("generation_id");
        assert!(id.is_none_or(|id| id == generation.id), "{}", users[i]);
    }
    outcomes
}
