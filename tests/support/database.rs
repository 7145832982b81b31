//! A database of a test's own, with hiems in it and a fake OpenRouter behind it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};

use fake_openrouter::{Config, Fake};
use postgres::types::ToSql;
use postgres::{Client, NoTls};

use crate::cluster::{Cluster, cluster};
use crate::wait::wait_until;

/// Dropped with its connections and its gateway at the test's end.
pub struct Database<'c> {
    pub name: String,
    pub fake: Arc<Fake>,
    cluster: &'c Cluster,
    roles: Vec<String>,
}

/// The key that tests store; the fake takes any that begins so.
pub const KEY: &str = "sk-or-v1-0123456789abcdef";

impl Database<'static> {
    /// In the shared server: hiems installed, a key stored, the fake's answers at once.
    #[allow(clippy::new_without_default)] // it makes a database: nothing to do by default
    pub fn new() -> Database<'static> {
        let database = Database::without_key();
        database.store_key();
        database
    }

    /// As [`Database::new`], but the gateway starts with this setting.
    pub fn with(setting: &str, value: &str) -> Database<'static> {
        Database::with_all(&[(setting, value)])
    }

    /// As [`Database::new`], but the gateway starts with these settings.
    pub fn with_all(settings: &[(&str, &str)]) -> Database<'static> {
        let database = Database::without_key();
        for (setting, value) in settings {
            database.set(setting, value);
        }
        database.store_key();
        database
    }

    /// As [`Database::new`], but with no key stored.
    pub fn without_key() -> Database<'static> {
        Database::on(cluster(), Config::default())
    }
}

