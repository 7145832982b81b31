//! Reads a file that holds a secret, if nobody but its owner and the server may read it.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use zeroize::Zeroizing;

/// No secret's file is larger.
pub const MAX_BYTES: usize = 64 * 1024;
const ROOT: u32 = 0;

/// The text of the file at `path`, read by the process of `user`. As with PostgreSQL's own
/// `ssl_key_file`: it belongs to that user and has mode 0600, or to root and has mode 0640; or less.
/// The error ends a sentence that begins with what the file is.
pub fn read(path: &Path, user: u32) -> Result<Zeroizing<String>, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    // A pipe without a writer would be waited for.
    let mut file =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(
            |error| match error.kind() {
                ErrorKind::NotFound => "does not exist".to_owned(),
                _ => unreadable(error),
            },
        )?;
    let about = file.metadata().map_err(unreadable)?;
    may_hold_a_secret(&about, user)?;
    // Room for one read: growing would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BYTES + 1));
    Read::take(&mut file, MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > MAX_BYTES {
        return Err(format!("is larger than {} kB", MAX_BYTES / 1024));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| "is not text".to_owned())?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn may_hold_a_secret(about: &fs::Metadata, user: u32) -> Result<(), String> {
    if !about.is_file() {
        return Err("is not a regular file".to_owned());
    }
    let mode = about.mode() & 0o777;
    let (too_much, right) = match about.uid() {
        owner if owner == user => (0o077, "0600"),
        ROOT => (0o037, "0640"),
        owner => return Err(format!("belongs to another user (uid {owner})")),
    };
    if mode & too_much != 0 {
        return Err(format!("may be used by others (mode {mode:04o}); set it to {right}"));
    }
    Ok(())
}
