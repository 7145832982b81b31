//! A project of Supabase's: its roles as its own init makes them, PostgREST in front, hiems opened to them.

use std::net::TcpStream;

use hiems_tests::{Database, KEY, run_node};
use serde_json::{Value, json};

use super::server::{Answer, Server};
use super::token::{claims, token};

/// The roles' names, unique in the server.
pub struct Roles {
    pub anon: String,
    pub authenticated: String,
    pub service_role: String,
    pub authenticator: String,
}

pub struct Site {
    /// First, so that it lets go of the database.
    pub server: Server,
    pub database: Database<'static>,
    pub roles: Roles,
}

impl Site {
    pub fn new() -> Site {
        Site::with(&[])
    }

    /// Where PostgREST has these variables in its environment, such as `("PGRST_DB_POOL", "3")`.
    pub fn with(environment: &[(&str, &str)]) -> Site {
        Site::on(Database::without_key(), environment)
    }

    /// Over this database.
    pub fn on(mut database: Database<'static>, environment: &[(&str, &str)]) -> Site {
        let roles = Roles {
            anon: database.role("anon"),
            authenticated: database.role("authenticated"),
            service_role: database.role("service_role"),
            authenticator: database.role("authenticator"),
        };
        let Roles { anon, authenticated, service_role, authenticator } = &roles;
        // https://github.com/supabase/postgres, migrations/db/init-scripts and migrations.
        database
            .admin()
            .batch_execute(&format!(
                "ALTER ROLE {anon} NOLOGIN NOINHERIT;
                 ALTER ROLE {authenticated} NOLOGIN NOINHERIT;
                 ALTER ROLE {service_role} NOLOGIN NOINHERIT BYPASSRLS;
                 ALTER ROLE {authenticator} NOINHERIT;
                 GRANT {anon}, {authenticated}, {service_role} TO {authenticator};
                 ALTER ROLE {anon} SET statement_timeout = '3s';
                 ALTER ROLE {authenticated} SET statement_timeout = '8s';
                 ALTER ROLE {authenticator} SET statement_timeout = '8s';
                 ALTER ROLE {authenticator} SET lock_timeout = '8s';
                 SELECT hiems.grant_access('{authenticated}', 'caller');
                 SELECT hiems.grant_access('{service_role}', 'service')"
            ))
            .expect("Supabase's roles");
        database.set("hiems.jwt_session_roles", authenticator);
        database.set("hiems.max_attempts", "1");
        database.admin().execute("SELECT hiems.set_api_key($1)", &[&KEY]).expect("a key");
        let server = Site::start(&database, &roles, environment);
        Site { server, database, roles }
    }

    fn start(database: &Database, roles: &Roles, environment: &[(&str, &str)]) -> Server {
        let pool = [("PGRST_DB_POOL", "10")];
        let all = [&pool, environment].concat();
        Server::over(database, &roles.authenticator, &roles.anon, &all)
    }

    /// A user's token.
    pub fn user(&self, sub: &str) -> String {
        token(&claims(&self.roles.authenticated, sub))
    }

    /// The project's service key.
    pub fn service(&self) -> String {
        token(&json!({"role": self.roles.service_role, "iss": "supabase"}))
    }

    /// The project's public key.
    pub fn anon(&self) -> String {
        token(&json!({"role": self.roles.anon, "iss": "supabase"}))
    }

    /// A function of hiems, with these arguments.
    pub fn rpc(&self, token: &str, function: &str, arguments: &Value) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [("Authorization", bearer.as_str()), ("Content-Profile", "hiems")];
        self.server.say("POST", &format!("/rpc/{function}"), &headers, &arguments.to_string())
    }

    /// The same, where nobody waits for the answer while the connection is held.
    pub fn send(&self, token: &str, function: &str, arguments: &Value) -> TcpStream {
        let bearer = format!("Bearer {token}");
        let headers = [("Authorization", bearer.as_str()), ("Content-Profile", "hiems")];
        self.server
            .send("POST", &format!("/rpc/{function}"), &headers, &arguments.to_string())
            .expect("a connection")
    }

    /// What is read at this path of schema hiems.
    pub fn get(&self, token: &str, path: &str) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [("Authorization", bearer.as_str()), ("Accept-Profile", "hiems")];
        self.server.say("GET", path, &headers, "")
    }

    /// Runs a script of tests/node, told where the site is and `more`; what it prints is JSON.
    pub fn node(&self, script: &str, more: &Value) -> Value {
        let site = json!({"url": self.server.url(), "key": self.anon(), "more": more});
        run_node(script, &site)
    }
}

/// The arguments of a call that has these `fake_*` wishes.
pub fn prompt(wishes: &[(&str, &str)]) -> Value {
    let metadata: serde_json::Map<String, Value> =
        wishes.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    json!({
        "model": "openai/gpt-4o-mini",
        "messages": [{"role": "user", "content": "hello"}],
        "options": {"metadata": metadata},
    })
}
