//! The master key's file: made once, for its owner only, never made anew over rows it must open.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, chown, symlink};

use hiems_tests::{Cluster, Config, Database, KEY, ResultExt};

use super::{call, key_files, paid_by, refused, set_key, write};

#[test]
fn the_file_is_made_once_for_its_owner_only() {
    let mut cluster = Cluster::start(&[]);
    let file = cluster.data().join("hiems_master.key");
    {
        let database = Database::on(&cluster, Config::default());
        let mut admin = database.admin();
        refused(&database, &mut admin);
        assert!(key_files(&cluster).is_empty(), "made before a key is stored");
        set_key(&mut admin, KEY, "default").expect("a key");
        call(&mut admin).expect("an answer");
    }
    let about = fs::metadata(&file).expect("the file");
    assert_eq!(about.mode() & 0o7777, 0o600);
    let text = fs::read_to_string(&file).expect("the file");
    let digits = text.trim_end();
    assert_eq!(digits.len(), 64);
    assert!(digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    {
        // Another database of the server, another key, another start: the same file.
        let database = Database::on(&cluster, Config::default());
        set_key(&mut database.admin(), KEY, "default").expect("a key");
    }
    cluster.stop("fast");
    cluster.restart();
    let database = Database::on(&cluster, Config::default());
    let mut admin = database.admin();
    set_key(&mut admin, KEY, "default").expect("a key");
    call(&mut admin).expect("an answer");
    assert_eq!(fs::read_to_string(&file).expect("the file"), text);
    assert_eq!(key_files(&cluster), [file]);
}

#[test]
fn sixteen_first_keys_at_once_make_one_file() {
    let cluster = Cluster::start(&[]);
    let databases: Vec<_> = (0..4).map(|_| Database::on(&cluster, Config::default())).collect();
    std::thread::scope(|scope| {
        for database in &databases {
            for number in 0..4 {
                let mut client = database.admin();
                scope.spawn(move || {
                    set_key(&mut client, KEY, &format!("k{number}")).expect("a key");
                });
            }
        }
    });
    for database in &databases {
        database.set("hiems.api_key_name", "k3");
        database.end_gateway();
        call(&mut database.admin()).expect("it opens");
    }
    assert_eq!(key_files(&cluster).len(), 1);
}

/// A file's text and mode; None where it is missing.
type State<'a> = Option<(&'a str, u32)>;

/// Each is something that can happen to the file, and what the DETAIL then says.
#[test]
fn a_file_that_cannot_be_used_is_left_alone() {
    let cluster = Cluster::start(&[]);
    let database = Database::on(&cluster, Config::default());
    let mut admin = database.admin();
    set_key(&mut admin, KEY, "default").expect("a key");
    let file = cluster.data().join("hiems_master.key");
    let right = fs::read_to_string(&file).expect("the file");
    let wrong = "0123456789abcdef".repeat(4);
    let damaged = format!("{}\n0123456789", right.trim());
    let huge = right.repeat(2_000);
    let doubled = right.trim().repeat(2);
    let cases: [(&str, State, &str); 13] = [
        ("missing", None, "does not exist"),
        ("wrong", Some((&wrong, 0o600)), "sealed with another master key"),
        ("for all to read", Some((&right, 0o644)), "set it to 0600"),
        ("for all to write", Some((&right, 0o602)), "set it to 0600"),
        ("empty", Some(("", 0o600)), "64 hexadecimal digits"),
        ("half", Some((&right[..32], 0o600)), "64 hexadecimal digits"),
        ("for a group to read", Some((&right, 0o640)), "set it to 0600"),
        ("too long", Some((&doubled, 0o600)), "64 hexadecimal digits"),
        ("a comment alone", Some(("# none", 0o600)), "64 hexadecimal digits"),
        ("a damaged second line", Some((&damaged, 0o600)), "64 hexadecimal digits"),
        ("not text", Some(("\u{0}\u{1}\u{7F}", 0o600)), "64 hexadecimal digits"),
        ("huge", Some((&huge, 0o600)), "is larger than 64 kB"),
        ("no digits", Some((&"g".repeat(64), 0o600)), "64 hexadecimal digits"),
    ];
    for (what, state, says) in cases {
        match state {
            None => fs::remove_file(&file).expect("the file"),
            Some((text, mode)) => write(&cluster, &file, text, mode),
        }
        database.end_gateway();
        let refusal = refused(&database, &mut admin);
        assert!(refusal.detail.contains(says), "{what}: {refusal:?}");
        assert_eq!(file.exists(), state.is_some(), "{what}");
        if let Some((text, _)) = state {
            assert_eq!(fs::read_to_string(&file).expect("the file"), text, "{what}");
            assert_eq!(key_files(&cluster).len(), 1, "{what}");
        } else {
            assert!(key_files(&cluster).is_empty(), "{what}");
        }
    }
    // Something else in its place: a folder, a pipe that nobody writes to, a link to nowhere.
    fs::remove_file(&file).expect("the file");
    fs::create_dir(&file).expect("a folder");
    let refusal = refused(&database, &mut admin);
    assert!(refusal.detail.contains("is not a regular file"), "{refusal:?}");
    fs::remove_dir(&file).expect("the folder");
    let owner = fs::metadata(cluster.data()).expect("the data directory");
    make_pipe(&file);
    chown(&file, Some(owner.uid()), Some(owner.gid())).expect("an owner");
    let refusal = refused(&database, &mut admin);
    assert!(refusal.detail.contains("is not a regular file"), "{refusal:?}");
    fs::remove_file(&file).expect("the pipe");
    symlink(cluster.folder.join("nowhere"), &file).expect("a link");
    let refusal = refused(&database, &mut admin);
    assert!(refusal.detail.contains("does not exist"), "{refusal:?}");
    fs::remove_file(&file).expect("the link");

    write(&cluster, &file, &right, 0o600);
    call(&mut admin).expect("the right file opens it, without a restart");
    assert_eq!(paid_by(&database), KEY);
}

