//! A gateway from before a library upgrade makes way; one from after it is not disturbed.

use std::fs;
use std::process::Child;

use hiems_tests::{
    Cluster, Config, Database, KEY, ResultExt, SOON, call, play_gateway, wait_until,
};

/// Plays a gateway: holds the lock, listens, says hello, and leaves when it is asked to.
const GATEWAY: &str = r#"
import fcntl, os, signal, socket, sys
oid, version = sys.argv[1], int(sys.argv[2])
lock = open(f'pg_stat_tmp/hiems.{oid}.lock', 'a')
fcntl.flock(lock, fcntl.LOCK_EX)
path = f'pg_stat_tmp/hiems.{oid}.sock'
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen()
def leave(*_):
    os.remove(path)
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
print('ready', flush=True)
connections = []
while True:
    connection, _ = listener.accept()
    connection.sendall(b'hiem' + version.to_bytes(4, 'big'))
    connections.append(connection)
"#;

fn play(cluster: &Cluster, database: &Database, version: u32) -> Child {
    play_gateway(cluster, database, GATEWAY, &version.to_string())
}

#[test]
fn an_old_gateway_under_a_new_library_is_replaced() {
    let cluster = Cluster::start(&[]);
    let database = Database::on(&cluster, Config::default());
    let mut old = play(&cluster, &database, 1);
    // Many at once find it.
    std::thread::scope(|scope| {
        for i in 0..8 {
            let mut client = database.admin();
            scope.spawn(move || {
                let store = "SELECT hiems.set_api_key($1, $2)";
                client.execute(store, &[&KEY, &format!("key{i}")]).expect("a key");
            });
        }
    });
    assert!(old.wait().expect("its end").success(), "it was asked to leave, and left in order");
    database.admin().execute("SELECT hiems.set_api_key($1)", &[&KEY]).expect("a key");
    call(&mut database.admin(), "{}").expect("an answer");
    assert_eq!(database.gateways().len(), 1);
    assert_eq!(database.count("hiems.ai_usage_logs"), 1);
}

#[test]
fn an_old_session_leaves_a_new_gateway_alone() {
    let cluster = Cluster::start(&[]);
    let database = Database::on(&cluster, Config::default());
    let mut new = play(&cluster, &database, 99);
    let refusal = call(&mut database.admin(), "{}").refusal();
    assert_eq!(refusal.sqlstate, "PT503");
    assert!(refusal.message.contains("newer version"), "{refusal:?}");
    assert!(refusal.hint.contains("Connect again"), "{refusal:?}");
    assert!(new.try_wait().expect("its state").is_none(), "it is still there");
    new.kill().expect("a kill");
    new.wait().expect("its end");
}

// While somebody has the lock there is no second gateway, and nothing is sent.
#[test]
fn two_gateways_never_serve_one_database() {
    let cluster = Cluster::start(&[]);
    let database = Database::on(&cluster, Config::default());
    database.admin().execute("SELECT hiems.set_api_key($1)", &[&KEY]).expect("a key");
    database.end_gateway();
    let oid = database.oid();
    let path = cluster.data().join(format!("pg_stat_tmp/hiems.{oid}.lock"));
    let lock = fs::File::options().append(true).open(path).expect("the lock file");
    lock.lock().expect("the lock");
    std::thread::scope(|scope| {
        let mut client = database.admin();
        let answer = scope.spawn(move || call(&mut client, "{}"));
        wait_until("the second gateway waits", SOON, || !database.gateways().is_empty());
        assert!(!answer.is_finished());
        assert_eq!(database.fake.requests().len(), 0);
        drop(lock);
        answer.join().expect("no panic").expect("an answer");
    });
    assert_eq!(database.gateways().len(), 1);
}
