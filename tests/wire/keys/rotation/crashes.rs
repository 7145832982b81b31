//! The server crashes in the middle of a rotation, at each of its steps: the keys open afterwards.

use std::fs;

use hiems_tests::{Cluster, Config, Database, Fake, KEY};
use postgres::Client;

use super::super::{call as call_in, set_key, write};
use super::{master_keys, own_file, rotate};

/// A server with a key stored, that can be stopped and started.
struct Crashing {
    cluster: Cluster,
    name: String,
    fake: std::sync::Arc<Fake>,
}

impl Crashing {
    fn start() -> Crashing {
        let cluster = Cluster::start(&[]);
        let database = Database::on(&cluster, Config::default());
        set_key(&mut database.admin(), KEY, "default").expect("a key");
        let (name, fake) = database.into_parts();
        Crashing { cluster, name, fake }
    }

    fn connect(&self) -> Client {
        self.cluster.connect(&self.name, "postgres")
    }

    /// Stops it as a crash does, starts it again, and calls.
    fn crash(&mut self) {
        self.cluster.stop("immediate");
        self.cluster.restart();
        // The fake's port has not changed.
        call_in(&mut self.connect()).expect("the key opens after the crash");
        let requests = self.fake.requests();
        assert_eq!(requests.last().map(|request| request.key.as_str()), Some(KEY));
    }
}

#[test]
fn before_the_new_file_has_its_name() {
    let mut server = Crashing::start();
    let before = master_keys(&server.cluster);
    // What such a crash leaves: a part of the new file.
    let half = own_file(&server.cluster).with_extension("new");
    write(&server.cluster, &half, &"0c".repeat(20), 0o600);
    server.crash();
    assert_eq!(master_keys(&server.cluster), before);
    rotate(&mut server.connect()).expect("a new master key");
    assert!(!half.exists(), "the half file is still there");
    server.crash();
    assert!(!fs::read_to_string(own_file(&server.cluster)).expect("it").contains(&"0c".repeat(20)));
}

#[test]
fn before_the_rows_are_committed() {
    let mut server = Crashing::start();
    let mut client = server.connect();
    client.batch_execute("BEGIN").expect("BEGIN");
    rotate(&mut client).expect("a new master key");
    assert_eq!(master_keys(&server.cluster).len(), 2);
    // While it waits, a call goes on.
    call_in(&mut server.connect()).expect("an answer");
    server.crash();
    rotate(&mut server.connect()).expect("a new master key");
    server.crash();
}

#[test]
fn after_the_commit() {
    let mut server = Crashing::start();
    for round in 1..=3 {
        rotate(&mut server.connect()).expect("a new master key");
        server.crash();
        assert_eq!(master_keys(&server.cluster).len(), 1 + round);
    }
}