fn make_pipe(path: &std::path::Path) {
    let name = CString::new(path.as_os_str().as_bytes()).expect("a path");
    // SAFETY: a plain call with a C string.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
}

/// As with PostgreSQL's own `ssl_key_file`: the server's own file, or root's that a group may read.
#[test]
fn whose_file_it_is_matters() {
    let cluster = Cluster::start(&[]);
    let database = Database::on(&cluster, Config::default());
    let mut admin = database.admin();
    set_key(&mut admin, KEY, "default").expect("a key");
    let file = cluster.data().join("hiems_master.key");
    let owner = fs::metadata(&file).expect("the file");
    let right = fs::read_to_string(&file).expect("the file");
    // Only root gives files away.
    if owner.uid() == fs::metadata("/proc/self").expect("this process").uid() {
        println!("SKIPPED in part: to give files to other users, tests must run as root");
        return;
    }
    for (what, uid, mode, says) in [
        ("another user's", owner.uid() + 1, 0o640, "belongs to another user"),
        ("root's, for its group to write", 0, 0o660, "set it to 0640"),
        ("root's, for all to read", 0, 0o644, "set it to 0640"),
        ("root's alone", 0, 0o600, "cannot be read"),
    ] {
        write(&cluster, &file, &right, mode);
        chown(&file, Some(uid), None).expect("an owner");
        database.end_gateway();
        let refusal = refused(&database, &mut admin);
        assert!(refusal.detail.contains(says), "{what}: {refusal:?}");
    }
    write(&cluster, &file, &right, 0o640);
    chown(&file, Some(0), None).expect("an owner");
    call(&mut admin).expect("root's file, that the server's group may read, opens it");
}

/// A caller learns that the file is missing, and not where it should be.
#[test]
fn an_error_does_not_say_where_an_operator_s_file_is() {
    let cluster = Cluster::start(&[]);
    let mut database = Database::on(&cluster, Config::default());
    set_key(&mut database.admin(), KEY, "default").expect("a key");
    let file = cluster.folder.join("hidden-place.key");
    database.set("hiems.master_key_file", &file.to_string_lossy());
    database.end_gateway();
    let role = database.role_with("caller");
    let refusal = refused(&database, &mut database.connect(&role));
    assert!(refusal.detail.contains("does not exist"), "{refusal:?}");
    assert!(!format!("{refusal:?}").contains("hidden-place"), "{refusal:?}");
}

#[test]
fn a_file_of_one_s_own_is_used_and_never_made() {
    let cluster = Cluster::start(&[]);
    let database = Database::on(&cluster, Config::default());
    let file = cluster.folder.join("own.key");
    database.set("hiems.master_key_file", &file.to_string_lossy());
    let mut admin = database.admin();
    let missing = set_key(&mut admin, KEY, "default").refusal();
    assert_eq!(missing.sqlstate, "PT503");
    assert!(missing.detail.contains("does not exist"), "{missing:?}");
    assert!(!file.exists());
    for (text, mode) in [("", 0o600), ("zz", 0o600), (&*"0f".repeat(32), 0o604)] {
        write(&cluster, &file, text, mode);
        let set = set_key(&mut admin, KEY, "default").refusal();
        assert_eq!(set.sqlstate, "PT503", "{text}");
    }
    assert_eq!(database.count("hiems_private.api_keys"), 0);
    write(&cluster, &file, &"0F".repeat(32), 0o600);
    set_key(&mut admin, KEY, "default").expect("a key");
    database.end_gateway();
    call(&mut admin).expect("an answer");
    assert_eq!(paid_by(&database), KEY);
    assert!(key_files(&cluster).is_empty());

    // Where it is, is nobody's business but a superuser's.
    let mut database = database;
    let role = database.role_with("admin");
    let mut client = database.connect(&role);
    client.batch_execute("SELECT hiems.current_principal()").expect("loaded");
    let show = client.batch_execute("SHOW hiems.master_key_file");
    assert_eq!(show.sqlstate(), "42501");
    let set = client.batch_execute("SET hiems.master_key_file = '/tmp/mine'");
    assert_eq!(set.sqlstate(), "42501");
}

/// Signs are no hexadecimal digits: such a file is damaged, and must not seal anything.
#[test]
fn a_damaged_file_seals_nothing() {
    let cluster = Cluster::start(&[]);
    let database = Database::on(&cluster, Config::default());
    let file = cluster.folder.join("own.key");
    write(&cluster, &file, &"+f".repeat(32), 0o600);
    database.set("hiems.master_key_file", &file.to_string_lossy());
    let set = set_key(&mut database.admin(), KEY, "default").refusal();
    assert_eq!(set.sqlstate, "PT503");
    assert!(set.detail.contains("64 hexadecimal digits"), "{set:?}");
}
