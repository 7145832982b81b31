//! The databases of one server share the master keys' file: none locks another out.

use hiems_tests::{Cluster, Config, Database, KEY};

use super::{call, master_keys, own_file, paid_by, rotate, set_key, write};

#[test]
fn a_rotation_in_one_leaves_the_other_s_keys_open() {
    let cluster = Cluster::start(&[]);
    let [first, second] = [(); 2].map(|()| Database::on(&cluster, Config::default()));
    let both = [&first, &second];
    for database in both {
        set_key(&mut database.admin(), KEY, "default").expect("a key");
    }
    let assert_open = |what: &str| {
        for database in both {
            database.end_gateway();
            call(&mut database.admin()).expect(what);
            assert_eq!(paid_by(database), KEY);
        }
    };
    rotate(&mut first.admin()).expect("a new master key");
    rotate(&mut first.admin()).expect("another");
    assert_eq!(master_keys(&cluster).len(), 3);
    assert_open("one was rotated");
    set_key(&mut second.admin(), "sk-or-v1-other", "other").expect("sealed with the newest");
    rotate(&mut second.admin()).expect("a new master key");
    assert_open("both were rotated");

    // The keys that no database names any more are an operator's to take out.
    let keys = master_keys(&cluster);
    assert_eq!(keys.len(), 4);
    write(&cluster, &own_file(&cluster), &format!("{}\n{}\n", keys[0], keys[1]), 0o600);
    assert_open("the old ones are out");
    rotate(&mut first.admin()).expect("a new master key");
    assert_eq!(master_keys(&cluster)[1..], keys[..2]);
    assert_open("and on");
}

/// Each reads the file, puts a key before the others, and writes it: none may lose another's.
#[test]
fn rotations_at_once_lose_no_key() {
    const ROUNDS: usize = 6;
    let cluster = Cluster::start(&[]);
    let databases: Vec<_> = (0..4).map(|_| Database::on(&cluster, Config::default())).collect();
    for database in &databases {
        set_key(&mut database.admin(), KEY, "default").expect("a key");
    }
    std::thread::scope(|scope| {
        for database in &databases {
            scope.spawn(|| {
                let mut admin = database.admin();
                for _ in 0..ROUNDS {
                    assert_eq!(rotate(&mut admin).expect("a new master key"), 1);
                }
            });
        }
    });
    assert_eq!(master_keys(&cluster).len(), 1 + databases.len() * ROUNDS);
    for database in &databases {
        database.end_gateway();
        call(&mut database.admin()).expect("it opens");
    }
}
