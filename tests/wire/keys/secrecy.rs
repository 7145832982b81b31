//! Where the key is not: in rows, dumps, other sessions' sight, files, errors.

use std::fs;
use std::path::Path;

use hiems_tests::{Cluster, Config, Database, ResultExt};

use super::{call, set_key, write};

/// A key that is found nowhere by chance.
const SECRET: &str = "sk-or-v1-5ec2e7c0ffee5ec2e7c0ffee";

/// The bytes by which it would be found: as it is, in hexadecimal, and in base64 without its ends.
fn traces() -> [Vec<u8>; 3] {
    let hex: String = SECRET.bytes().map(|byte| format!("{byte:02x}")).collect();
    [
        SECRET.as_bytes().to_vec(),
        hex.into_bytes(),
        // base64 of the 18 bytes from the fourth on, which is whole triples.
        base64(&SECRET.as_bytes()[3..21]).into_bytes(),
    ]
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    bytes
        .chunks(3)
        .flat_map(|three| {
            let bits = three.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
            [18, 12, 6, 0].map(|shift| char::from(DIGITS[(bits >> shift & 63) as usize]))
        })
        .collect()
}

fn holds(bytes: &[u8], trace: &[u8]) -> bool {
    bytes.windows(trace.len()).any(|window| window == trace)
}

fn assert_clean(what: &str, bytes: &[u8]) {
    for trace in traces() {
        assert!(!holds(bytes, &trace), "the key is in {what}");
    }
}

/// Looks into every file; gives how many there were. Sockets and the like hold no bytes.
fn assert_files_clean(folder: &Path) -> usize {
    let mut files = 0;
    for entry in fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        let kind = entry.file_type().expect("a kind");
        if kind.is_dir() {
            files += assert_files_clean(&entry.path());
        } else if kind.is_file() {
            let bytes = fs::read(entry.path()).expect("a file");
            assert_clean(&entry.path().display().to_string(), &bytes);
            files += 1;
        }
    }
    files
}

#[test]
fn the_search_finds_what_there_is() {
    for trace in traces() {
        assert!(trace.len() >= 24);
        assert!(holds(&[b"x", trace.as_slice(), b"y"].concat(), &trace));
    }
    assert_eq!(base64(b"Man"), "TWFu");
    assert_eq!(base64(b"sk-or-"), "c2stb3It");
}

#[test]
fn neither_rows_nor_other_sessions_show_it() {
    let database = Database::without_key();
    let mut admin = database.admin();
    set_key(&mut admin, SECRET, "default").expect("a key");
    call(&mut admin).expect("an answer");
    for table in [
        "hiems_private.api_keys",
        "hiems_private.installation",
        "hiems_private.calls",
        "hiems.ai_usage_logs",
        // The key was a parameter here: even the session that stored it shows no literal.
        "pg_stat_activity",
        "pg_prepared_statements",
        "pg_settings",
    ] {
        for row in admin.query(&format!("SELECT t::text FROM {table} AS t"), &[]).expect(table) {
            assert_clean(table, row.get::<_, String>(0).as_bytes());
        }
    }
    // Enough to tell keys apart: the start of a hash.
    let fingerprint = database.text("SELECT fingerprint FROM hiems_private.api_keys", &[]);
    assert_eq!(fingerprint.map(|text| text.len()), Some(16));

    // Written as a literal, it stands in that session's own line alone, as any statement does.
    let literal = format!("SELECT hiems.set_api_key('{SECRET}')");
    admin.batch_execute(&literal).expect("a key");
    let pid: i32 = admin.query_one("SELECT pg_backend_pid()", &[]).expect("a session").get(0);
    let mut other = database.admin();
    for row in other
        .query("SELECT t::text FROM pg_stat_activity AS t WHERE pid <> $1", &[&pid])
        .expect("pg_stat_activity")
    {
        assert_clean("pg_stat_activity", row.get::<_, String>(0).as_bytes());
    }
}

