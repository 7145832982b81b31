//! Handing a key over without writing it into a statement: by a file or a variable of the server's,
//! which the gateway reads, for those alone who may read them anyway.

use std::fs;
use std::os::unix::fs::chown;

use hiems_tests::{Cluster, Config, Database, ResultExt};
use postgres::{Client, Error};

use super::{call, paid_by, write};

const FROM_FILE: &str = "sk-or-v1-handed-over-in-a-file";
const FROM_VARIABLE: &str = "sk-or-v1-handed-over-in-a-variable";

fn set_from_file(client: &mut Client, path: &str) -> Result<u64, Error> {
    client.execute("SELECT hiems.set_api_key_from_file($1)", &[&path])
}

fn set_from_environment(client: &mut Client, variable: &str) -> Result<u64, Error> {
    client.execute("SELECT hiems.set_api_key_from_environment($1)", &[&variable])
}

#[test]
fn a_file_s_key_pays() {
    let cluster = Cluster::start(&[]);
    let database = Database::on(&cluster, Config::default());
    let mut admin = database.admin();
    let file = cluster.folder.join("openrouter.key");
    let path = file.to_string_lossy().into_owned();
    for text in [FROM_FILE.to_owned(), format!("{FROM_FILE}\n"), format!("\n {FROM_FILE}\r\n")] {
        write(&cluster, &file, &text, 0o400);
        set_from_file(&mut admin, &path).expect("a key");
        fs::remove_file(&file).expect("it is needed no more");
        call(&mut admin).expect("an answer");
        assert_eq!(paid_by(&database), FROM_FILE);
    }
    // Under a name, of a kind, as with set_api_key.
    write(&cluster, &file, FROM_FILE, 0o600);
    admin
        .execute("SELECT hiems.set_api_key_from_file($1, 'other', 'management')", &[&path])
        .expect("a key");
    let stored = database.text(
        "SELECT string_agg(name || ' ' || kind || ' ' || version, ', ' ORDER BY name),
                count(DISTINCT fingerprint) FROM hiems.api_keys",
        &[],
    );
    assert_eq!(stored.as_deref(), Some("default inference 3, other management 1"));
}

#[test]
fn a_file_that_is_no_key_s_is_refused() {
    let cluster = Cluster::start(&[]);
    let database = Database::on(&cluster, Config::default());
    let mut admin = database.admin();
    let file = cluster.folder.join("openrouter.key");
    let path = file.to_string_lossy().into_owned();
    let huge = "k".repeat(70_000);
    for (text, mode, says) in [
        (FROM_FILE, 0o644, "set it to 0600"),
        (FROM_FILE, 0o640, "set it to 0600"),
        (FROM_FILE, 0o606, "set it to 0600"),
        ("", 0o600, "holds no key"),
        ("short", 0o600, "holds no key"),
        ("two words of text", 0o600, "holds no key"),
        ("first-line\nsecond-line", 0o600, "holds no key"),
        (&huge, 0o600, "larger than 64 kB"),
    ] {
        write(&cluster, &file, text, mode);
        let refusal = set_from_file(&mut admin, &path).refusal();
        assert_eq!(refusal.sqlstate, "22023", "{refusal:?}");
        assert!(refusal.detail.contains(says), "{says}: {refusal:?}");
        // What stands in the file is not said.
        assert!(text.is_empty() || !format!("{refusal:?}").contains(text), "{refusal:?}");
    }
    fs::remove_file(&file).expect("the file");
    for (path, says) in [
        (path.as_str(), "does not exist"),
        ("/", "not a regular file"),
        ("/dev/zero", "not a regular file"),
        ("", "slash"),
        ("hiems_master.key", "slash"),
        ("../openrouter.key", "slash"),
    ] {
        let refusal = set_from_file(&mut admin, path).refusal();
        assert_eq!(refusal.sqlstate, "22023", "{path}: {refusal:?}");
        assert!(refusal.detail.contains(says), "{path}: {refusal:?}");
    }
    let null = admin.execute("SELECT hiems.set_api_key_from_file(NULL)", &[]);
    assert_eq!(null.sqlstate(), "22023");
    assert_eq!(database.count("hiems_private.api_keys"), 0);
}

