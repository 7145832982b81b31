//! Where the master key is: a file that only the server's user may read.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::seal::MasterKey;

/// In the data directory, where `hiems.master_key_file` is not set.
const DEFAULT_FILE: &str = "hiems_master.key";

/// The file to use. Relative paths are in the data directory, every server process's own.
pub fn path(setting: Option<&str>) -> PathBuf {
    PathBuf::from(setting.unwrap_or(DEFAULT_FILE))
}

/// Reads the master key. The error is a sentence for the operator.
pub fn read(path: &Path) -> Result<MasterKey, String> {
    let problem = |what: String| format!("The master key file \"{}\" {what}.", path.display());
    let mut file = fs::File::open(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => problem("does not exist".to_owned()),
        _ => problem(format!("cannot be read: {error}")),
    })?;
    let about = file.metadata().map_err(|error| problem(format!("cannot be read: {error}")))?;
    if about.permissions().mode() & 0o007 != 0 {
        return Err(problem(format!(
            "may be used by others (mode {:o}); set it to 0600",
            about.mode() & 0o777
        )));
    }
    let mut text = Zeroizing::new(String::new());
    // Room for one read: growing would leave copies behind.
    text.reserve(4096);
    Read::take(&mut file, 4096)
        .read_to_string(&mut text)
        .map_err(|error| problem(format!("cannot be read: {error}")))?;
    MasterKey::from_hex(&text)
        .ok_or_else(|| problem("does not hold 64 hexadecimal digits".to_owned()))
}

/// Reads the master key, and makes the file first if it is the default one and is not there.
pub fn read_or_create(setting: Option<&str>) -> Result<MasterKey, String> {
    let path = path(setting);
    if setting.is_none() && !path.exists() {
        create(&path).map_err(|error| {
            format!("The master key file \"{}\" cannot be made: {error}.", path.display())
        })?;
    }
    read(&path)
}

/// Written whole under another name and then linked: a reader never sees half a key, and a key that
/// is there already stays.
fn create(path: &Path) -> std::io::Result<()> {
    let half = path.with_extension(format!("new.{}", std::process::id()));
    let written = (|| {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&half)?;
        let text = MasterKey::generate().to_hex();
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        match fs::hard_link(&half, path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    })();
    fs::remove_file(&half)?;
    written?;
    // The name must survive a crash as the rows that it opens do.
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(folder)?.sync_all()
}
