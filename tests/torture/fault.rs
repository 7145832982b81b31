//! The faults of the server, and how often each was injected.

use std::collections::BTreeMap;
use std::sync::Mutex;

/// One kind; `inject` does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    CancelCallers,
    TerminateCallers,
    CancelGateway,
    TerminateGateway,
    KillBackend,
    KillGateway,
    StopImmediate,
    StopFast,
    DropExtension,
    FullDisk,
    FullWal,
    LockTable,
    KillWhileLocked,
    ExhaustedConnections,
}

impl Fault {
    pub const ALL: [Fault; 14] = [
        Fault::CancelCallers,
        Fault::TerminateCallers,
        Fault::CancelGateway,
        Fault::TerminateGateway,
        Fault::KillBackend,
        Fault::KillGateway,
        Fault::StopImmediate,
        Fault::StopFast,
        Fault::DropExtension,
        Fault::FullDisk,
        Fault::FullWal,
        Fault::LockTable,
        Fault::KillWhileLocked,
        Fault::ExhaustedConnections,
    ];

    /// True where it needs a small disk of its own.
    pub fn needs_disk(self) -> bool {
        matches!(self, Fault::FullDisk | Fault::FullWal)
    }
}

/// How often what happened.
#[derive(Default)]
pub struct Counts(Mutex<BTreeMap<String, usize>>);

impl Counts {
    pub fn add(&self, what: &str) {
        *self.0.lock().expect("the counts").entry(what.to_owned()).or_default() += 1;
    }

    pub fn all(&self) -> BTreeMap<String, usize> {
        self.0.lock().expect("the counts").clone()
    }
}