/// The level admin does not make a reader of the server's files.
#[test]
fn only_who_may_read_the_server_s_files_names_one() {
    let cluster = Cluster::start(&[]);
    let mut database = Database::on(&cluster, Config::default());
    let (admin, reader) = (database.role_with("admin"), database.role("reads_files"));
    let mut superuser = database.admin();
    let file = cluster.folder.join("openrouter.key");
    write(&cluster, &file, FROM_FILE, 0o600);
    let path = file.to_string_lossy().into_owned();
    let mut client = database.connect(&admin);
    for path in [path.as_str(), "/etc/passwd", "/nowhere", "relative"] {
        let refusal = set_from_file(&mut client, path).refusal();
        assert_eq!(refusal.sqlstate, "42501", "{path}");
        // Nor does it learn whether there is one.
        assert!(refusal.message.contains("pg_read_server_files"), "{refusal:?}");
    }
    superuser
        .batch_execute(&format!("GRANT pg_read_server_files TO {reader}, {admin}"))
        .expect("a grant");
    set_from_file(&mut client, &path).expect("both the level and the privilege");
    superuser
        .batch_execute(&format!(
            "GRANT ALL ON ALL ROUTINES IN SCHEMA hiems TO {reader};
        GRANT USAGE ON SCHEMA hiems TO {reader}"
        ))
        .expect("a grant");
    let refusal = set_from_file(&mut database.connect(&reader), &path).refusal();
    assert_eq!(refusal.sqlstate, "42501");
    assert!(refusal.message.contains("level \"admin\""), "{refusal:?}");
    // Another user's file stays shut, whoever asks, if the server may read it at all.
    chown(&file, Some(12_345), None).map_or_else(
        |_| println!("SKIPPED in part: to give files to other users, tests must run as root"),
        |()| {
            let refusal = set_from_file(&mut superuser, &path).refusal();
            assert_eq!(refusal.sqlstate, "22023", "{refusal:?}");
        },
    );
}

#[test]
fn a_variable_s_key_pays() {
    let cluster = Cluster::start_in(
        &[],
        &[
            ("OPENROUTER_API_KEY", FROM_VARIABLE),
            ("HIEMS_TEST_KEY", "sk-or-v1-another"),
            ("HIEMS_TEST_BAD", "not a key"),
            ("UNRELATED_SECRET", "sk-or-v1-of-somebody-else"),
        ],
    );
    let mut database = Database::on(&cluster, Config::default());
    let mut admin = database.admin();
    admin.execute("SELECT hiems.set_api_key_from_environment()", &[]).expect("a key");
    call(&mut admin).expect("an answer");
    assert_eq!(paid_by(&database), FROM_VARIABLE);
    set_from_environment(&mut admin, "HIEMS_TEST_KEY").expect("a key");
    call(&mut admin).expect("an answer");
    assert_eq!(paid_by(&database), "sk-or-v1-another");
    for (variable, says) in [
        ("HIEMS_NOT_SET", "is not set"),
        ("HIEMS_TEST_BAD", "holds no key"),
        ("UNRELATED_SECRET", "does not begin with"),
        ("unrelated_secret", "does not begin with"),
        ("HIEMS_", "does not begin with"),
        ("HIEMS_=X", "does not begin with"),
        ("", "does not begin with"),
        ("PATH", "does not begin with"),
    ] {
        let refusal = set_from_environment(&mut admin, variable).refusal();
        assert_eq!(refusal.sqlstate, "22023", "{variable}: {refusal:?}");
        assert!(refusal.detail.contains(says), "{variable}: {refusal:?}");
        assert!(!format!("{refusal:?}").contains("not a key"), "{refusal:?}");
    }
    // For superusers: the level admin is not enough, nor is reading files.
    let role = database.role_with("admin");
    admin.batch_execute(&format!("GRANT pg_read_server_files TO {role}")).expect("a grant");
    let mut client = database.connect(&role);
    for variable in ["OPENROUTER_API_KEY", "UNRELATED_SECRET", "HIEMS_NOT_SET"] {
        let refusal = set_from_environment(&mut client, variable).refusal();
        assert_eq!(refusal.sqlstate, "42501", "{variable}: {refusal:?}");
    }
}
