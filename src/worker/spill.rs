//! What could not be journalled, since somebody's LOCK TABLE or VACUUM FULL held the journal, in a file:
//! as durable as the journal, and waiting for nobody. It is written to the journal as soon as the lock
//! is gone, by whoever is the gateway then.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use pgrx::warning;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::journal::{self, Intent};
use super::settlement::State;
use crate::ledger::Entry;
use crate::pg::xact::Aborted;

/// One line of the file.
#[derive(Serialize, Deserialize)]
pub enum Record {
    Intent(Box<Intent>),
    Generation(Uuid, String),
    Ended(State, Box<Entry>),
    Deferred(Uuid, u64),
    CallerGone(Uuid),
    Unsent(Uuid),
}

/// The file: in the data directory, beside the tables that it stands in for.
pub struct Spill {
    own: PathBuf,
    /// What an earlier gateway left.
    inherited: PathBuf,
}

impl Spill {
    /// The file of one installation of the extension: another one in a database of the same OID has
    /// another. Takes over what an earlier gateway left in it.
    pub fn of(database: u32, extension: u32) -> io::Result<Spill> {
        let own = PathBuf::from(format!("hiems_calls.{database}.{extension}"));
        let spill = Spill { inherited: own.with_added_extension("left"), own };
        if spill.own.exists() {
            if spill.inherited.exists() {
                append(&spill.inherited, &fs::read(&spill.own)?)?;
                fs::remove_file(&spill.own)?;
            } else {
                fs::rename(&spill.own, &spill.inherited)?;
            }
            sync_folder()?;
        }
        Ok(spill)
    }

    /// Adds records; durable when this returns.
    pub fn append(&self, records: &[Record]) -> io::Result<()> {
        let is_new = !self.own.exists();
        let mut lines = Vec::new();
        for record in records {
            serde_json::to_writer(&mut lines, record)?;
            lines.push(b'\n');
        }
        append(&self.own, &lines)?;
        if is_new { sync_folder() } else { Ok(()) }
    }

    /// Writes what an earlier gateway left to the journal, in the current transaction.
    pub fn replay(&self, system_identifier: i64, time_zone: &str) -> Result<(), Aborted> {
        let file = match File::open(&self.inherited) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            other => other.map_err(|error| self.unreadable(&error))?,
        };
        for line in BufReader::new(file).split(b'\n') {
            let line = line.map_err(|error| self.unreadable(&error))?;
            // A line that was cut off by a crash was never reported as written.
            if line.is_empty() {
                continue;
            }
            let Ok(record) = serde_json::from_slice(&line) else {
                warning!("{}: a line cannot be read, and is left out", self.inherited.display());
                continue;
            };
            match record {
                Record::Intent(intent) => journal::insert(&[&intent], system_identifier)?,
                Record::Generation(call, id) => journal::set_generations(&[(call, id)])?,
                Record::Deferred(call, xid) => journal::defer(&[(call, xid)])?,
                Record::CallerGone(call) => journal::callers_gone(&[call])?,
                Record::Unsent(call) => journal::forget(&[call])?,
                Record::Ended(state, entry) => {
                    journal::settle(&[(state, &entry)], time_zone)?;
                }
            }
        }
        Ok(())
    }

    /// Forgets what was replayed, once that is committed.
    pub fn forget_inherited(&self) {
        forget(&self.inherited);
    }

    /// Forgets what this gateway has added, once it is in the journal.
    pub fn clear(&self) {
        forget(&self.own);
    }

    fn unreadable(&self, error: &io::Error) -> Aborted {
        Aborted {
            lock_not_available: false,
            message: format!("{}: {error}", self.inherited.display()),
        }
    }
}

fn append(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    let before = file.metadata()?.len();
    // A line that was cut off, since the disk was full, must not take the next one with it.
    let written =
        file.write_all(b"\n").and_then(|()| file.write_all(bytes)).and_then(|()| file.sync_all());
    if written.is_err() {
        // Nobody is told of what was written so far.
        let _ = file.set_len(before);
    }
    written
}

/// What stays, or comes back after a crash, is written again, which changes nothing but of calls that
/// were not sent.
fn forget(path: &Path) {
    if fs::remove_file(path).is_ok() {
        let _ = sync_folder();
    }
}

/// A name must survive a crash as what it names does.
fn sync_folder() -> io::Result<()> {
    File::open(".")?.sync_all()
}
