//! Two gateways at a time, with calls in flight.

use std::fs;

use hiems_tests::{Cluster, Config, Database, ResultExt, play_gateway, wait_until};

use super::traffic::agree_with_bill;
use super::{
    COMMITTED, End, LONG_MS, SOON, call_as, judge, ledger_of, start, wait_until_journalled,
};

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
    let mut older = play_gateway(&cluster, &database, OLDER, &gateway.to_string());

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

// The lock keeps them apart. Should somebody remove it, they still send nothing again, and book nothing
// twice.
#[test]
fn two_gateways_without_a_lock_between_them_book_each_call_once() {
    let cluster = Cluster::start(&[]);
    let database = Database::on(&cluster, Config::default());
    database.store_key();
    let mut admin = database.admin();
    let flying = start(database.admin(), "flying", "2000");
    let cancelled = start(database.admin(), "cancelled", LONG_MS);
    wait_until_journalled(&mut admin, 2);
    let oid = database.oid();
    for file in ["lock", "sock"] {
        let path = cluster.data().join(format!("pg_stat_tmp/hiems.{oid}.{file}"));
        fs::remove_file(path).expect("the gateway's file");
    }
    call_as(&mut database.admin(), "new", "0").expect("an answer of the second gateway");
    assert_eq!(database.gateways().len(), 2);
    admin.execute("SELECT pg_cancel_backend($1)", &[&cancelled.pid]).expect("a signal");
    assert_eq!(cancelled.end().1.sqlstate(), "57014");
    flying.end().1.expect("its answer, of the first gateway");
    // The second one took the first one's calls for lost.
    let rows = ledger_of(&mut admin, &database.fake);
    assert_eq!(rows.len(), 3);
    let outcomes = agree_with_bill(&mut admin, &database.fake, &rows, 0);
    assert_eq!(outcomes["committed"], 2, "{outcomes:?}");
    assert_eq!(database.fake.requests().len(), 3);
}
