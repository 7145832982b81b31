//! The master keys' file: which it is, how it is read, made, and given a new key.
//!
//! It holds one key a line, the newest first. The first seals; each of them opens. hiems takes none
//! out: other databases of the cluster may have keys that an older one sealed.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use zeroize::Zeroizing;

use super::seal::{Binding, DoesNotOpen, MasterKey, Sealed};
use super::secret_file;

/// In the data directory, where `hiems.master_key_file` is not set.
const DEFAULT_FILE: &str = "hiems_master.key";

/// The file that is in use.
pub struct MasterKeyFile {
    path: PathBuf,
    /// True for the default one: hiems writes no other.
    is_own: bool,
    user: u32,
}

/// The keys of the file; there is at least one.
pub struct MasterKeys {
    newest: MasterKey,
    older: Vec<MasterKey>,
}

/// Why a sealed key does not open.
#[derive(Debug, PartialEq, Eq)]
pub enum WillNotOpen {
    /// The master key that sealed it is not in the file.
    OtherMasterKey,
    /// It is, but what was sealed, or what it is bound to, is not what it was.
    Changed,
}

impl MasterKeyFile {
    /// The file that `hiems.master_key_file` names, or the default one, for the process of `user`.
    /// Relative paths are in the data directory, every server process's own.
    pub fn new(setting: Option<&str>, user: u32) -> MasterKeyFile {
        let path = PathBuf::from(setting.unwrap_or(DEFAULT_FILE));
        MasterKeyFile { path, is_own: setting.is_none(), user }
    }

    /// True if hiems makes the keys in it, and not an operator.
    pub fn is_own(&self) -> bool {
        self.is_own
    }

    /// Reads the keys. The error is a sentence for the operator.
    pub fn read(&self) -> Result<MasterKeys, String> {
        let text = secret_file::read(&self.path, self.user).map_err(|what| self.problem(&what))?;
        MasterKeys::from_text(&text)
            .ok_or_else(|| self.problem("does not hold 64 hexadecimal digits, or lines of them"))
    }

    /// Reads the keys, and makes the file first if it is the default one and is not there.
    pub fn read_or_create(&self) -> Result<MasterKeys, String> {
        if self.is_own && !self.path.exists() {
            self.create().map_err(|error| self.problem(&format!("cannot be made: {error}")))?;
        }
        self.read()
    }

    /// Puts a new key before the others, and gives them all. When this returns, the file is durable.
    /// One process at a time, by a lock on the file at `lock`.
    pub fn add_new(&self, lock: &Path) -> Result<MasterKeys, String> {
        let unwritable =
            |error: std::io::Error| self.problem(&format!("cannot be written: {error}"));
        let lock =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(lock);
        let lock = lock.map_err(unwritable)?;
        lock.lock().map_err(unwritable)?;
        let MasterKeys { newest, mut older } = self.read()?;
        older.insert(0, newest);
        let keys = MasterKeys { newest: MasterKey::generate(), older };
        let text = keys.to_text();
        if text.len() > secret_file::MAX_BYTES {
            return Err(self.problem("is full; take out the lines that no database needs"));
        }
        let half = self.beside("new");
        write_whole(&half, &text)
            .and_then(|()| fs::rename(&half, &self.path))
            .and_then(|()| self.sync_folder())
            .map_err(unwritable)?;
        Ok(keys)
    }

    /// Written whole under another name and then linked: a reader never sees half a key, and a key
    /// that is there already stays.
    fn create(&self) -> std::io::Result<()> {
        let half = self.beside(&format!("new.{}", std::process::id()));
        let keys = MasterKeys { newest: MasterKey::generate(), older: Vec::new() };
        let written = write_whole(&half, &keys.to_text());
        let linked = written.and_then(|()| match fs::hard_link(&half, &self.path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        });
        fs::remove_file(&half)?;
        linked?;
        self.sync_folder()
    }

    /// The name must survive a crash as the rows do that the keys open.
    fn sync_folder(&self) -> std::io::Result<()> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }

    fn beside(&self, extension: &str) -> PathBuf {
        self.path.with_extension(extension)
    }

    // Where an operator's file lies is not for every caller to know.
    fn problem(&self, what: &str) -> String {
        match self.is_own {
            true => format!("The master key file {DEFAULT_FILE} in the data directory {what}."),
            false => format!("The master key file that hiems.master_key_file names {what}."),
        }
    }
}

