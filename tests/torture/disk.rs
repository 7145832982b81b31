//! Small disks, to be filled.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

/// A file system in memory; unmounted when dropped.
pub struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// A new one of so many megabytes; None where mounting is not allowed.
    pub fn mount(name: &str, megabytes: u32) -> Option<Disk> {
        let stage = PathBuf::from(std::env::var_os("STAGE").expect("STAGE is set"));
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = stage.join(format!("disk-{}-{count}-{name}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let size = format!("size={megabytes}m");
        let mounted = run("mount", &["-t", "tmpfs", "-o", &size, "tmpfs"], &folder);
        if !mounted.status.success() {
            let _ = fs::remove_dir(&folder);
            return None;
        }
        let disk = Disk { folder };
        fs::create_dir(disk.data()).expect("a folder");
        Some(disk)
    }

    /// Gives it to whoever owns the folder `like`.
    pub fn give_to_owner_of(&self, like: &Path) {
        let owner = fs::metadata(like).expect("a folder");
        chown(self.data(), Some(owner.uid()), Some(owner.gid())).expect("an owner");
    }

    /// For the server.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Takes all of the room that is left.
    pub fn fill(&self) {
        let mut file = fs::File::create(self.filler()).expect("a file");
        let zeros = vec![0; 1 << 16];
        while file.write_all(&zeros).is_ok() {}
        // The last bytes, too.
        while file.write_all(&[0]).is_ok() {}
    }

    /// Gives it back.
    pub fn mend(&self) {
        let _ = fs::remove_file(self.filler());
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a server that is being stopped may still have a file open.
        let _ = run("umount", &["-l"], &self.folder);
        let _ = fs::remove_dir(&self.folder);
    }
}

fn run(program: &str, arguments: &[&str], folder: &Path) -> Output {
    Command::new(program).args(arguments).arg(folder).output().expect("mount is there")
}
