//! The ids of generations of calls in flight, in files of the data directory, from the moment that they come.
//! tokio's threads write them, while the main thread may be busy for some milliseconds, or behind somebody's
//! lock: a gateway that is killed then has left them to the next one. They are not synced: what a crash of the
//! machine takes is in the journal a few milliseconds later.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How long a file may become before the other one is begun, whose ids are all in the journal by then.
const LENGTH: u64 = 256 * 1024;

/// The generation that an attempt of a call has given.
#[derive(Serialize, Deserialize)]
pub struct Came {
    pub id: Uuid,
    pub attempts: i32,
    pub generation_id: String,
}

/// The two files of one installation of the extension, of which one is written to.
pub struct GenerationIds(Mutex<Files>);

struct Files {
    files: [IdFile; 2],
    current: usize,
}

struct IdFile {
    path: PathBuf,
    /// None until it is written to, and where it cannot be.
    file: Option<File>,
    length: u64,
    /// How many of its ids are not in the journal yet.
    waiting: usize,
}

/// Keeps an id in its file until it is in the journal, and this is dropped.
pub struct Kept {
    of: Arc<GenerationIds>,
    file: usize,
}

/// What an earlier gateway left: it stays in the files until this is dropped.
pub struct Inherited {
    pub came: Vec<Came>,
    _kept: [Kept; 2],
}

impl GenerationIds {
    /// The files of an installation, and what an earlier gateway left in them.
    pub fn of(database: u32, extension: u32) -> (Arc<GenerationIds>, Inherited) {
        let files = ["0", "1"].map(|number| {
            let path = PathBuf::from(format!("hiems_ids.{database}.{extension}.{number}"));
            IdFile { path, file: None, length: 0, waiting: 1 }
        });
        let came = files.iter().flat_map(IdFile::read).collect();
        let ids = Arc::new(GenerationIds(Mutex::new(Files { files, current: 0 })));
        let kept = [0, 1].map(|file| Kept { of: Arc::clone(&ids), file });
        (ids, Inherited { came, _kept: kept })
    }

    /// Writes an id, if it can be written.
    pub fn keep(self: &Arc<GenerationIds>, came: &Came) -> Kept {
        let mut files = self.files();
        files.turn();
        let file = files.current;
        files.files[file].append(came);
        drop(files);
        Kept { of: Arc::clone(self), file }
    }

    /// Removes the files, where all that is in them is in the journal.
    pub fn clear(&self) {
        for file in &mut self.files().files {
            if file.waiting == 0 {
                (file.file, file.length) = (None, 0);
                let _ = fs::remove_file(&file.path);
            }
        }
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        // Nothing is left half done where a thread panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.of.files().files[self.file].waiting -= 1;
    }
}

impl Files {
    /// Begins the other file where this one is long, and nothing waits in the other one.
    fn turn(&mut self) {
        let other = 1 - self.current;
        if self.files[self.current].length >= LENGTH && self.files[other].waiting == 0 {
            self.current = other;
            self.files[other].empty();
        }
    }
}

impl IdFile {
    /// What it holds, but for lines that were cut off.
    fn read(&self) -> Vec<Came> {
        let text = fs::read(&self.path).unwrap_or_default();
        text.split(|byte| *byte == b'\n').filter_map(|l| serde_json::from_slice(l).ok()).collect()
    }

    /// Without the file there is the journal.
    fn append(&mut self, came: &Came) {
        self.waiting += 1;
        // A line before that was cut off, since the disk was full, must not take this one with it.
        let mut line = vec![b'\n'];
        if serde_json::to_writer(&mut line, came).is_err() {
            return;
        }
        line.push(b'\n');
        if self.file.is_none() {
            let mut options = OpenOptions::new();
            self.file = options.append(true).create(true).mode(0o600).open(&self.path).ok();
        }
        if self.file.as_mut().is_some_and(|file| file.write_all(&line).is_ok()) {
            self.length += u64::try_from(line.len()).unwrap_or_default();
        }
    }

    fn empty(&mut self) {
        self.length = 0;
        if let Some(file) = &self.file {
            let _ = file.set_len(0);
        }
    }
}
