//! The server's clock jumps.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use hiems_tests::{Cluster, Config, Database, ResultExt, wait_until};
use postgres::Client;

use super::{COMMITTED, End, SOON, call_as, judge, lose, start, wait_until_journalled};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// A clock that a server goes by.
struct Clock {
    folder: PathBuf,
    file: File,
}

impl Clock {
    /// A server, and its clock, which is right so far.
    fn with_server(name: &str) -> (Cluster, Clock) {
        let stage = std::env::var_os("STAGE").expect("STAGE is not set: run `make test`");
        let folder = format!("test-{}-clock-{name}", std::process::id());
        let folder = PathBuf::from(stage).join(folder);
        std::fs::create_dir(&folder).expect("a folder");
        let (library, path) = (folder.join("clock.so"), folder.join("wrong_by"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("wire/recovery/clock.c");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o"])
            .args([&library, &source])
            .status();
        assert!(compiled.expect("cc runs").success());
        let clock = Clock { file: File::create(&path).expect("a file"), folder };
        clock.set(0);
        let environment = [("LD_PRELOAD", &library), ("HIEMS_TEST_CLOCK", &path)];
        let environment = environment.map(|(name, path)| (name, path.to_str().expect("a path")));
        (Cluster::start_in(&[], &environment), clock)
    }

    /// So many seconds before or after the real time, at once.
    fn set(&self, offset: i64) {
        self.file.write_all_at(&offset.to_ne_bytes(), 0).expect("the clock is set");
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Makes calls around a jump of the clock to this offset. Gives the names of the calls and their ends.
fn jump(database: &Database, clock: &Clock, offset: i64) -> [(String, End); 5] {
    let name = |what: &str| format!("{what}{offset:+}");
    let mut admin = database.admin();
    let mut open = database.admin();
    open.batch_execute("BEGIN").expect("a begin");
    call_as(&mut open, &name("open"), "0").expect("an answer");
    let flying = start(database.admin(), &name("flying"), "2000");
    let cancelled = start(database.admin(), &name("cancelled"), "2000");
    wait_until_journalled(&mut admin, 2);
    lose(&mut admin, &name("lost"), "1200");
    clock.set(offset);
    admin.execute("SELECT pg_cancel_backend($1)", &[&cancelled.pid]).expect("a signal");
    assert_eq!(cancelled.end().1.sqlstate(), "57014");
    flying.end().1.expect("an answer after the jump");
    open.batch_execute("ROLLBACK").expect("a rollback");
    // What began before the jump says nothing of the clock after it.
    wait_until("all of them have ended", SOON, || {
        database.count("hiems_private.calls WHERE state = 'sent'") == 0
    });
    // By the server's clock, whatever it says.
    let time = "SELECT clock_timestamp()::text";
    let from = database.text(time, &[]);
    call_as(&mut admin, &name("after"), "0").expect("an answer");
    let to = database.text(time, &[]);
    let (is_then, created_at): (bool, String) = admin
        .query_one(
            "SELECT created_at BETWEEN $1::text::timestamptz AND $2::text::timestamptz,
                    created_at::text
             FROM hiems.ai_usage_logs WHERE user_id = $3",
            &[&from, &to, &name("after")],
        )
        .map(|row| (row.get(0), row.get(1)))
        .expect("the row");
    assert!(is_then, "{created_at} is not between {from:?} and {to:?}");
    let ends = [
        ("open", End::Known("rolled_back")),
        ("flying", COMMITTED),
        ("cancelled", End::Known("cancelled")),
        ("lost", End::Lost),
        ("after", COMMITTED),
    ];
    ends.map(|(what, end)| (name(what), end))
}

#[test]
fn every_call_is_booked_wherever_the_clock_jumps() {
    let (cluster, clock) = Clock::with_server("jumps");
    let database = Database::on(&cluster, Config::default());
    database.store_key();
    let mut admin = database.admin();
    let mut calls = Vec::new();
    for offset in [-HOUR, -DAY - HOUR, HOUR, 0, DAY + HOUR, -DAY] {
        calls.extend(jump(&database, &clock, offset));
        // All of it is booked without the clock's coming back.
        let calls: Vec<_> = calls.iter().map(|(user, end)| (user.as_str(), *end)).collect();
        judge(&mut admin, &database.fake, &calls);
        let health = "SELECT status FROM hiems.health() WHERE name = 'clock'";
        assert_eq!(database.text(health, &[]).as_deref(), Some("warn"), "at {offset}");
    }
    assert_eq!(database.fake.requests().len(), calls.len());
    let measured: bool = admin
        .query_one(
            "SELECT bool_and(latency_ms BETWEEN 0 AND 60000)
                    AND max(created_at) - min(created_at) > interval '2 days'
                    AND count(DISTINCT id) = count(*)
             FROM hiems.ai_usage_logs",
            &[],
        )
        .expect("the latencies")
        .get(0);
    assert!(measured, "what a call took is not measured by this clock");
    assert_eq!(database.gateways().len(), 1);
}

fn raw_answer(client: &mut Client, id: &str) -> Result<Vec<u8>, postgres::Error> {
    Ok(client.query_one("SELECT hiems.raw_answer($1::text::uuid)", &[&id])?.get(0))
}

#[test]
fn answers_are_kept_as_long_as_the_server_s_clock_says() {
    let (cluster, clock) = Clock::with_server("answers");
    let database = Database::on(&cluster, Config::default());
    database.store_key();
    let mut client = database.admin();
    let cancelled = start(database.admin(), "cancelled", "500");
    wait_until_journalled(&mut client, 1);
    client.execute("SELECT pg_cancel_backend($1)", &[&cancelled.pid]).expect("a signal");
    assert_eq!(cancelled.end().1.sqlstate(), "57014");
    judge(&mut client, &database.fake, &[("cancelled", End::Known("cancelled"))]);
    let id = database.text("SELECT id::text FROM hiems.ai_usage_logs", &[]).expect("an id");
    // They are kept for an hour. Each gateway looks for older ones as it starts.
    for (offset, is_kept) in [(-DAY, true), (0, true), (HOUR - 300, true), (HOUR + 300, false)] {
        clock.set(offset);
        for gateway in database.gateways() {
            client.execute("SELECT pg_terminate_backend($1)", &[&gateway]).expect("a signal");
        }
        call_as(&mut database.admin(), &format!("call{offset}"), "0").expect("an answer");
        let answer = raw_answer(&mut client, &id);
        if is_kept {
            answer.expect("the answer");
        } else {
            assert_eq!(answer.sqlstate(), "PT404");
        }
    }
}
