//! A new master key: every key is sealed anew, calls go on, and no crash loses a key.

mod crashes;
mod databases;
mod load;
mod restored;

use std::fs;
use std::os::unix::fs::MetadataExt;

use hiems_tests::{Cluster, Config, Database, KEY, ResultExt};
use postgres::{Error, GenericClient};

use super::{call, key_files, paid_by, refused, set_key, write};

fn rotate(client: &mut impl GenericClient) -> Result<i64, Error> {
    Ok(client.query_one("SELECT hiems.rotate_master_key()", &[])?.get(0))
}

fn own_file(cluster: &Cluster) -> std::path::PathBuf {
    cluster.data().join("hiems_master.key")
}

fn read(cluster: &Cluster) -> String {
    fs::read_to_string(own_file(cluster)).expect("the file")
}

/// The keys of the file, the newest first.
fn master_keys(cluster: &Cluster) -> Vec<String> {
    read(cluster)
        .lines()
        .map(|line| line.split_ascii_whitespace().next().expect("a key").to_owned())
        .collect()
}

/// The rows in full, by name.
fn rows(database: &Database) -> Vec<String> {
    database
        .admin()
        .query("SELECT k::text FROM hiems_private.api_keys AS k ORDER BY name", &[])
        .expect("rows")
        .iter()
        .map(|row| row.get(0))
        .collect()
}

#[test]
fn every_key_is_sealed_anew_and_the_old_master_key_opens_none() {
    let cluster = Cluster::start(&[]);
    let database = Database::on(&cluster, Config::default());
    let mut admin = database.admin();
    set_key(&mut admin, KEY, "default").expect("a key");
    set_key(&mut admin, "sk-or-v1-second", "second").expect("a key");
    admin
        .execute("SELECT hiems.set_api_key('sk-or-v1-third', 'third', 'management')", &[])
        .expect("a key");
    call(&mut admin).expect("an answer");
    let gateways = database.gateways();
    let old = read(&cluster);
    admin
        .batch_execute("CREATE TABLE before AS SELECT * FROM hiems_private.api_keys")
        .expect("a copy");
    assert_eq!(rotate(&mut admin).expect("a new master key"), 3);
    let different = database.text(
        "SELECT count(*)::text FROM before AS b JOIN hiems_private.api_keys AS k USING
             (name, kind, version, fingerprint, stored_at, stored_by)
         WHERE b.nonce <> k.nonce AND b.ciphertext <> k.ciphertext AND b.sealed_at < k.sealed_at
           AND b.master_key <> k.master_key
           AND k.master_key = (SELECT min(master_key) FROM hiems_private.api_keys)",
        &[],
    );
    assert_eq!(different.as_deref(), Some("3"));
    call(&mut admin).expect("an answer");
    assert_eq!(paid_by(&database), KEY);
    assert_eq!(database.gateways(), gateways);

    let keys = master_keys(&cluster);
    assert_eq!(keys[1..], [old.trim()]);
    assert_ne!(keys[0], keys[1]);
    let about = fs::metadata(own_file(&cluster)).expect("the file");
    let owner = fs::metadata(cluster.data()).expect("the data directory");
    assert_eq!((about.mode() & 0o7777, about.uid()), (0o600, owner.uid()));
    assert_eq!(key_files(&cluster), [own_file(&cluster)]);

    write(&cluster, &own_file(&cluster), &old, 0o600);
    database.end_gateway();
    let refusal = refused(&database, &mut admin);
    assert!(refusal.detail.contains("another master key"), "{refusal:?}");
    for name in ["second", "third"] {
        let check = admin.query("SELECT hiems.verify_api_key($1)::text", &[&name]).refusal();
        assert!(check.detail.contains("another master key"), "{check:?}");
    }
    write(&cluster, &own_file(&cluster), &keys[0], 0o600);
    call(&mut admin).expect("the new one alone opens it");
    for name in ["second", "third"] {
        admin.query("SELECT hiems.verify_api_key($1)::text", &[&name]).expect("it opens");
    }
    // Which one it is, a shell can say, too: of the digits in lower case.
    let id = database.text("SELECT min(master_key) FROM hiems.api_keys", &[]);
    let hash = database
        .text("SELECT left(encode(sha256(convert_to($1, 'UTF8')), 'hex'), 16)", &[&keys[0]]);
    assert_eq!(id, hash);
}

#[test]
fn a_rotation_that_is_rolled_back_changes_nothing() {
    let cluster = Cluster::start(&[]);
    let database = Database::on(&cluster, Config::default());
    let mut admin = database.admin();
    set_key(&mut admin, KEY, "default").expect("a key");
    let before = rows(&database);
    let mut transaction = admin.transaction().expect("BEGIN");
    assert_eq!(rotate(&mut transaction).expect("a new master key"), 1);
    transaction.rollback().expect("ROLLBACK");
    assert_eq!(rows(&database), before);
    database.end_gateway();
    call(&mut admin).expect("an answer");
    // The next one makes one more, and what was rolled back is in nobody's way.
    assert_eq!(rotate(&mut admin).expect("a new master key"), 1);
    assert_eq!(master_keys(&cluster).len(), 3);
    database.end_gateway();
    call(&mut admin).expect("an answer");
}

