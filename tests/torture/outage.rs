//! When a gateway could not keep an id that it was sent: from just before it was killed until the server is
//! up again. Where the disk of the journal was full just before, from when it was full.

use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use crate::pulse::Pulse;

/// How long a gateway may take to make an id durable that it was sent, on a machine that has time.
const ID_DELAY: Duration = Duration::from_millis(10);
/// How long a gateway may take to write what a full disk did not take, once there is room: it tries again
/// each second.
const FULL_DELAY: Duration = Duration::from_millis(1_200);

/// An outage.
#[derive(Clone, Copy, Debug)]
pub struct Outage {
    pub from: SystemTime,
    pub to: SystemTime,
    /// The WAL's disk was full: PANIC is PostgreSQL's word for that.
    pub panics: bool,
    /// By how much threads got their turn late before it.
    pub late: Duration,
}

impl Outage {
    pub fn holds(&self, moment: SystemTime) -> bool {
        self.from <= moment && moment <= self.to
    }

    /// It begins with the full disk, if that was just before.
    fn after(self, full: &[Outage]) -> Outage {
        let before =
            full.iter().filter(|full| full.from <= self.from && self.from <= full.to + FULL_DELAY);
        Outage { from: before.map(|full| full.from).fold(self.from, SystemTime::min), ..self }
    }
}

/// How long before the next outage a moment was.
pub fn early(outages: &[Outage], moment: SystemTime) -> Option<Duration> {
    outages.iter().filter_map(|outage| outage.from.duration_since(moment).ok()).min()
}

/// Those of a run.
pub struct Outages {
    pulse: Pulse,
    gone: Mutex<Vec<Outage>>,
    full: Mutex<Vec<Outage>>,
}

impl Outages {
    pub fn new() -> Outages {
        Outages { pulse: Pulse::start(), gone: Mutex::default(), full: Mutex::default() }
    }

    /// Does what takes the gateway away, and waits until the server is up again.
    pub fn during(&self, panics: bool, act: impl FnOnce()) {
        self.since(SystemTime::now(), panics, act);
    }

    /// As [`Outages::during`], but it was there last at that moment.
    pub fn since(&self, moment: SystemTime, panics: bool, act: impl FnOnce()) {
        let outage = self.measure(moment, panics, act);
        self.gone.lock().expect("the outages").push(outage);
    }

    /// Does what takes the room from the journal's disk, and gives it back.
    pub fn while_full(&self, act: impl FnOnce()) {
        let full = self.measure(SystemTime::now(), false, act);
        self.full.lock().expect("the outages").push(full);
    }

    pub fn all(&self) -> Vec<Outage> {
        let full = self.full.lock().expect("the outages");
        self.gone.lock().expect("the outages").iter().map(|outage| outage.after(&full)).collect()
    }

    fn measure(&self, since: SystemTime, panics: bool, act: impl FnOnce()) -> Outage {
        let late = self.pulse.late();
        let from = since - ID_DELAY - late;
        act();
        Outage { from, to: SystemTime::now(), panics, late }
    }
}
