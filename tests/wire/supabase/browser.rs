//! A project as a browser sees it: PostgREST and a stand-in for Realtime behind one address, and tokens.

use std::io::{BufRead, BufReader};
use std::process::Child;

use hiems_tests::{run_node, start_node};
use serde_json::{Value, json};

use super::project::Project;
use super::realtime::has_wal2json;
use crate::postgrest::server::Server;
use crate::postgrest::token::{SECRET, claims, token};

/// Stopped when it is dropped, before the database.
pub struct Browser {
    realtime: Child,
    _server: Server,
    url: String,
    pub project: Project,
}

impl Browser {
    pub fn new(project: Project) -> Browser {
        let database = &project.database;
        let port = database.config("authenticator").get_ports()[0];
        let server = Server::over(database, "authenticator", "anon", &[]);
        let mut realtime = start_node(
            include_str!("../../node/realtime.mjs"),
            &json!({
                "database": {"host": "127.0.0.1", "port": port, "user": "supabase_admin", "database": database.name},
                "secret": SECRET,
                "rest": server.url(),
                "decoder": if has_wal2json() { "wal2json" } else { "test_decoding" },
            }),
        );
        let mut said = BufReader::new(realtime.stdout.take().expect("a pipe"));
        let mut port = String::new();
        said.read_line(&mut port).expect("its port");
        if port.is_empty() {
            panic!("no Realtime: {:?}", realtime.wait_with_output());
        }
        let url = format!("http://127.0.0.1:{}", port.trim());
        Browser { realtime, _server: server, url, project }
    }

    /// Runs a script of tests/node, told where the project is and `more`; what it prints is JSON.
    pub fn run(&self, script: &str, more: &Value) -> Value {
        run_node(script, &json!({"url": self.url, "key": anon(), "more": more}))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.realtime.kill();
        let _ = self.realtime.wait();
    }
}

/// A user's token.
pub fn user(sub: &str) -> String {
    token(&claims("authenticated", sub))
}

/// The project's public key.
pub fn anon() -> String {
    let mut anon = claims("anon", "");
    anon.as_object_mut().expect("claims").remove("sub");
    token(&anon)
}
