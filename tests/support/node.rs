//! Scripts of tests/node, run among what scripts/setup has installed from npm.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// Where scripts/setup installs what comes from npm.
pub fn node_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/node")
}

/// Starts a script with this JSON as its argument. It stands in [`node_folder`], so that it finds its
/// imports.
pub fn start_node(script: &str, argument: &Value) -> Child {
    let mut node = Command::new("node")
        .args(["--input-type=module", "-", &argument.to_string()])
        .current_dir(node_folder())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("node: scripts/setup installs it");
    let mut stdin = node.stdin.take().expect("a pipe");
    stdin.write_all(script.as_bytes()).expect("node reads its script");
    node
}

/// The same, to its end; what it prints is JSON.
pub fn run_node(script: &str, argument: &Value) -> Value {
    let output = start_node(script, argument).wait_with_output().expect("node ends");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"))
}
