//! A database as Supabase makes one: its roles, Realtime's tables and functions, an empty publication. What they
//! do is what Supabase's own do; who owns them, too.

use std::sync::Once;

use hiems_tests::{Config, Database, SOON, directives, logical_cluster, user_message, wait_until};
use postgres::{Client, Error, Transaction};
use serde_json::{Value, json};

/// https://github.com/supabase/postgres, migrations/db/init-scripts and migrations.
pub const ROLES: &str = "
    CREATE ROLE supabase_admin SUPERUSER LOGIN;
    CREATE ROLE project_owner LOGIN CREATEDB CREATEROLE REPLICATION BYPASSRLS;
    CREATE ROLE anon NOLOGIN NOINHERIT;
    CREATE ROLE authenticated NOLOGIN NOINHERIT;
    CREATE ROLE service_role NOLOGIN NOINHERIT BYPASSRLS;
    CREATE ROLE authenticator LOGIN NOINHERIT;
    CREATE ROLE supabase_realtime_admin NOLOGIN NOINHERIT;
    GRANT anon, authenticated, service_role TO authenticator, project_owner;
    ALTER ROLE anon SET statement_timeout = '3s';
    ALTER ROLE authenticated SET statement_timeout = '8s';
    ALTER ROLE authenticator SET statement_timeout = '8s';
    ALTER ROLE authenticator SET lock_timeout = '8s'";

/// https://github.com/supabase/realtime, lib/realtime/tenants/repo/migrations.
pub const REALTIME: &str = "
    CREATE SCHEMA auth;
    GRANT USAGE ON SCHEMA auth TO anon, authenticated, service_role;
    CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql STABLE AS $$
        SELECT (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid $$;
    CREATE SCHEMA realtime;
    GRANT USAGE ON SCHEMA realtime TO anon, authenticated, service_role, project_owner,
                                      supabase_realtime_admin;
    CREATE TABLE realtime.messages (
        topic text NOT NULL, extension text NOT NULL, payload jsonb, event text,
        private boolean DEFAULT false, updated_at timestamp NOT NULL DEFAULT now(),
        inserted_at timestamp NOT NULL DEFAULT now(), id uuid NOT NULL DEFAULT gen_random_uuid(),
        PRIMARY KEY (id, inserted_at)
    ) PARTITION BY RANGE (inserted_at);
    ALTER TABLE realtime.messages ENABLE ROW LEVEL SECURITY;
    ALTER TABLE realtime.messages OWNER TO supabase_realtime_admin;
    GRANT SELECT, INSERT, UPDATE ON realtime.messages TO anon, authenticated, service_role, project_owner;
    DO $$ BEGIN
        FOR day IN -1..3 LOOP
            EXECUTE format('CREATE TABLE realtime.%I PARTITION OF realtime.messages
                                FOR VALUES FROM (%L) TO (%L)',
                           'messages_' || to_char(current_date + day, 'YYYY_MM_DD'),
                           (current_date + day)::timestamp, (current_date + day + 1)::timestamp);
        END LOOP;
    END $$;
    CREATE FUNCTION realtime.topic() RETURNS text LANGUAGE sql STABLE AS $$
        SELECT nullif(current_setting('realtime.topic', true), '')::text $$;
    CREATE FUNCTION realtime.send(payload jsonb, event text, topic text, private boolean DEFAULT true)
    RETURNS void LANGUAGE plpgsql AS $$
    DECLARE
        generated_id uuid;
        final_payload jsonb;
    BEGIN
        BEGIN
            generated_id := gen_random_uuid();
            final_payload := payload;
            IF NOT payload ? 'id' THEN
                final_payload := jsonb_set(payload, '{id}', to_jsonb(generated_id));
            END IF;
            EXECUTE format('SET LOCAL realtime.topic TO %L', topic);
            INSERT INTO realtime.messages (id, payload, event, topic, private, extension)
            VALUES (generated_id, final_payload, event, topic, private, 'broadcast');
        EXCEPTION WHEN OTHERS THEN
            RAISE WARNING 'WarnSendingBroadcastMessage: %', SQLERRM;
        END;
    END $$;
    CREATE PUBLICATION supabase_realtime";

pub struct Project {
    pub database: Database<'static>,
}

impl Project {
    /// Where nothing of hiems is opened yet.
    pub fn closed() -> Project {
        let cluster = logical_cluster();
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let mut server = cluster.connect("postgres", "postgres");
            server.batch_execute(ROLES).expect("Supabase's roles");
            // PostgreSQL's minor versions of 2026-08 and later load no decoder that is not named there.
            let setting = "SELECT FROM pg_settings WHERE name = 'output_plugin_libraries'";
            if !server.query(setting, &[]).expect("the settings").is_empty() {
                server
                    .batch_execute("ALTER SYSTEM SET output_plugin_libraries = pgoutput, test_decoding, wal2json")
                    .expect("a setting");
                server.batch_execute("SELECT pg_reload_conf()").expect("a reload");
            }
        });
        let database = Database::on(cluster, Config::default());
        database.admin().batch_execute(REALTIME).expect("Supabase's objects");
        database.set("hiems.max_attempts", "1");
        database.store_key();
        Project { database }
    }

    pub fn new() -> Project {
        let project = Project::closed();
        project.enable();
        project
    }

    /// As Supabase's own postgres does it, who is no superuser. By step: status and detail.
    pub fn enable(&self) -> Vec<(String, String, String)> {
        self.database
            .admin()
            .batch_execute("SELECT hiems.grant_access('project_owner', 'admin')")
            .expect("a level");
        self.steps("enable_supabase")
    }

    pub fn steps(&self, function: &str) -> Vec<(String, String, String)> {
        self.database
            .connect("project_owner")
            .query(&format!("SELECT step, status, detail FROM hiems.{function}()"), &[])
            .expect("the steps")
            .iter()
            .map(|row| (row.get(0), row.get(1), row.get(2)))
            .collect()
    }

    /// What hiems.check_supabase() finds wrong: name, status, detail.
    pub fn problems(&self) -> Vec<(String, String, String)> {
        self.database
            .connect("project_owner")
            .query("SELECT name, status, detail, hint FROM hiems.check_supabase()", &[])
            .expect("the checks")
            .iter()
            .filter(|row| {
                let (status, hint) = (row.get::<_, String>(1), row.get::<_, Option<String>>(3));
                assert_eq!(hint.is_none(), status == "ok", "{row:?}");
                status != "ok"
            })
            .map(|row| (row.get(0), row.get(1), row.get(2)))
            .collect()
    }

    /// One request, as PostgREST makes it; kept if `body` says so.
    pub fn request<R>(
        &self,
        client: &mut Client,
        role: &str,
        claims: &str,
        body: impl FnOnce(&mut Transaction) -> Result<(R, bool), Error>,
    ) -> Result<R, Error> {
        let mut request = client.transaction().expect("a transaction");
        become_one(&mut request, role, claims);
        let (result, is_kept) = body(&mut request)?;
        match is_kept {
            true => request.commit()?,
            false => request.rollback()?,
        }
        Ok(result)
    }

    /// A user's call that is committed; the id of its row.
    pub fn call(&self, sub: &str) -> String {
        let mut client = self.database.connect("authenticator");
        let called = self.request(&mut client, "authenticated", &claims(sub), |request| {
            Ok((call(request, &[])?, true))
        });
        called.expect("an answer")
    }

    /// What was broadcast of calls: topic and payload, in the order of sending.
    pub fn events(&self) -> Vec<(String, Value)> {
        self.database
            .admin()
            .query(
                "SELECT topic, payload::text, event, private FROM realtime.messages
                 WHERE extension = 'broadcast' ORDER BY inserted_at, xmin::text::bigint",
                &[],
            )
            .expect("messages")
            .iter()
            .map(|row| {
                assert_eq!((row.get(2), row.get(3)), ("usage", true));
                (row.get(0), serde_json::from_str(row.get(1)).expect("JSON"))
            })
            .collect()
    }

    /// Waits until so many events have been sent.
    pub fn wait_until_sent(&self, events: usize) -> Vec<(String, Value)> {
        wait_until("the events are sent", SOON, || self.events().len() >= events);
        self.events()
    }
}