impl MasterKeys {
    /// A key a line, the newest first. What stands behind a key on its line is a comment; empty lines
    /// count for nothing. None if a line begins with anything but a key, or there is none.
    fn from_text(text: &str) -> Option<MasterKeys> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let mut keys = lines.map(|line| {
            let key = line.split_once(|c: char| c.is_ascii_whitespace() || c == '#');
            MasterKey::from_hex(key.map_or(line, |(key, _)| key))
        });
        let newest = keys.next()??;
        Some(MasterKeys { newest, older: keys.collect::<Option<_>>()? })
    }

    /// The first key alone stands bare: it is what most files hold.
    fn to_text(&self) -> Zeroizing<String> {
        let all = || std::iter::once(&self.newest).chain(&self.older);
        // Room for all: growing would leave copies behind.
        let mut text = Zeroizing::new(String::with_capacity(128 * (1 + self.older.len())));
        for key in all() {
            text.push_str(&key.to_hex());
            if !self.older.is_empty() {
                text.push_str(" # ");
                text.push_str(&key.id());
            }
            text.push('\n');
        }
        text
    }

    /// The one that seals.
    pub fn newest(&self) -> &MasterKey {
        &self.newest
    }

    /// Opens what one of them sealed: `id` says which.
    pub fn open(
        &self,
        id: &str,
        sealed: &Sealed,
        binding: &Binding,
    ) -> Result<SecretString, WillNotOpen> {
        let key = std::iter::once(&self.newest)
            .chain(&self.older)
            .find(|key| key.id() == id)
            .ok_or(WillNotOpen::OtherMasterKey)?;
        key.open(sealed, binding).map_err(|DoesNotOpen| WillNotOpen::Changed)
    }
}

/// Makes the file anew, for its owner only.
fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(text: &str) -> Option<Vec<String>> {
        let keys = MasterKeys::from_text(text)?;
        Some(std::iter::once(&keys.newest).chain(&keys.older).map(MasterKey::id).collect())
    }

    #[test]
    fn a_file_holds_a_key_a_line() {
        let (a, b) = ("0a".repeat(32), "0b".repeat(32));
        let one = ids(&a).map(|ids| ids.len());
        assert_eq!(one, Some(1));
        let both = ids(&format!("{a}\n{b}\n"));
        assert!(both.as_ref().is_some_and(|ids| ids.len() == 2));
        for same in [
            format!("\n  {a}  \r\n\n{b}"),
            format!("{a} # of today\n{b}#{a}"),
            format!("{}\n{b}\twhat is this", a.to_uppercase()),
        ] {
            assert_eq!(ids(&same), both, "{same}");
        }
        for bad in ["", "\n", "# a comment", &format!("{a}\n# {b}"), &format!("{a}{b}"), &a[1..]] {
            assert_eq!(ids(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut older = Vec::new();
        for _ in 0..3 {
            let keys = MasterKeys { newest: MasterKey::generate(), older };
            let text = keys.to_text();
            let expected: Vec<String> =
                std::iter::once(&keys.newest).chain(&keys.older).map(MasterKey::id).collect();
            assert_eq!(ids(&text), Some(expected));
            assert_eq!(text.lines().count(), 1 + keys.older.len());
            older = std::iter::once(keys.newest).chain(keys.older).collect();
        }
    }

    #[test]
    fn each_key_opens_what_it_sealed() {
        let (old, new) = (MasterKey::generate(), MasterKey::generate());
        let binding = Binding { installation: "0f", database: 5, name: "default", version: 1 };
        let sealed = old.seal(&SecretString::from("sk-or-v1-abc"), &binding);
        let Ok(sealed) = sealed else { panic!("AES-256-GCM failed") };
        let id = old.id();
        let keys = MasterKeys { newest: new, older: vec![old] };
        assert!(keys.open(&id, &sealed, &binding).is_ok());
        let other = Binding { version: 2, ..binding };
        assert_eq!(keys.open(&id, &sealed, &other).err(), Some(WillNotOpen::Changed));
        let newest = keys.newest.id();
        assert_eq!(keys.open(&newest, &sealed, &binding).err(), Some(WillNotOpen::Changed));
        let unknown = keys.open("0123456789abcdef", &sealed, &binding).err();
        assert_eq!(unknown, Some(WillNotOpen::OtherMasterKey));
    }
}
