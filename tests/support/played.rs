//! A process that plays a gateway to those who look for one.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use crate::cluster::Cluster;
use crate::database::Database;

/// Runs a script in Python in the data directory, as the server's user, with the database's OID and another
/// argument; returns once it has said that it is ready.
pub fn play_gateway(cluster: &Cluster, database: &Database, script: &str, argument: &str) -> Child {
    let owner = fs::metadata(cluster.data()).expect("the data directory");
    let mut gateway = Command::new("python3")
        .args(["-c", script, &database.oid(), argument])
        .current_dir(cluster.data())
        .uid(owner.uid())
        .gid(owner.gid())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 runs");
    let mut ready = String::new();
    let output = gateway.stdout.take().expect("its output");
    BufReader::new(output).read_line(&mut ready).expect("a line");
    assert_eq!(ready, "ready\n");
    gateway
}
