//! Which server, which of its timelines, and which of its databases a queued call is to be sent by. A restored backup,
//! a promoted standby, or a copy of the server or of the database must not send what the other one may have sent since.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::OnceLock;
use std::time::UNIX_EPOCH;

use uuid::Uuid;

use crate::gateway::protocol::Files;
use crate::pg::{identity, xact};

/// The cluster's identifier, its timeline, a mark of this data directory that no base backup has, the database's OID, and
/// when its folder was made: CREATE DATABASE can give the OID of one that was dropped.
pub fn origin() -> String {
    static PLACE: OnceLock<String> = OnceLock::new();
    let place = PLACE.get_or_init(|| {
        let mark = mark(&Files::origin()).unwrap_or_default();
        format!("{mark}/{}/{}", identity::database_oid(), made_at(&identity::database_folder()))
    });
    format!("{}/{}/{place}", xact::system_identifier(), xact::timeline())
}

/// In nanoseconds since 1970; 0 where the file system does not know.
fn made_at(folder: &Path) -> u128 {
    let made = fs::metadata(folder).and_then(|folder| folder.created()).ok();
    let made = made.and_then(|made| made.duration_since(UNIX_EPOCH).ok());
    made.unwrap_or_default().as_nanos()
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