#[test]
fn a_dump_does_not_hold_it() {
    let cluster = Cluster::start(&[]);
    let database = Database::on(&cluster, Config::default());
    let mut admin = database.admin();
    set_key(&mut admin, SECRET, "default").expect("a key");
    call(&mut admin).expect("an answer");
    let dump = cluster.program("pg_dump").arg(&database.name).output().expect("pg_dump runs");
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let nonce = database
        .text("SELECT encode(nonce, 'hex') FROM hiems_private.api_keys", &[])
        .expect("a key");
    assert!(holds(&dump.stdout, nonce.as_bytes()), "the sealed row is dumped");
    assert_clean("the dump", &dump.stdout);
    assert_clean("the errors of pg_dump", &dump.stderr);
    let master = fs::read(cluster.data().join("hiems_master.key")).expect("the master key");
    assert!(!holds(&dump.stdout, master.trim_ascii()), "the master key is in the dump");
}

/// The server stands still, so that everything is in its files: tables, WAL, statistics. The log is
/// among them, since the key was a parameter; as a literal it would be in the log where log_statement
/// puts statements there.
#[test]
fn no_file_of_the_server_holds_it() {
    let cluster =
        Cluster::start(&["log_min_duration_statement = 0", "log_parameter_max_length = 0"]);
    let database = Database::on(&cluster, Config::default());
    let mut admin = database.admin();
    set_key(&mut admin, SECRET, "default").expect("a key");
    call(&mut admin).expect("an answer");
    set_key(&mut admin, &format!("{SECRET}2"), "default").expect("a key");
    call(&mut admin).expect("an answer");
    let spaced = set_key(&mut admin, &format!("{SECRET} 3"), "default");
    assert_eq!(spaced.sqlstate(), "22023");
    let handed_over = cluster.folder.join("openrouter.key");
    write(&cluster, &handed_over, SECRET, 0o600);
    admin
        .execute("SELECT hiems.set_api_key_from_file($1)", &[&&*handed_over.to_string_lossy()])
        .expect("a key");
    fs::remove_file(&handed_over).expect("the file");
    call(&mut admin).expect("an answer");
    admin.execute("SELECT hiems.rotate_master_key()", &[]).expect("a new master key");
    call(&mut admin).expect("an answer");
    admin.batch_execute("CHECKPOINT").expect("a checkpoint");
    let (name, fake) = database.into_parts();
    cluster.stop("fast");
    assert!(assert_files_clean(&cluster.folder) > 500);
    drop((name, fake));
}

#[test]
fn no_error_says_it() {
    let mut database = Database::without_key();
    let mut admin = database.admin();
    let long = SECRET.repeat(40);
    for (key, name, kind) in [
        (format!("{SECRET} "), "default", "inference"),
        (format!("{SECRET}\n"), "default", "inference"),
        (format!("{SECRET}\u{E5}"), "default", "inference"),
        (long, "default", "inference"),
        (SECRET.to_owned(), "", "inference"),
        (SECRET.to_owned(), "default", "unknown"),
    ] {
        let refusal =
            admin.execute("SELECT hiems.set_api_key($1, $2, $3)", &[&key, &name, &kind]).refusal();
        assert_eq!(refusal.sqlstate, "22023");
        assert_clean("an error", format!("{refusal:?}").as_bytes());
    }
    let role = database.role_with("caller");
    let refusal = set_key(&mut database.connect(&role), SECRET, "default").refusal();
    assert_eq!(refusal.sqlstate, "42501");
    assert_clean("an error", format!("{refusal:?}").as_bytes());
}

/// OpenRouter may say the key back; what it says of a refused key goes to DETAIL.
#[test]
fn a_refused_key_is_not_said() {
    let refusing =
        Config { accepted_keys: vec!["sk-or-v1-another".to_owned()], ..Config::default() };
    let database = Database::on(hiems_tests::cluster(), refusing);
    let mut admin = database.admin();
    set_key(&mut admin, SECRET, "default").expect("a key");
    let refusal = call(&mut admin).refusal();
    assert_eq!(refusal.sqlstate, "PT503");
    assert_clean("an error", format!("{refusal:?}").as_bytes());
    database.wait_until_booked();
    let booked =
        database.text("SELECT string_agg(l::text, ' ') FROM hiems.ai_usage_logs AS l", &[]);
    assert_clean("the ledger", booked.unwrap_or_default().as_bytes());
}
