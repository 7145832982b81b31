//! Schemas and answers that take all the time and memory there is: worked on where they can be stopped.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hiems_tests::measure::{backend_of, memory_of, peak};
use hiems_tests::{Database, Refusal, ResultExt, Running, SOON, wait_until};
use postgres::Client;
use serde_json::{Map, Value, json};

use super::{extract, whole, wishes};

/// What was looked at was not what was meant: `%61` is an `a` in a reference, and none in a name. What is meant looks
/// 2^levels times at one place.
fn disguised(levels: usize) -> Value {
    let next = |n: usize| json!({"$ref": format!("#/$defs/%61{n}")});
    let mut definitions = Map::new();
    for n in 0..levels {
        let last = json!({"type": "string"});
        let real = if n == 0 { last } else { json!({"anyOf": [next(n - 1), next(n - 1)]}) };
        definitions.insert(format!("a{n}"), real);
        definitions.insert(format!("%61{n}"), json!({}));
    }
    json!({"$defs": definitions, "properties": {"x": next(levels - 1)}, "$ref": format!("#/$defs/%61{}", levels - 1)})
}

/// As [`disguised`], for property x alone: nothing is known of it before the answer has come.
fn later(levels: usize) -> Value {
    let mut schema = disguised(levels);
    schema.as_object_mut().expect("an object").remove("$ref");
    schema
}

fn numbers() -> (String, String) {
    (
        r#"{"items": {"multipleOf": 1e-7000}}"#.to_owned(),
        format!("[{}1e7000]", "1e7000,".repeat(2_000)),
    )
}

/// The validators that a session has running, and those that have ended and still stand in the system's list.
fn validators_of(session: i32) -> Vec<i32> {
    let children = fs::read_to_string(format!("/proc/{session}/task/{session}/children"));
    let children = children.unwrap_or_default();
    children.split_ascii_whitespace().map(|pid| pid.parse().expect("a process id")).collect()
}

fn state_of(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default()
}

/// Does work in a session, and asserts that its memory stays small and that it has an end soon.
fn within_bounds<T>(client: &mut Client, work: impl FnOnce(&mut Client) -> T) -> T {
    let session = backend_of(client);
    let begin = Instant::now();
    let (memory, done) = peak(|| memory_of(session), || work(client));
    assert!(memory < 100.0, "{memory} MB");
    // 2 s of the processor's, on a machine that is busy with other tests.
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
    assert_eq!(validators_of(session), Vec::<i32>::new());
    done
}

#[test]
fn a_schema_that_takes_too_much_work_is_refused_before_anything_is_sent() {
    let database = Database::new();
    let mut client = database.admin();
    for levels in [20, 23, 60] {
        let schema = disguised(levels).to_string();
        let refusal = within_bounds(&mut client, |client| extract(client, &schema, "{}").refusal());
        assert_eq!(refusal.sqlstate, "22023", "{refusal:?}");
        assert_eq!(refusal.message, "the schema takes too much work");
        assert!(refusal.detail.starts_with("Trying it took more than "), "{refusal:?}");
        assert_ne!(refusal.hint, "");
    }
    assert_eq!(database.fake.requests().len(), 0);
    // Large, and no more than that.
    let half: Vec<Value> = (0..4_900).map(|_| json!({})).collect();
    let many: Vec<Value> = half.iter().map(|_| json!({"$ref": "#/$defs/h"})).collect();
    let square = json!({"$defs": {"h": {"allOf": half}}, "prefixItems": many}).to_string();
    let options = wishes("[1, 2]", &[]);
    let answer = within_bounds(&mut client, |client| extract(client, &square, &options));
    assert_eq!(answer.expect("an answer"), "[1, 2]");
}

