//! A listener in JavaScript, by npm's pg.

use std::io::{BufRead, BufReader};

use hiems_tests::{Database, start_node};
use serde_json::{Value, json};

use super::{Listener, call, ids, read};

#[test]
fn a_listener_in_javascript_is_told_what_one_in_rust_is() {
    let mut database = Database::new();
    let reader = database.role_with("reader");
    let config = database.config(&reader);
    let port = config.get_ports().first().copied().expect("a port");
    let mut node = start_node(
        include_str!("../../node/listen.mjs"),
        &json!({"host": "127.0.0.1", "port": port, "user": reader, "database": database.name}),
    );
    let mut lines = BufReader::new(node.stdout.take().expect("a pipe")).lines();
    let mut line = || lines.next().expect("a line").expect("node says something");
    assert_eq!(line(), "listening");
    let mut rust = Listener::of(&database);

    call(&mut database.admin(), "hello", "u");
    let told: Value = serde_json::from_str(&line()).expect("JSON");
    let payload = told["payload"].as_str().expect("a payload");
    assert_eq!(told["channel"], "hiems_usage");
    assert_eq!(payload, rust.next());
    assert_eq!(read(payload), (1, ids(&database)));
    // The row was there when the message came.
    let row = &database.ledger()[0];
    assert_eq!(
        told["rows"],
        json!([{"id": row["id"], "user_id": "u", "cost_usd": row["cost_usd"].to_string()}])
    );
    assert!(node.wait().expect("node ends").success());
}
