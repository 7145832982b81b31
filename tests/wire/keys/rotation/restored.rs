//! A dump that is restored on another server, whose master key is another one.

use std::io::Write;
use std::process::{Command, Stdio};

use hiems_tests::{Cluster, Config, Database, KEY};

use super::{call, master_keys, own_file, paid_by, refused, rotate, set_key, write};

/// A program of PostgreSQL's, for this database.
fn program(database: &Database, name: &str) -> Command {
    let ask = |sql: &str| database.text(sql, &[]).expect(sql);
    let folder = ask("SELECT setting FROM pg_config WHERE name = 'BINDIR'");
    let mut command = Command::new(format!("{folder}/{name}"));
    command.args(["--host", "127.0.0.1", "--username", "postgres", "--dbname", &database.name]);
    command.args(["--port", &ask("SHOW port")]);
    command
}

#[test]
fn the_old_master_key_below_the_new_one_opens_what_was_dumped() {
    let (old, new) = (Cluster::start(&[]), Cluster::start_unlike_others(&[], &[]));
    let from = Database::on(&old, Config::default());
    set_key(&mut from.admin(), KEY, "default").expect("a key");
    rotate(&mut from.admin()).expect("a new master key");
    let dump = program(&from, "pg_dump").output().expect("pg_dump runs");
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));

    let neighbour = Database::on(&new, Config::default());
    set_key(&mut neighbour.admin(), KEY, "default").expect("the new server's own");
    let mut to = Database::on(&new, Config::default());
    // The first databases of two servers may have the same OID.
    while to.oid() == from.oid() {
        to = Database::on(&new, Config::default());
    }
    to.admin()
        .batch_execute("SET hiems.allow_drop = on; DROP EXTENSION hiems")
        .expect("the dump makes it");
    let mut psql = program(&to, "psql")
        .args(["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("psql runs");
    psql.stdin.take().expect("its input").write_all(&dump.stdout).expect("the dump is read");
    assert!(psql.wait().expect("psql ends").success());

    let mut admin = to.admin();
    let refusal = refused(&to, &mut admin);
    assert!(refusal.detail.contains("another master key"), "{refusal:?}");
    let (theirs, ours) = (master_keys(&old), master_keys(&new));
    let lines = format!("{}\n{}\n", ours[0], theirs[0]);
    write(&new, &own_file(&new), &lines, 0o600);
    let refusal = refused(&to, &mut admin);
    assert_eq!(refusal.message, "the stored OpenRouter key is another database's");
    rotate(&mut admin).expect_err("no master key makes it this one's");
    let adopted: i64 =
        admin.query_one("SELECT hiems.adopt_api_keys()", &[]).expect("a superuser's word").get(0);
    assert_eq!(adopted, 1);
    call(&mut admin).expect("it opens without a restart");
    assert_eq!(paid_by(&to), KEY);
    // A new key is sealed with the server's own first line, beside the restored ones.
    set_key(&mut admin, "sk-or-v1-other", "other").expect("a key");
    assert_eq!(rotate(&mut admin).expect("a new master key"), 2);
    let kept = master_keys(&new);
    write(&new, &own_file(&new), &format!("{}\n{}\n", kept[0], ours[0]), 0o600);
    for database in [&to, &neighbour] {
        database.end_gateway();
        call(&mut database.admin()).expect("without the dumped server's line");
    }
}
