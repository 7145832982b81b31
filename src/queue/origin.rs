//! Which server, and which of its timelines, a queued call is to be sent by. A restored backup, a promoted
//! standby or a copy must not send what the other one may have sent since.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::OnceLock;

use uuid::Uuid;

use crate::gateway::protocol::Files;
use crate::pg::xact;

/// The cluster's identifier, its timeline, and a mark of this data directory that no base backup has.
pub fn origin() -> String {
    static MARK: OnceLock<String> = OnceLock::new();
    let mark = MARK.get_or_init(|| mark(&Files::origin()).unwrap_or_default());
    format!("{}/{}/{mark}", xact::system_identifier(), xact::timeline())
}

/// The mark in the file, made where there is none.
fn mark(path: &Path) -> std::io::Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        read => return read.map(|text| text.trim().to_owned()),
    }
    let unready = path.with_extension(format!("origin.{}", std::process::id()));
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unready)?;
    writeln!(file, "{}", Uuid::now_v7().simple())?;
    file.sync_all()?;
    // Another process may have been first: its mark counts.
    let linked = fs::hard_link(&unready, path);
    fs::remove_file(&unready)?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    match linked {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => fs::read_to_string(path).map(|text| text.trim().to_owned()),
    }
}
