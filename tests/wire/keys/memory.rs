//! In whose memory the key is: the gateway's, and no other process's.

use std::fs;

use hiems_tests::{Canned, Cluster, Config, Database, ResultExt, memory_holds, user_message};
use postgres::Client;

use super::{call, set_key, write};

const SECRET: &str = "sk-or-v1-in-nobodys-memory-5ec2e7c0ffee";
/// What is looked for: its better part.
const TRACE: &[u8] = b"in-nobodys-memory-5ec2e7c0ffee";

fn pid(client: &mut Client) -> i32 {
    client.query_one("SELECT pg_backend_pid()", &[]).expect("a session").get(0)
}

/// Every process of the server but the gateway.
fn others(cluster: &Cluster, database: &Database) -> Vec<(i32, String)> {
    let postmaster = fs::read_to_string(cluster.data().join("postmaster.pid")).expect("its id");
    let postmaster = postmaster.lines().next().and_then(|line| line.parse().ok()).expect("an id");
    let mut processes: Vec<(i32, String)> = database
        .admin()
        .query(
            "SELECT pid, backend_type FROM pg_stat_activity WHERE backend_type <> 'hiems gateway'",
            &[],
        )
        .expect("pg_stat_activity")
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    processes.push((postmaster, "postmaster".to_owned()));
    processes
}

/// The gateway must have it, or the search finds nothing at all. `setter`, which was given it, may.
fn assert_in_the_gateway_alone(cluster: &Cluster, database: &Database, setter: Option<i32>) {
    let gateways = database.gateways();
    assert_eq!(gateways.len(), 1);
    let found = memory_holds(gateways[0], TRACE);
    assert_eq!(found, Some(true), "the search does not find it where it is");
    let mut looked_into = 0;
    for (pid, what) in others(cluster, database) {
        if Some(pid) != setter {
            let found = memory_holds(pid, TRACE);
            assert_ne!(found, Some(true), "the key is in the memory of {pid}, {what}");
            looked_into += usize::from(found.is_some());
        }
    }
    // The postmaster, its helpers, and the test's own sessions.
    assert!(looked_into >= 5, "only {looked_into} processes");
}

/// Calls that go well, that fail, and whose answers say the key back.
#[test]
fn a_session_that_calls_never_has_it() {
    let cluster = Cluster::start(&[]);
    let database = Database::on(&cluster, Config::default());
    let canned = Canned::start();
    let mut setter = database.admin();
    set_key(&mut setter, SECRET, "default").expect("a key");
    let mut caller = database.admin();
    call(&mut caller).expect("an answer");
    caller.query_one("SELECT hiems.verify_api_key()::text", &[]).expect("a row");
    assert_in_the_gateway_alone(&cluster, &database, Some(pid(&mut setter)));

    database.set("hiems.base_url", &canned.base_url());
    database.set("hiems.settlement_timeout", "0");
    database.end_gateway();
    let error = format!(r#"{{"error": {{"code": 401, "message": "Bearer {SECRET}: refused"}}}}"#);
    canned.answer(401, "", error.as_bytes());
    assert_eq!(call(&mut caller).sqlstate(), "PT503");
    assert_eq!(caller.query("SELECT hiems.verify_api_key()::text", &[]).sqlstate(), "PT503");
    let answer = format!(
        r#"{{"id": "gen-1", "choices": [{{"message": {{"content": "{SECRET}"}}}}], "usage": {{}}}}"#
    );
    canned.answer(200, "", answer.as_bytes());
    let row = caller
        .query_one(
            "SELECT hiems.submit_prompt('openai/gpt-4o-mini', $1::text::jsonb)::text",
            &[&user_message("say it")],
        )
        .expect("an answer");
    assert!(row.get::<_, String>(0).contains("*****"));
    assert_in_the_gateway_alone(&cluster, &database, Some(pid(&mut setter)));
    database.wait_until_booked();
}

/// Written into the statement, it is in the memory of that session, which PostgreSQL uses again when it
/// likes; but not where all processes look: the statement that pg_stat_activity shows.
#[test]
fn a_literal_stays_in_its_session() {
    let cluster = Cluster::start(&[]);
    let database = Database::on(&cluster, Config::default());
    let mut setter = database.admin();
    setter.batch_execute(&format!("SELECT hiems.set_api_key('{SECRET}')")).expect("a key");
    let setter_pid = pid(&mut setter);
    setter.batch_execute(&format!("SELECT hiems.set_api_key('{SECRET}', 'other')")).expect("a key");
    let shown = database.text("SELECT query FROM pg_stat_activity WHERE pid = $1", &[&setter_pid]);
    assert_eq!(shown.as_deref(), Some("SELECT hiems.set_api_key(...)"));
    call(&mut database.admin()).expect("an answer");
    assert_in_the_gateway_alone(&cluster, &database, Some(setter_pid));
}

#[test]
fn a_key_that_is_handed_over_by_a_file_is_in_no_session_at_all() {
    let cluster = Cluster::start(&[]);
    let database = Database::on(&cluster, Config::default());
    let file = cluster.folder.join("openrouter.key");
    write(&cluster, &file, SECRET, 0o600);
    let mut setter = database.admin();
    setter
        .execute("SELECT hiems.set_api_key_from_file($1)", &[&&*file.to_string_lossy()])
        .expect("a key");
    call(&mut setter).expect("an answer");
    assert_in_the_gateway_alone(&cluster, &database, None);
    // Sealing it anew brings it to nobody.
    let sealed: i64 =
        setter.query_one("SELECT hiems.rotate_master_key()", &[]).expect("a new key").get(0);
    assert_eq!(sealed, 1);
    assert_in_the_gateway_alone(&cluster, &database, None);
}

#[test]
fn no_core_of_the_gateway_is_written() {
    let database = Database::new();
    for pid in database.gateways() {
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("its limits");
        let core = limits.lines().find(|line| line.starts_with("Max core file size"));
        let words: Vec<&str> = core.unwrap_or_default().split_ascii_whitespace().collect();
        // core(5): a limit of 1 stops files and pipes.
        assert_eq!(words[4..6], ["1", "1"], "{core:?}");
    }
    assert_eq!(database.gateways().len(), 1);
}

/// The master key is read when a key is opened or sealed, and wiped after: as digits and as bytes.
#[test]
fn no_process_keeps_the_master_key() {
    let cluster = Cluster::start(&[]);
    let database = Database::on(&cluster, Config::default());
    let mut admin = database.admin();
    set_key(&mut admin, SECRET, "default").expect("a key");
    admin.execute("SELECT hiems.rotate_master_key()", &[]).expect("a new master key");
    for _ in 0..3 {
        call(&mut admin).expect("an answer");
    }
    let text = fs::read_to_string(cluster.data().join("hiems_master.key")).expect("the file");
    let mut processes = others(&cluster, &database);
    processes.extend(database.gateways().iter().map(|pid| (*pid, "gateway".to_owned())));
    for line in text.lines() {
        let digits = &line[..64];
        let bytes: Vec<u8> = (0..64)
            .step_by(2)
            .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("digits"))
            .collect();
        for (pid, what) in &processes {
            for (form, trace) in [("digits", digits.as_bytes()), ("bytes", &bytes)] {
                let found = memory_holds(*pid, trace);
                assert_ne!(found, Some(true), "the master key's {form} are in {pid}, {what}");
            }
        }
    }
}
