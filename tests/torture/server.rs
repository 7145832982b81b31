//! The server under torture: a cluster of its own, its database on a small disk, its WAL on another one.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hiems_tests::{Cluster, Config, Database, Fake};
use postgres::{Client, NoTls};

use crate::disk::Disk;
use crate::plan::Plan;

/// A little above what the longest answers take that are waited for.
const REQUEST_TIMEOUT: &str = "2s";

/// Above what any generation takes to be found, below what the end of a run waits for: some errors name one that
/// OpenRouter has no record of, and their gateway may die before it has read that they are errors.
const SETTLEMENT_TIMEOUT: &str = "60s";

/// The callers' login: no superuser, so that it can run out of connections.
pub const APP: &str = "app";

/// What `prefix` in the log means stands in `log`.
const SETTINGS: [&str; 5] = [
    "log_line_prefix = '%n %p %e '",
    "max_connections = 60",
    "superuser_reserved_connections = 10",
    "max_prepared_transactions = 64",
    "synchronous_commit = on",
];

/// For a WAL of small segments on a small disk.
const OF_SMALL_WAL: [&str; 2] = ["min_wal_size = '2MB'", "max_wal_size = '32MB'"];

/// It goes before its disks.
pub struct Server {
    cluster: Mutex<Cluster>,
    sessions: postgres::Config,
    data: PathBuf,
    log: PathBuf,
    psql: PathBuf,
    pub fake: Arc<Fake>,
    pub table_disk: Option<Disk>,
    pub wal_disk: Option<Disk>,
}

impl Server {
    /// With hiems in it, a key stored, and a level for [`APP`].
    pub fn start(plan: &Plan) -> Server {
        let wal_disk = Disk::mount("wal", 96);
        let wal = wal_disk.as_ref().map(|disk| disk.data().to_string_lossy().into_owned());
        let environment: Vec<(&str, &str)> =
            wal.as_deref().map(|folder| ("WAL_DIR", folder)).into_iter().collect();
        let of_wal: &[&str] = if wal.is_some() { &OF_SMALL_WAL } else { &[] };
        let cluster = Cluster::start_unlike_others(&[&SETTINGS, of_wal].concat(), &environment);
        let table_disk = Disk::mount("table", 256);
        let config = Config { seed: plan.seed, ..Config::default() };
        let database = Database::on(&cluster, config);
        if let Some(disk) = &table_disk {
            disk.give_to_owner_of(&cluster.data());
            let folder = disk.data();
            let mut admin = cluster.connect("postgres", "postgres");
            let create = format!("CREATE TABLESPACE small LOCATION '{}'", folder.display());
            admin.batch_execute(&create).expect("a tablespace");
            let moved = format!("ALTER DATABASE {} SET TABLESPACE small", database.name);
            admin.batch_execute(&moved).expect("a database on it");
        }
        prepare(&database, plan);
        let (data, log) = (cluster.data(), cluster.folder.join("log"));
        let psql = PathBuf::from(cluster.program("psql").get_program());
        let (name, fake) = database.into_parts();
        let mut sessions = cluster.config(&name, "postgres");
        sessions.connect_timeout(Duration::from_secs(5));
        let cluster = Mutex::new(cluster);
        Server { cluster, sessions, data, log, psql, fake, table_disk, wal_disk }
    }

    /// A session, if one can be had now.
    pub fn try_connect(&self, role: &str) -> Result<Client, postgres::Error> {
        self.sessions.clone().user(role).connect(NoTls)
    }

    /// A session of the superuser, as soon as one can be had.
    pub fn admin(&self) -> Client {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            match self.try_connect("postgres").and_then(|mut client| {
                client.batch_execute("SELECT 1")?;
                Ok(client)
            }) {
                Ok(client) => return client,
                Err(error) => assert!(Instant::now() < end, "the server is not up: {error}"),
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// psql, as [`APP`], with one command.
    pub fn psql(&self, command: &str) -> Command {
        let port = self.sessions.get_ports().first().expect("a port").to_string();
        let name = self.sessions.get_dbname().expect("a database");
        let mut psql = Command::new(&self.psql);
        psql.args(["--no-psqlrc", "--quiet", "--host", "127.0.0.1", "--port", &port]);
        psql.args(["--username", APP, "--dbname", name, "--command", command]);
        psql
    }

    /// Stops it as `pg_ctl -m mode` does, and starts it again.
    pub fn bounce(&self, mode: &str) {
        let mut cluster = self.cluster.lock().expect("the cluster");
        cluster.stop(mode);
        cluster.restart();
    }

    /// Starts it if it has given up.
    pub fn start_again(&self) {
        if !self.data.join("postmaster.pid").exists() {
            self.cluster.lock().expect("the cluster").restart();
        }
    }

    /// How much it has logged so far.
    pub fn log_length(&self) -> u64 {
        std::fs::metadata(&self.log).expect("the log").len()
    }

    /// Its log from there on.
    pub fn log_from(&self, length: u64) -> String {
        let mut bytes = Vec::new();
        let mut log = File::open(&self.log).expect("the log");
        log.seek(SeekFrom::Start(length)).expect("its end");
        log.read_to_end(&mut bytes).expect("the log");
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

fn prepare(database: &Database, plan: &Plan) {
    for (setting, value) in [
        // PREPARE TRANSACTION and NOTIFY exclude each other.
        ("hiems.notify", "off"),
        ("hiems.max_response_bytes", "200kB"),
        ("hiems.request_timeout", REQUEST_TIMEOUT),
        ("hiems.settlement_timeout", SETTLEMENT_TIMEOUT),
    ] {
        database.set(setting, value);
    }
    if let Some(part) = plan.switched_off {
        database.set("hiems.test_switch_off", part);
    }
    database
        .admin()
        .batch_execute(&format!(
            "CREATE ROLE {APP} LOGIN;
             SELECT hiems.grant_access('{APP}', 'caller');
             CREATE FUNCTION public.caught(call text) RETURNS void LANGUAGE plpgsql AS $$
             BEGIN
                 EXECUTE 'SELECT ' || call;
                 RAISE EXCEPTION 'after the call';
             EXCEPTION WHEN raise_exception THEN
             END $$"
        ))
        .expect("a role and a function");
    database.store_key();
}
