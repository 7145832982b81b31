//! A gateway of an older library, with calls in flight, makes way for one of this library.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use hiems_tests::{Cluster, Config, Database, wait_until};

use super::{COMMITTED, End, SOON, judge, start, wait_until_journalled};

/// Lets a gateway pass for one of an older library: greets new connections in its place, and tells it to
/// end when it is told so itself.
const OLDER: &str = r#"
import os, signal, socket, sys
oid, gateway = sys.argv[1], int(sys.argv[2])
path = f'pg_stat_tmp/hiems.{oid}.sock'
os.rename(path, path + '.of_the_older')
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen()
def leave(*_):
    os.remove(path)
    os.kill(gateway, signal.SIGTERM)
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
print('ready', flush=True)
connections = []
while True:
    connection, _ = listener.accept()
    connection.sendall(b'hiem' + (1).to_bytes(4, 'big'))
    connections.append(connection)
"#;

fn age(cluster: &Cluster, database: &Database, gateway: i32) -> Child {
    let oid = database
        .text("SELECT oid::text FROM pg_database WHERE datname = current_database()", &[])
        .expect("an OID");
    let owner = fs::metadata(cluster.data()).expect("the data directory");
    let mut older = Command::new("python3")
        .args(["-c", OLDER, &oid, &gateway.to_string()])
        .current_dir(cluster.data())
        .uid(owner.uid())
        .gid(owner.gid())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 runs");
    let mut ready = String::new();
    let output = older.stdout.take().expect("its output");
    BufReader::new(output).read_line(&mut ready).expect("a line");
    assert_eq!(ready, "ready\n");
    older
}

// It finishes what it can, for 10 seconds. The next one serves nobody before that, and takes nothing for
// lost that is still under way.
#[test]
fn an_older_gateway_finishes_its_calls_before_the_next_one_looks_at_them() {
    let cluster = Cluster::start(&[]);
    let database = Database::on(&cluster, Config::default());
    database.store_key();
    let short = start(database.admin(), "short", "4000");
    let long = start(database.admin(), "long", "20000");
    let mut admin = database.admin();
    wait_until_journalled(&mut admin, 2);
    let gateway = database.gateways()[0];
    let mut older = age(&cluster, &database, gateway);

    let new: Vec<_> = (0..8).map(|i| start(database.admin(), &format!("new{i}"), "0")).collect();
    assert!(older.wait().expect("its end").success(), "it was asked to leave, once");
    wait_until("the next gateway waits", SOON, || database.gateways().len() == 2);
    assert_eq!(database.fake.requests().len(), 2, "nobody is served meanwhile");
    short.end().1.expect("its answer: it was waited for");
    wait_until("the older gateway has left", SOON, || !database.gateways().contains(&gateway));
    long.end().1.expect_err("its gateway has gone");
    for running in new {
        running.end().1.expect("an answer of the next gateway");
    }
    assert_eq!(database.gateways().len(), 1);
    let new: Vec<String> = (0..8).map(|i| format!("new{i}")).collect();
    let mut calls = vec![("short", COMMITTED), ("long", End::Lost)];
    calls.extend(new.iter().map(|user| (user.as_str(), COMMITTED)));
    judge(&mut admin, &database.fake, &calls);
    assert_eq!(database.fake.requests().len(), 10);
}