#[test]
fn an_answer_that_takes_too_much_work_is_paid_for_and_kept() {
    let database = Database::new();
    let mut client = database.admin();
    let item = json!({"anyOf": [{"$ref": "#"}, {"$ref": "#"}]});
    let tree = json!({"anyOf": [{"type": "string"}, {"type": "array", "items": item}]});
    let nested = format!("{}1{}", "[".repeat(90), "]".repeat(90));
    let patterns: Vec<Value> =
        (0..20).map(|n| json!({"pattern": format!("(.*a){{{}}}.*c", 200 + n)})).collect();
    let cases =
        [numbers(), (later(60).to_string(), r#"{"x": 1}"#.to_owned()), (tree.to_string(), nested)];
    for (schema, answer) in &cases {
        let options = wishes(answer, &[]);
        let refusal =
            within_bounds(&mut client, |client| extract(client, schema, &options).refusal());
        assert_eq!(refusal.sqlstate, "PT422", "{refusal:?}");
        let what = ": comparing it with the schema took more than ";
        assert!(refusal.detail.contains(what), "{refusal:?}");
        let body: Value = serde_json::from_str(&whole(&mut client, &refusal)).expect("JSON");
        assert_eq!(body["choices"][0]["message"]["content"], *answer);
    }
    // Whether this takes too much depends on the machine.
    let schema = json!({"allOf": patterns}).to_string();
    let options = wishes(&json!("a".repeat(10_000)).to_string(), &[]);
    let refusal = within_bounds(&mut client, |client| extract(client, &schema, &options).refusal());
    assert_eq!(refusal.sqlstate, "PT422", "{refusal:?}");
    let rows = database.booked();
    assert_eq!(rows.len(), cases.len() + 1);
    assert!(rows.iter().all(|row| row["outcome"] == "rolled_back"));
}

/// A session whose validator is at work, and the validator.
fn at_work(client: Client, schema: &str, options: &str) -> (Running, i32) {
    let (schema, options) = (schema.to_owned(), options.to_owned());
    let running = Running::with(client, move |client| extract(client, &schema, &options));
    let mut validator = None;
    wait_until("the validator is at work", SOON, || {
        validator = validators_of(running.pid).first().copied();
        // Of the two of a call it is the one that takes its time: it has used a tenth of a second.
        validator.is_some_and(|pid| {
            let stat = state_of(pid);
            let fields: Vec<&str> = stat.split_ascii_whitespace().collect();
            fields.get(13).and_then(|ticks| ticks.parse::<u64>().ok()).is_some_and(|t| t >= 10)
        })
    });
    (running, validator.expect("a validator"))
}

#[test]
fn a_session_is_cancelled_and_ended_at_once_while_the_validator_works() {
    let database = Database::new();
    let mut admin = database.admin();
    let mut bystander = database.admin();
    let started = "SELECT pg_postmaster_start_time()::text";
    let before = database.text(started, &[]);
    let (schema, answer) = numbers();
    let cases = [(disguised(60).to_string(), wishes("1", &[])), (schema, wishes(&answer, &[]))];
    for (schema, options) in &cases {
        for (how, sqlstate) in [
            ("SELECT pg_cancel_backend($1)", "57014"),
            ("SELECT pg_terminate_backend($1)", "57P01"),
        ] {
            let (running, validator) = at_work(database.admin(), schema, options);
            admin.execute(how, &[&running.pid]).expect("a signal");
            let error = running.end().1.expect_err("no answer");
            // The client drops the server's last words where the connection's end comes with them.
            let told = error.code().map(postgres::error::SqlState::code);
            assert!(told == Some(sqlstate) || error.is_closed(), "{how}: {error}");
            // Not left to anybody.
            wait_until("the validator is gone", SOON, || state_of(validator).is_empty());
        }
        let mut client = database.admin();
        client.batch_execute("SET statement_timeout = '1s'").expect("a timeout");
        let session = backend_of(&mut client);
        assert_eq!(extract(&mut client, schema, options).sqlstate(), "57014");
        assert_eq!(validators_of(session), Vec::<i32>::new());
        client.batch_execute("SELECT 1").expect("the session lives");
    }
    bystander.batch_execute("SELECT 1").expect("no other session is harmed");
    assert_eq!(database.text(started, &[]), before);
    // What was paid for is booked, each call once.
    let rows = database.booked();
    assert_eq!(rows.len(), 3);
    assert!(rows.iter().all(|row| row["outcome"] == "rolled_back"));
}

#[test]
fn an_error_that_comes_while_the_answer_is_compared_names_the_call() {
    let database = Database::new();
    let mut admin = database.admin();
    let (schema, answer) = numbers();
    let (running, _) = at_work(database.admin(), &schema, &wishes(&answer, &[]));
    admin.execute("SELECT pg_cancel_backend($1)", &[&running.pid]).expect("a signal");
    let (mut client, end) = running.end();
    let refusal = end.refusal();
    assert_eq!(refusal.sqlstate, "57014");
    let body: Value = serde_json::from_str(&whole(&mut client, &refusal)).expect("JSON");
    assert_eq!(body["choices"][0]["message"]["content"], answer);
}

#[test]
fn the_validator_shares_nothing_with_the_server() {
    let database = Database::new();
    let mut admin = database.admin();
    let (running, validator) =
        at_work(database.admin(), &disguised(60).to_string(), &wishes("1", &[]));
    let of = |what: &str| format!("/proc/{validator}/{what}");
    let open = fs::read_dir(of("fd")).expect("its files").flatten().map(|entry| entry.file_name());
    let mut open: Vec<_> = open.collect();
    open.sort_unstable();
    assert_eq!(open, ["0", "1", "2"]);
    assert_eq!(fs::read(of("environ")).expect("its environment"), b"");
    let maps = fs::read_to_string(of("maps")).expect("its memory");
    assert!(maps.contains("hiems-validator"), "{maps}");
    // The fourth letter of the rights: shared.
    assert!(
        maps.lines().all(|line| line.split_ascii_whitespace().nth(1) != Some("rw-s")),
        "{maps}"
    );
    let is_of_a_server = ["/dev/zero", "/SYSV", "bin/postgres"].iter().any(|of| maps.contains(of));
    assert!(!is_of_a_server, "{maps}");
    admin.execute("SELECT pg_cancel_backend($1)", &[&running.pid]).expect("a signal");
    assert_eq!(running.end().1.sqlstate(), "57014");
}

#[test]
fn a_validator_that_is_killed_leaves_an_error_and_nothing_else() {
    let database = Database::new();
    let (schema, answer) = numbers();
    let kill = |schema: &str, options: &str| -> (Client, Refusal) {
        let (running, validator) = at_work(database.admin(), schema, options);
        let session = running.pid;
        // SAFETY: a plain call.
        assert_eq!(unsafe { libc::kill(validator, libc::SIGKILL) }, 0);
        let (client, end) = running.end();
        assert_eq!(validators_of(session), Vec::<i32>::new());
        (client, end.refusal())
    };
    let (_, refusal) = kill(&disguised(60).to_string(), "{}");
    assert_eq!(refusal.sqlstate, "PT503", "{refusal:?}");
    assert_ne!(refusal.hint, "");
    assert_eq!(database.fake.requests().len(), 0);
    let (mut client, refusal) = kill(&schema, &wishes(&answer, &[]));
    assert_eq!(refusal.sqlstate, "PT422", "{refusal:?}");
    let body: Value = serde_json::from_str(&whole(&mut client, &refusal)).expect("JSON");
    assert_eq!(body["choices"][0]["message"]["content"], answer);
}

/// A copy of the library in a folder of its own, which the sessions of a database load; the program beside it, if it
/// is there, is another one, too.
struct Elsewhere {
    folder: PathBuf,
    from: PathBuf,
}

impl Elsewhere {
    fn of(database: &Database) -> Elsewhere {
        let installed = "SELECT setting FROM pg_config WHERE name = 'PKGLIBDIR'";
        let from = PathBuf::from(database.text(installed, &[]).expect("a folder"));
        let stage = std::env::var_os("STAGE").expect("STAGE is not set: run `make test`");
        let folder = format!("test-{}-{}-library", std::process::id(), database.oid());
        let folder = Path::new(&stage).join(folder);
        fs::create_dir(&folder).expect("a folder");
        fs::copy(from.join("hiems.so"), folder.join("hiems.so")).expect("a copy");
        let move_there = "UPDATE pg_proc SET probin = $1 WHERE probin = 'hiems'";
        let library = folder.join("hiems.so").to_string_lossy().into_owned();
        assert_ne!(database.admin().execute(move_there, &[&library]).expect("a move"), 0);
        Elsewhere { folder, from }
    }

    fn lay_program(&self, mode: u32) {
        let program = self.program();
        fs::copy(self.from.join("hiems-validator"), &program).expect("a copy");
        fs::set_permissions(program, fs::Permissions::from_mode(mode)).expect("a mode");
    }

    fn program(&self) -> PathBuf {
        self.folder.join("hiems-validator")
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn without_its_program_nothing_is_sent() {
    let database = Database::new();
    let elsewhere = Elsewhere::of(&database);
    let mut client = database.admin();
    let refused = |client: &mut Client| {
        let refusal = extract(client, "{}", &wishes("1", &[])).refusal();
        assert_eq!(refusal.sqlstate, "PT503", "{refusal:?}");
        assert!(refusal.detail.contains("hiems-validator"), "{refusal:?}");
        assert!(refusal.hint.contains("make install"), "{refusal:?}");
        assert_eq!(database.fake.requests().len(), 0);
    };
    refused(&mut client);
    elsewhere.lay_program(0o644);
    refused(&mut client);
    // One that says nothing.
    fs::write(elsewhere.program(), "#!/bin/sh\nexit 0\n").expect("a program");
    fs::set_permissions(elsewhere.program(), fs::Permissions::from_mode(0o755)).expect("a mode");
    refused(&mut client);
    fs::remove_file(elsewhere.program()).expect("it is removed");
    elsewhere.lay_program(0o755);
    assert_eq!(extract(&mut client, "{}", &wishes("1", &[])).expect("an answer"), "1");
}

#[test]
fn a_program_that_goes_before_the_answer_comes_takes_no_answer_with_it() {
    let database = Database::new();
    let elsewhere = Elsewhere::of(&database);
    elsewhere.lay_program(0o755);
    let options = wishes("1", &[("fake_delay_ms", "2000")]);
    let running = Running::with(database.admin(), move |client| extract(client, "{}", &options));
    running.wait_until_in_flight(&database, 1);
    fs::remove_file(elsewhere.program()).expect("it is removed");
    let (mut client, end) = running.end();
    let refusal = end.refusal();
    assert_eq!(refusal.sqlstate, "PT422", "{refusal:?}");
    assert!(refusal.detail.contains("could not be compared with the schema"), "{refusal:?}");
    let body: Value = serde_json::from_str(&whole(&mut client, &refusal)).expect("JSON");
    assert_eq!(body["choices"][0]["message"]["content"], "1");
    assert_eq!(database.booked().len(), 1);
}
