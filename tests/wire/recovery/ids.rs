//! The ids of generations in flight, in files until they are in the journal.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use hiems_tests::{Cluster, Config, Database, Running, wait_until};

use super::{COMMITTED, End, JOURNAL, LONG_MS, SOON, call_as, call_with, judge, ledger_of, lock};

const LONG: (&str, &str) = ("fake_delay_ms", LONG_MS);

/// The files with the ids of this database's generations.
fn files(data: &Path, database: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(data).expect("the data directory").flatten();
    let is_one = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.starts_with(&format!("hiems_ids.{database}."))
    };
    entries.map(|entry| entry.path()).filter(is_one).collect()
}

fn kept(data: &Path, database: &str) -> String {
    // One may go meanwhile.
    files(data, database).iter().filter_map(|path| fs::read_to_string(path).ok()).collect()
}

fn start_with<const N: usize>(
    database: &Database,
    user: &'static str,
    wishes: [(&'static str, &'static str); N],
) -> Running {
    let running = Running::with(database.admin(), move |client| call_with(client, user, &wishes));
    running.wait_until_in_flight(database, 1);
    running
}

/// Has nothing spilled; gives the folder that is in the spill's place.
fn block_spill(cluster: &Cluster, database: &Database) -> PathBuf {
    let oid = database.oid();
    let extension =
        database.text("SELECT oid::text FROM pg_extension WHERE extname = 'hiems'", &[]);
    let spill = format!("hiems_calls.{oid}.{}", extension.expect("an OID"));
    let spill = cluster.data().join(spill);
    fs::create_dir(&spill).expect("a folder in the file's place");
    spill
}

// The id comes while the journal is locked and the spill cannot be written.
#[test]
fn an_id_that_is_nowhere_else_survives_a_crash() {
    let mut cluster = Cluster::start(&[]);
    let database = Database::on(&cluster, Config::default());
    database.store_key();
    let oid = database.oid();
    let running = start_with(&database, "caught", [("fake_header_delay_ms", "1000"), LONG]);
    let spill = block_spill(&cluster, &database);
    let _holder = lock(&database, JOURNAL);
    wait_until("the id is in the file", SOON, || {
        let bill = database.fake.bill();
        bill.first().is_some_and(|one| kept(&cluster.data(), &oid).contains(&one.id))
    });
    let (name, fake) = database.into_parts();
    cluster.stop("immediate");
    running.end().1.expect_err("the crash");
    fs::remove_dir(&spill).expect("the folder goes");
    cluster.restart();
    let mut client = cluster.connect(&name, "postgres");
    call_as(&mut client, "new", "0").expect("an answer");
    let rows = ledger_of(&mut client, &fake);
    assert_eq!(rows[0].get::<_, &str>("cost_source"), "settled");
    judge(&mut client, &fake, &[("caught", End::Lost), ("new", COMMITTED)]);
}

// What the files say of an attempt before the last one is of another generation.
#[test]
fn an_id_of_another_attempt_is_not_taken() {
    let mut cluster = Cluster::start(&[]);
    let database = Database::on(&cluster, Config::default());
    database.store_key();
    call_as(&mut database.admin(), "before", "0").expect("an answer");
    let oid = database.oid();
    let running = start_with(&database, "lost", [("fake_header_delay_ms", LONG_MS)]);
    let call = database.text("SELECT id::text FROM hiems.calls", &[]).expect("the call");
    let (name, fake) = database.into_parts();
    cluster.stop("immediate");
    running.end().1.expect_err("the crash");
    let left = files(&cluster.data(), &oid);
    assert_eq!(left.len(), 1);
    let mut file = fs::OpenOptions::new().append(true).open(&left[0]).expect("the file");
    for (attempts, end) in [(1, ""), (0, "\n"), (2, "\n")] {
        let line =
            format!(r#"{{"id":"{call}","attempts":{attempts},"generation_id":"gen-{attempts}"}}"#);
        // The one of the right number is cut off.
        let line = if end.is_empty() { &line[..line.len() - 2] } else { &line };
        write!(file, "{line}\n{end}").expect("a line");
    }
    drop(file);
    cluster.restart();
    let mut client = cluster.connect(&name, "postgres");
    call_as(&mut client, "new", "0").expect("an answer");
    let rows = ledger_of(&mut client, &fake);
    let said: Vec<(&str, &str, Option<&str>)> = rows
        .iter()
        .map(|row| (row.get("user_id"), row.get("cost_source"), row.get("generation_id")))
        .collect();
    assert_eq!(said[1], ("lost", "unknown", None));
    assert_eq!(said.len(), 3);
}

#[test]
fn the_files_go_with_a_gateway_that_leaves_in_order() {
    let database = Database::new();
    let data = hiems_tests::cluster().data();
    let oid = database.oid();
    call_as(&mut database.admin(), "one", "0").expect("an answer");
    assert!(kept(&data, &oid).contains(&database.fake.bill()[0].id));
    for pid in database.gateways() {
        database.admin().execute("SELECT pg_terminate_backend($1)", &[&pid]).expect("a signal");
    }
    wait_until("the files are gone", SOON, || files(&data, &oid).is_empty());
}
