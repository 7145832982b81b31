//! The OpenRouter key: sealed in the table, open only in the gateway, and the one that pays.

mod check;
mod choice;
mod handover;
mod listing;
mod log;
mod master;
mod memory;
mod printed;
mod rotation;
mod rows;
mod said;
mod secrecy;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use hiems_tests::{Cluster, Database, Refusal, ResultExt, user_message};
use postgres::{Client, Error, GenericClient};

fn call(client: &mut impl GenericClient) -> Result<String, Error> {
    let row = client.query_one(
        "SELECT hiems.submit_prompt('openai/gpt-4o-mini', $1::text::jsonb) ->> 'id'",
        &[&user_message("hello")],
    )?;
    Ok(row.get(0))
}

fn set_key(client: &mut impl GenericClient, key: &str, name: &str) -> Result<u64, Error> {
    client.execute("SELECT hiems.set_api_key($1, $2)", &[&key, &name])
}

/// The key that the last request came with.
fn paid_by(database: &Database) -> String {
    let requests = database.fake.requests();
    requests.last().expect("a request").key.clone()
}

/// Calls, which must be refused before anything is sent.
fn refused(database: &Database, client: &mut Client) -> Refusal {
    let known = || {
        database.count(
            "(SELECT id FROM hiems_private.calls UNION SELECT id FROM hiems.ai_usage_logs) AS known",
        )
    };
    let before = (database.fake.requests().len(), known());
    let refusal = call(client).refusal();
    assert_eq!(refusal.sqlstate, "PT503", "{refusal:?}");
    assert_eq!((database.fake.requests().len(), known()), before);
    refusal
}

/// Writes a file as the server's own user would.
fn write(cluster: &Cluster, path: &Path, text: &str, mode: u32) {
    let owner = fs::metadata(cluster.data()).expect("the data directory");
    let _ = fs::remove_file(path);
    fs::write(path, text).expect("a file");
    chown(path, Some(owner.uid()), Some(owner.gid())).expect("an owner");
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("a mode");
}

/// The files in the data directory that look like a master key.
fn key_files(cluster: &Cluster) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(cluster.data())
        .expect("the data directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.to_string_lossy().contains("master"))
        .filter(|path| !path.to_string_lossy().contains("postmaster"))
        .collect();
    files.sort();
    files
}