impl<'c> Database<'c> {
    /// In this server, with no key stored, and a fake of this kind.
    pub fn on(cluster: &'c Cluster, config: Config) -> Database<'c> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("t{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let fake = Arc::new(Fake::start(config).expect("the fake OpenRouter"));
        cluster.create_database(&name);
        let database = Database { name, fake, cluster, roles: Vec::new() };
        database.set("hiems.base_url", &database.fake.base_url());
        database
    }

    /// The database's name and its fake, for a test that stops and starts the server; both outlive it.
    pub fn into_parts(self) -> (String, Arc<Fake>) {
        let parts = (self.name.clone(), Arc::clone(&self.fake));
        // The server goes with the database.
        std::mem::forget(self);
        parts
    }

    /// Stores [`KEY`], which starts the gateway.
    pub fn store_key(&self) {
        self.admin().execute("SELECT hiems.set_api_key($1)", &[&KEY]).expect("a key");
    }

    /// Sets a setting for new sessions of this database, the gateway's included.
    pub fn set(&self, setting: &str, value: &str) {
        let name = &self.name;
        // The library must be loaded for PostgreSQL to know its settings.
        self.admin()
            .batch_execute(&format!(
                "LOAD 'hiems'; ALTER DATABASE {name} SET {setting} = '{value}'"
            ))
            .expect("a setting");
    }

    /// A connection as the superuser.
    pub fn admin(&self) -> Client {
        self.connect("postgres")
    }

    /// How a connection as `role` is made.
    pub fn config(&self, role: &str) -> postgres::Config {
        self.cluster.config(&self.name, role)
    }

    /// A connection as `role`.
    pub fn connect(&self, role: &str) -> Client {
        self.cluster.connect(&self.name, role)
    }

    /// A new login role, dropped with the database; its real name, which is unique in the server.
    pub fn role(&mut self, name: &str) -> String {
        let role = format!("{}_{name}", self.name);
        self.admin().batch_execute(&format!("CREATE ROLE {role} LOGIN")).expect("a role");
        self.roles.push(role.clone());
        role
    }

    /// A new login role with a level of hiems.
    pub fn role_with(&mut self, level: &str) -> String {
        let role = self.role(level);
        self.admin()
            .execute("SELECT hiems.grant_access($1, $2)", &[&role, &level])
            .expect("a level");
        role
    }

    /// What an owner may do by hand, or by a recipe that opens a whole schema.
    pub fn open_by_hand(&self, role: &str) {
        self.admin()
            .batch_execute(&format!(
                "GRANT USAGE ON SCHEMA hiems TO {role};
                 GRANT ALL ON ALL TABLES IN SCHEMA hiems TO {role};
                 GRANT ALL ON ALL ROUTINES IN SCHEMA hiems TO {role}"
            ))
            .expect("grants");
    }

    /// One text out of one row, read as the superuser.
    pub fn text(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Option<String> {
        self.admin().query_one(sql, parameters).expect(sql).get(0)
    }

    /// Its OID.
    pub fn oid(&self) -> String {
        let oid = "SELECT oid::text FROM pg_database WHERE datname = current_database()";
        self.text(oid, &[]).expect("an OID")
    }

    /// How many rows a table or view has for the superuser.
    pub fn count(&self, from: &str) -> i64 {
        self.admin().query_one(&format!("SELECT count(*) FROM {from}"), &[]).expect(from).get(0)
    }

    /// Every ledger row as JSON (numbers as written), in the order of the calls.
    pub fn ledger(&self) -> Vec<serde_json::Value> {
        self.admin()
            .query(
                "SELECT to_jsonb(l)::text FROM hiems.ai_usage_logs AS l ORDER BY created_at, id",
                &[],
            )
            .expect("the ledger")
            .iter()
            .map(|row| serde_json::from_str(row.get(0)).expect("JSON"))
            .collect()
    }

    /// Has the gateway leave in order. The next call starts another, and so does work that it leaves, soon.
    pub fn end_gateway(&self) {
        let mut admin = self.admin();
        for pid in self.gateways() {
            admin.execute("SELECT pg_terminate_backend($1)", &[&pid]).expect("a signal");
            wait_until("the gateway has left", crate::SOON, || !self.gateways().contains(&pid));
        }
    }

    /// Kills a process of the server with SIGKILL, after which the server ends every session and starts
    /// anew. Returns once the server takes connections again.
    pub fn crash_by_killing(&self, pid: i32) {
        let mut witness = self.admin();
        let killed = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status();
        assert!(killed.expect("kill runs").success());
        wait_until("the server has noticed", crate::SOON, || {
            witness.batch_execute("SELECT").is_err()
        });
        wait_until("the server is back", crate::SOON, || {
            self.config("postgres").connect(postgres::NoTls).is_ok()
        });
    }

    /// The process ids of this database's gateways.
    pub fn gateways(&self) -> Vec<i32> {
        self.admin()
            .query(
                "SELECT pid FROM pg_stat_activity
                 WHERE backend_type = 'hiems gateway' AND datname = current_database()",
                &[],
            )
            .expect("pg_stat_activity")
            .iter()
            .map(|row| row.get(0))
            .collect()
    }
}

impl Drop for Database<'_> {
    fn drop(&mut self) {
        // A server of a test's own is removed with all its databases.
        if self.cluster.is_shared() {
            let (name, roles) = (self.name.clone(), std::mem::take(&mut self.roles));
            drop_later(Leftover {
                config: self.cluster.config("postgres", "postgres"),
                name,
                roles,
            });
        }
    }
}

/// A database that its test is done with, and the roles that go with it.
struct Leftover {
    config: postgres::Config,
    name: String,
    roles: Vec<String>,
}

/// How many threads drop databases: each DROP DATABASE waits for a gateway's end, and for a checkpoint.
const DROPPERS: usize = 4;
/// How many databases may wait to be dropped before tests wait for that: each has a gateway, and a server has
/// room for a hundred.
const MOST_LEFT_OVER: usize = 24;

/// Has a thread of its own drop it: a test waits for that only where too many are left over. A database that
/// cannot be dropped goes with the server.
fn drop_later(leftover: Leftover) {
    static DROPPERS_OF_ALL: OnceLock<mpsc::SyncSender<Leftover>> = OnceLock::new();
    let droppers = DROPPERS_OF_ALL.get_or_init(|| {
        let (sender, leftovers) = mpsc::sync_channel::<Leftover>(MOST_LEFT_OVER);
        let leftovers = Arc::new(Mutex::new(leftovers));
        for _ in 0..DROPPERS {
            let leftovers = Arc::clone(&leftovers);
            std::thread::spawn(move || {
                loop {
                    let next = leftovers.lock().expect("the leftovers").recv();
                    let Ok(leftover) = next else { return };
                    leftover.remove();
                }
            });
        }
        sender
    });
    // The threads end with the process alone.
    let _ = droppers.send(leftover);
}

impl Leftover {
    fn remove(&self) {
        let Leftover { config, name, roles } = self;
        let Ok(mut admin) = config.connect(NoTls) else { return };
        let _ = admin.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)"));
        for role in roles {
            let _ = admin.batch_execute(&format!("DROP ROLE {role}"));
        }
    }
}