#[test]
fn without_a_key_there_is_nothing_to_seal_and_no_file_is_made() {
    let cluster = Cluster::start(&[]);
    let database = Database::on(&cluster, Config::default());
    assert_eq!(rotate(&mut database.admin()).expect("nothing to do"), 0);
    assert!(key_files(&cluster).is_empty());
}

/// A key that does not open now would never open again.
#[test]
fn where_one_key_does_not_open_nothing_is_changed() {
    let cluster = Cluster::start(&[]);
    let database = Database::on(&cluster, Config::default());
    let mut admin = database.admin();
    set_key(&mut admin, KEY, "default").expect("a key");
    set_key(&mut admin, "sk-or-v1-broken", "broken").expect("a key");
    let damage = "UPDATE hiems_private.api_keys SET version = 7 WHERE name = 'broken'";
    admin.batch_execute(damage).expect("damage");
    let (before, file) = (rows(&database), read(&cluster));
    let refusal = rotate(&mut admin).refusal();
    assert_eq!(refusal.sqlstate, "PT503");
    assert!(refusal.detail.contains("\"broken\""), "{refusal:?}");
    assert_eq!((rows(&database), read(&cluster)), (before, file));
    admin.execute("SELECT hiems.drop_api_key('broken')", &[]).expect("it is dropped");
    assert_eq!(rotate(&mut admin).expect("a new master key"), 1);
}

#[test]
fn where_the_file_cannot_be_written_nothing_is_changed() {
    let cluster = Cluster::start(&[]);
    let database = Database::on(&cluster, Config::default());
    let mut admin = database.admin();
    set_key(&mut admin, KEY, "default").expect("a key");
    let (before, file) = (rows(&database), read(&cluster));
    // A folder where the new file is to be written.
    let in_the_way = own_file(&cluster).with_extension("new");
    fs::create_dir(&in_the_way).expect("a folder");
    let refusal = rotate(&mut admin).refusal();
    assert_eq!(refusal.sqlstate, "PT503");
    assert!(refusal.detail.contains("cannot be written"), "{refusal:?}");
    assert_eq!((rows(&database), read(&cluster)), (before, file.clone()));
    fs::remove_dir(&in_the_way).expect("the folder");
    // Full: a file of 64 kB is the largest that is read.
    let full = file.repeat(64 * 1024 / file.len());
    write(&cluster, &own_file(&cluster), &full, 0o600);
    let refusal = rotate(&mut admin).refusal();
    assert_eq!(refusal.sqlstate, "PT503");
    assert!(refusal.detail.contains("is full"), "{refusal:?}");
    assert_eq!(read(&cluster), full);
    write(&cluster, &own_file(&cluster), &file, 0o600);
    assert_eq!(rotate(&mut admin).expect("a new master key"), 1);
}

/// hiems writes no file of an operator's: the new key is put there first, and then used.
#[test]
fn an_operator_s_file_is_the_operator_s_to_change() {
    let cluster = Cluster::start(&[]);
    let mut database = Database::on(&cluster, Config::default());
    let file = cluster.folder.join("own.key");
    let (old, new) = ("0a".repeat(32), "0b".repeat(32));
    write(&cluster, &file, &old, 0o400);
    database.set("hiems.master_key_file", &file.to_string_lossy());
    let role = database.role_with("admin");
    let mut admin = database.connect(&role);
    set_key(&mut admin, KEY, "default").expect("a key");
    set_key(&mut admin, "sk-or-v1-second", "second").expect("a key");
    let before = rows(&database);
    let refusal = rotate(&mut admin).refusal();
    assert_eq!(refusal.sqlstate, "55000");
    assert_eq!(refusal.message, "there is no new master key to seal with");
    assert!(refusal.hint.contains("before the others"), "{refusal:?}");
    assert_eq!(rows(&database), before);

    let both = format!("{new} # of today\n{old}\n");
    write(&cluster, &file, &both, 0o400);
    call(&mut admin).expect("the older one opens what it sealed");
    // A key stored from now on is sealed with the first.
    set_key(&mut admin, "sk-or-v1-third", "third").expect("a key");
    assert_eq!(rotate(&mut admin).expect("the new master key"), 3);
    assert_eq!(fs::read_to_string(&file).expect("the file"), both);
    assert_eq!(rotate(&mut admin).sqlstate(), "55000");
    let used = database.text("SELECT count(DISTINCT master_key)::text FROM hiems.api_keys", &[]);
    assert_eq!(used.as_deref(), Some("1"));
    write(&cluster, &file, &new, 0o400);
    database.end_gateway();
    call(&mut admin).expect("an answer");
    assert_eq!(paid_by(&database), KEY);
    assert!(key_files(&cluster).is_empty());
}
