//! What all threads of a run share.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use postgres::Client;

use crate::fault::Counts;
use crate::form::{Form, SUFFIXES};
use crate::outage::Outages;
use crate::plan::{Plan, Planned};
use crate::prepared::Prepared;
use crate::server::{APP, Server};

/// What a caller knows of the outcome of a call that it made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// It had the answer (or the call's id, where it was enqueued), and its transaction's commit was
    /// confirmed.
    Committed,
    /// Its transaction did not commit.
    NotCommitted,
    /// It lost the connection before it could know.
    Any,
}

/// A call that was made.
pub struct Made {
    pub form: Form,
    pub upstream: &'static str,
    pub leaves_open: bool,
    pub expected: Expected,
    /// True where it may be one that is not committed with its transaction.
    pub is_mixed: bool,
}

/// The run.
pub struct World {
    pub plan: Plan,
    pub server: Server,
    /// By the calls' labels.
    pub made: Mutex<HashMap<String, Made>>,
    pub endings: Counts,
    pub faults: Counts,
    pub outages: Outages,
    pub prepared: Prepared,
    pub progress: AtomicUsize,
    pub faults_over: AtomicBool,
    pub traffic_over: AtomicBool,
    pub end: Instant,
}

impl World {
    pub fn new(plan: Plan) -> World {
        let server = Server::start(&plan);
        World {
            end: Instant::now() + plan.traffic_deadline,
            plan,
            server,
            made: Mutex::default(),
            endings: Counts::default(),
            faults: Counts::default(),
            outages: Outages::new(),
            prepared: Prepared::default(),
            progress: AtomicUsize::new(0),
            faults_over: AtomicBool::new(false),
            traffic_over: AtomicBool::new(false),
        }
    }

    /// Notes a call that is about to be made under this label, and those that are made with it.
    pub fn note(&self, label: &str, planned: &Planned) {
        let mut noted = self.made.lock().expect("the calls");
        for label in planned.form.labels(label) {
            let made = Made {
                form: planned.form,
                upstream: planned.upstream.name,
                leaves_open: planned.upstream.leaves_open,
                expected: Expected::Any,
                is_mixed: planned.form.is_mixed(),
            };
            noted.insert(label, made);
        }
    }

    /// Notes what its caller knows of its outcome.
    pub fn expect(&self, label: &str, expected: Expected) {
        let mut noted = self.made.lock().expect("the calls");
        for suffix in SUFFIXES {
            if let Some(made) = noted.get_mut(&format!("{label}{suffix}")) {
                let is_open = made.is_mixed && expected == Expected::Committed;
                made.expected = if is_open { Expected::Any } else { expected };
            }
        }
    }

    /// A caller's session, as soon as one can be had; None once the run is over.
    pub fn connect(&self) -> Option<Client> {
        while !self.is_overdue() {
            if let Ok(client) = self.server.try_connect(APP) {
                return Some(client);
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        None
    }

    pub fn is_overdue(&self) -> bool {
        Instant::now() > self.end
    }

    /// Paces the run; the harness itself may.
    pub fn pause(&self, milliseconds: u64) {
        std::thread::park_timeout(Duration::from_millis(milliseconds));
    }

    /// Waits until `condition` holds; false if it does not within so many seconds.
    pub fn holds_within(&self, seconds: u64, mut condition: impl FnMut() -> bool) -> bool {
        let end = (Instant::now() + Duration::from_secs(seconds)).min(self.end);
        while Instant::now() < end {
            if condition() {
                return true;
            }
            self.pause(5);
        }
        false
    }

    pub fn done(&self) -> usize {
        self.progress.load(Ordering::Relaxed)
    }
}
