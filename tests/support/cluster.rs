//! Throw-away PostgreSQL servers, run by `scripts/cluster`.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Once, OnceLock};

use postgres::{Client, Config, NoTls};

/// The version under test: `make test` sets it.
pub fn postgresql_version() -> String {
    std::env::var("HIEMS_TEST_PG").unwrap_or_else(|_| "15".to_owned())
}

/// A running server; stopped and removed when dropped.
pub struct Cluster {
    pub folder: PathBuf,
    port: u16,
}

static SHARED: OnceLock<Cluster> = OnceLock::new();
static LOGICAL: OnceLock<Cluster> = OnceLock::new();

/// The server that tests share which do not harm it.
pub fn cluster() -> &'static Cluster {
    SHARED.get_or_init(|| {
        remove_at_exit();
        Cluster::start(&[])
    })
}

/// Another one, which writes what logical decoding needs.
pub fn logical_cluster() -> &'static Cluster {
    LOGICAL.get_or_init(|| {
        remove_at_exit();
        Cluster::start(&[
            "wal_level = logical",
            "max_replication_slots = 50",
            "max_wal_senders = 50",
        ])
    })
}

/// Statics are not dropped.
fn remove_at_exit() {
    extern "C" fn remove() {
        for cluster in [&SHARED, &LOGICAL].into_iter().filter_map(OnceLock::get) {
            cluster.remove();
        }
    }
    static ONCE: Once = Once::new();
    // SAFETY: a plain function that panics nowhere.
    ONCE.call_once(|| unsafe {
        libc::atexit(remove);
    });
}

impl Cluster {
    /// A server of one's own, with these lines in its configuration.
    pub fn start(settings: &[&str]) -> Cluster {
        Cluster::start_in(settings, &[])
    }

    /// As [`Cluster::start`], with these variables in its environment.
    pub fn start_in(settings: &[&str], environment: &[(&str, &str)]) -> Cluster {
        let environment = [&[("FROM_TEMPLATE", "1")], environment].concat();
        // A release build, which the benchmarks use, has no such setting.
        let pace: &[&str] = if cfg!(debug_assertions) { &["hiems.test_pace = 4"] } else { &[] };
        Cluster::initialised(&[pace, settings].concat(), &environment)
    }

    /// As [`Cluster::start_in`], with a system identifier that no other server has and a gateway that takes its
    /// time as in production: without `template_hiems`, and slower.
    pub fn start_unlike_others(settings: &[&str], environment: &[(&str, &str)]) -> Cluster {
        Cluster::initialised(settings, environment)
    }

    fn initialised(settings: &[&str], environment: &[(&str, &str)]) -> Cluster {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = stage().join(name);
        let mut cluster = Cluster { folder, port: 0 };
        let started = cluster.script_in("start", settings, environment);
        cluster.port = started.trim().parse().expect("a port");
        cluster
    }

    /// A standby of this server, which follows it.
    pub fn standby(&self) -> Cluster {
        self.copy("standby")
    }

    /// A server of its own out of a base backup of this one.
    pub fn backup(&self) -> Cluster {
        self.copy("backup")
    }

    /// Makes this standby a primary.
    pub fn promote(&self) {
        self.script("promote", &[]);
    }

    /// Makes this server, which is stopped, a standby of one that it shared its history with: what it
    /// did since is undone.
    pub fn rewind_to(&mut self, source: &Cluster) {
        let started = self.script("rewind", &[&source.folder.to_string_lossy()]);
        self.port = started.trim().parse().expect("a port");
    }

    fn copy(&self, verb: &str) -> Cluster {
        let mut folder = self.folder.clone().into_os_string();
        folder.push(format!("-{verb}"));
        let mut copy = Cluster { folder: folder.into(), port: 0 };
        let started = copy.script(verb, &[&self.folder.to_string_lossy()]);
        copy.port = started.trim().parse().expect("a port");
        copy
    }

    /// One of PostgreSQL's own programs, such as pg_dump, told where this server is.
    pub fn program(&self, name: &str) -> Command {
        let bin = self.script("bin", &[]);
        let mut program = Command::new(Path::new(bin.trim()).join(name));
        program.args(["--host", "127.0.0.1", "--username", "postgres"]);
        program.args(["--port", &self.port.to_string()]);
        program
    }

    /// Writes a file of the data directory, as the server's user would.
    pub fn write(&self, name: &str, bytes: &[u8], mode: u32) {
        let path = self.data().join(name);
        let owner = std::fs::metadata(self.data()).expect("the data directory");
        std::fs::write(&path, bytes).expect("a file");
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&path, permissions).expect("a mode");
        std::os::unix::fs::chown(&path, Some(owner.uid()), Some(owner.gid())).expect("an owner");
    }

    /// Stops the server as `pg_ctl -m mode` does.
    pub fn stop(&self, mode: &str) {
        self.script("stop", &[mode]);
    }

    /// Starts it again on the same data.
    pub fn restart(&mut self) {
        self.port = self.script("start", &[]).trim().parse().expect("a port");
    }

    /// The server's log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// The process id of the server's first process.
    pub fn postmaster(&self) -> i32 {
        let file = std::fs::read_to_string(self.data().join("postmaster.pid")).expect("a server");
        file.lines().next().and_then(|line| line.parse().ok()).expect("a process id")
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// A connection as `role`.
    pub fn connect(&self, database: &str, role: &str) -> Client {
        self.config(database, role).connect(NoTls).expect("a connection")
    }

    pub fn config(&self, database: &str, role: &str) -> Config {
        let mut config = Config::new();
        config.host("127.0.0.1").port(self.port).user(role).dbname(database);
        config.application_name("hiems-tests");
        config
    }

    fn script(&self, verb: &str, arguments: &[&str]) -> String {
        self.script_in(verb, arguments, &[])
    }

    fn script_in(&self, verb: &str, arguments: &[&str], environment: &[(&str, &str)]) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/cluster");
        let output = Command::new(script)
            .arg(verb)
            .arg(postgresql_version())
            .arg(&self.folder)
            .args(arguments)
            .envs(environment.iter().copied())
            .output()
            .expect("scripts/cluster runs");
        assert!(
            output.status.success(),
            "scripts/cluster {verb}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn remove(&self) {
        self.script("remove", &[]);
    }

    /// Makes a database that has hiems.
    pub fn create_database(&self, name: &str) {
        let mut admin = self.connect("postgres", "postgres");
        let of_template =
            admin.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template_hiems"));
        if of_template.is_err() {
            admin.batch_execute(&format!("CREATE DATABASE {name}")).expect("a database");
            let mut owner = self.connect(name, "postgres");
            owner.batch_execute("CREATE EXTENSION hiems").expect("the extension");
        }
    }

    /// True of a server that lasts as long as the tests.
    pub(crate) fn is_shared(&self) -> bool {
        [&SHARED, &LOGICAL].into_iter().filter_map(OnceLock::get).any(|of| std::ptr::eq(of, self))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.remove();
    }
}

fn stage() -> PathBuf {
    let folder = std::env::var_os("STAGE").expect("STAGE is not set: run `make test`");
    PathBuf::from(folder)
}