/// From now on this transaction is a request of this role's, with these claims.
pub fn become_one(transaction: &mut Transaction, role: &str, claims: &str) {
    transaction
        .execute(
            "SELECT set_config('role', $1, true), set_config('request.jwt.claims', $2, true)",
            &[&role, &claims],
        )
        .expect("a role");
}

pub fn claims(sub: &str) -> String {
    json!({"sub": sub, "role": "authenticated", "aud": "authenticated"}).to_string()
}

/// A call with these `fake_*` wishes; the id of its row, where it is booked by then.
pub fn call(transaction: &mut Transaction, wishes: &[(&str, &str)]) -> Result<String, Error> {
    transaction.query_one(
        "SELECT hiems.submit_prompt('openai/gpt-4o-mini', $1::text::jsonb, options => $2::text::jsonb)",
        &[&user_message("my prompt"), &directives(wishes)],
    )?;
    let booked = "SELECT id::text FROM hiems.ai_usage_logs ORDER BY booked_at DESC LIMIT 1";
    Ok(transaction.query_one(booked, &[])?.get(0))
}

/// Claims that no good client has, and that must be nobody's, without an error.
pub fn poisoned() -> Vec<String> {
    let deep = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
    [
        "",
        "{}",
        "null",
        "[]",
        "no json",
        "{\"sub\": null}",
        "{\"sub\": \"\"}",
        "{\"sub\": 1}",
        "{\"sub\": {\"sub\": \"ada\"}}",
        "{\"sub\": [\"ada\"]}",
        "{\"sub\": \"a\\u0000da\"}",
        "{\"sub\": \"\\ud800\"}",
        "{\"sub\": \"ada\"",
        "{\"sub\": \"ada\", \"sub\": \"bea\"}",
        "{\"sub\": \"' OR true --\"}",
        "{\"sub\": \"ADA\"}",
        "{\"sub\": \"ada \"}",
        "{\"sub\": \"%\"}",
        "{\"sub\": \"no-uuid\", \"role\": {\"a\": 1e999999}}",
    ]
    .into_iter()
    .map(str::to_owned)
    .chain([
        deep.clone(),
        format!("{{\"sub\": {deep}}}"),
        format!("{{\"x\": {deep}, \"sub\": \"ada\""),
    ])
    .collect()
}
