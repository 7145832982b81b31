//! What could not be journalled, since somebody's LOCK TABLE or VACUUM FULL held the journal, in a file:
//! as durable as the journal, and waiting for nobody. It is written to the journal as soon as the lock
//! is gone, by whoever is the gateway then.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use pgrx::spi::SpiResult;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::journal::{self, Ended, Intent, Rules};
use super::settlement::State;
use crate::idempotency;
use crate::ledger::{CostSource, Entry};
use crate::pg::spi;
use crate::pg::xact::Aborted;

const LOG_AN_ID: &str = "SELECT pg_catalog.pg_logical_emit_message(true, 'hiems', ''::text)";

/// Logs an id of a transaction, this one's, that is beyond those of all callers so far: an id that stands
/// in no log is given again after a crash, and what the spill says of it would come true of another.
pub fn retire_ids() -> SpiResult<()> {
    spi::query(LOG_AN_ID, &[], |_| Ok(())).map(|_| ())
}

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

impl Record {
    /// Writes it to the journal, in the current transaction.
    pub fn write(&self, system_identifier: i64, rules: &Rules) -> SpiResult<()> {
        match self {
            Record::Intent(intent) => {
                journal::insert(&[intent], system_identifier)?;
                match &intent.idempotency {
                    Some(wanted) => idempotency::take(&intent.principal, wanted, intent.id),
                    None => Ok(()),
                }
            }
            Record::Generation(call, id) => journal::set_generations([(call, id)]),
            Record::Deferred(call, xid) => journal::defer(&[(*call, *xid)]),
            Record::CallerGone(call) => journal::callers_gone(&[*call]),
            Record::Unsent(call) => {
                journal::forget(&[*call])?;
                idempotency::release(&[*call])
            }
            Record::Ended(state, entry) => {
                journal::settle(&[Ended { state: *state, entry }], rules)?;
                match (state, entry.cost_source) {
                    (State::Failed, CostSource::NotBilled) => idempotency::release(&[entry.id]),
                    _ => Ok(()),
                }
            }
        }
    }

    /// Of which call it tells.
    pub fn call(&self) -> Uuid {
        match self {
            Record::Intent(intent) => intent.id,
            Record::Ended(_, entry) => entry.id,
            Record::Generation(call, _)
            | Record::Deferred(call, _)
            | Record::CallerGone(call)
            | Record::Unsent(call) => *call,
        }
    }
}

/// A line of the file.
pub struct Line {
    pub text: Vec<u8>,
    /// None where it cannot be read: one that was cut off was never reported as written.
    pub record: Option<Record>,
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

    /// What an earlier gateway left, in its order.
    pub fn inherited(&self) -> Result<Vec<Line>, Aborted> {
        let file = match File::open(&self.inherited) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(|error| self.unreadable(&error))?,
        };
        let lines = BufReader::new(file).split(b'\n').map(|line| {
            let text = line.map_err(|error| self.unreadable(&error))?;
            let record = serde_json::from_slice(&text).ok();
            Ok(Line { text, record })
        });
        let is_there = |line: &Result<Line, Aborted>| !matches!(line, Ok(l) if l.text.is_empty());
        lines.filter(is_there).collect()
    }

    /// Puts lines that cannot be written to the journal into a file of their own, for the operator.
    pub fn set_aside(&self, lines: &[&Line]) -> io::Result<()> {
        let path = self.own.with_added_extension("failed");
        for line in lines {
            append(&path, &[&line.text[..], b"\n"].concat())?;
        }
        sync_folder()
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
