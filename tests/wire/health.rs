//! `hiems.health()` says what is wrong, and what to do.

use std::collections::BTreeMap;

use hiems_tests::{
    Canned, Cluster, Config, Database, KEY, ResultExt, Running, call, directives,
    postgresql_version,
};
use postgres::Client;

/// By the check's name: status, detail, hint.
fn health(client: &mut Client) -> BTreeMap<String, (String, String, Option<String>)> {
    client
        .query("SELECT name, status, detail, hint FROM hiems.health()", &[])
        .expect("health")
        .iter()
        .map(|row| (row.get(0), (row.get(1), row.get(2), row.get(3))))
        .collect()
}

/// A finding that is not ok: it has this status, its detail these words, and it says what to do.
#[track_caller]
fn assert_found(client: &mut Client, name: &str, status: &str, words: &str) {
    let findings = health(client);
    let (found, detail, hint) = &findings[name];
    assert_eq!(found, status, "{name}: {detail}");
    assert!(detail.contains(words), "{name}: {detail}");
    assert!(hint.as_ref().is_some_and(|hint| !hint.is_empty()), "{name}: {detail}");
}

#[test]
fn a_database_that_is_well_says_so() {
    let database = Database::new();
    let mut client = database.admin();
    call(&mut client, "{}").expect("an answer");
    database.wait_until_booked();
    let findings = health(&mut client);
    let statuses: Vec<String> =
        findings.iter().map(|(name, (status, ..))| format!("{name} {status}")).collect();
    assert_eq!(
        statuses,
        [
            "api_keys ok",
            "clock ok",
            "gateway ok",
            "guards ok",
            "master_key warn",
            "notify_queue ok",
            "openrouter ok",
            "pending_spend ok",
            "preload ok",
            "queue ok",
            "settings ok",
            "unsettled_calls ok",
            "versions ok",
        ]
    );
    assert!(findings["gateway"].1.starts_with(&format!("pid {}", database.gateways()[0])));
    assert!(findings["clock"].1.contains("s from OpenRouter's"), "{:?}", findings["clock"]);
    assert!(findings["master_key"].1.contains("every base backup"), "{:?}", findings["master_key"]);
    for (status, detail, hint) in findings.values() {
        assert_ne!(detail, "");
        assert_eq!(hint.is_none(), status == "ok", "{detail}");
    }
}

#[test]
fn it_is_for_admins() {
    let mut database = Database::new();
    for level in ["caller", "reader", "service"] {
        let role = database.role_with(level);
        let read = database.connect(&role).query("SELECT * FROM hiems.health()", &[]);
        assert_eq!(read.sqlstate(), "42501", "{level}");
    }
    let role = database.role_with("admin");
    assert_eq!(health(&mut database.connect(&role)).len(), 13);
}

#[test]
fn what_keeps_calls_from_being_made_is_a_failure() {
    let database = Database::without_key();
    database.set("hiems.base_url", "http://example.org/api/v1");
    let mut client = database.admin();
    assert_found(&mut client, "api_keys", "fail", "no key is stored");
    assert_found(&mut client, "settings", "fail", "hiems.base_url must be https");
    assert_eq!(
        health(&mut client)["master_key"].0,
        "warn",
        "no key, nothing that cannot be opened"
    );

    client.execute("SELECT hiems.set_api_key($1)", &[&KEY]).expect("a key");
    assert!(health(&mut client)["api_keys"].1.contains("1 stored: default"));
    client
        .batch_execute("UPDATE hiems_private.api_keys SET ciphertext = ciphertext || '\\x00'")
        .expect("damage");
    assert_found(&mut client, "master_key", "fail", "the row was changed");

    client
        .batch_execute(
            "CREATE FUNCTION public.planted() RETURNS trigger LANGUAGE plpgsql
                 AS 'BEGIN RETURN NULL; END';
             CREATE TRIGGER planted AFTER INSERT ON hiems.ai_usage_logs
                 EXECUTE FUNCTION public.planted()",
        )
        .expect("a superuser's trigger");
    assert_found(&mut client, "guards", "fail", "\"planted\"");
}

#[test]
fn what_may_go_wrong_later_is_a_warning() {
    let database = Database::new();
    let mut client = database.admin();
    client
        .batch_execute(
            "UPDATE pg_extension SET extversion = '0.0.1' WHERE extname = 'hiems';
             ALTER EVENT TRIGGER hiems_guard_drop DISABLE",
        )
        .expect("changes");
    assert_found(&mut client, "versions", "warn", "extension 0.0.1");
    assert_found(&mut client, "guards", "warn", "hiems_guard_drop: disabled");
}

#[test]
fn calls_on_their_way_are_counted_with_their_cost() {
    let database = Database::new();
    let slow = directives(&[("fake_delay_ms", "5000")]);
    let running = Running::in_flight(&database, database.admin(), &slow, 1);
    let mut session = database.admin();
    session.batch_execute("BEGIN").expect("a begin");
    call(&mut session, &directives(&[("fake_cost", "0.0125")])).expect("an answer");
    call(&mut session, &directives(&[("fake_cost", "4.2e-7")])).expect("an answer");
    call(&mut session, &directives(&[("fake_no_usage", "true")])).expect("an answer");
    let findings = health(&mut database.admin());
    let pending = &findings["pending_spend"].1;
    assert!(
        pending.starts_with("3 calls, 0.01250042 USD, 1 of unknown cost, the oldest since "),
        "{pending}"
    );
    let unsettled = &findings["unsettled_calls"].1;
    assert!(unsettled.starts_with("1 in flight, the oldest for "), "{unsettled}");
    session.batch_execute("COMMIT").expect("a commit");
    running.end().1.expect("an answer");
    database.wait_until_booked();
    assert!(health(&mut session)["pending_spend"].1.starts_with("none"));
    // A transaction that has been open for hours is worth a word.
    session
        .batch_execute(
            "INSERT INTO hiems_private.calls
                 (id, state, created_at, settled_at, caller_xid, system_identifier, principal, entry)
             SELECT gen_random_uuid(), state, now() - interval '3 hours', now() - interval '2 hours',
                    pg_current_xact_id(), (SELECT system_identifier FROM pg_control_system()), 'x', '{}'
             FROM unnest(ARRAY['answered', 'sent']) AS state",
        )
        .expect("rows");
    assert_found(&mut session, "unsettled_calls", "warn", "1 in flight, the oldest for 03:00");
}

#[test]
fn a_clock_that_is_wrong_is_noticed() {
    let canned = Canned::start();
    let database = Database::without_key();
    database.set("hiems.base_url", &canned.base_url());
    let mut client = database.admin();
    client.execute("SELECT hiems.set_api_key($1)", &[&KEY]).expect("a key");
    assert!(health(&mut client)["clock"].1.contains("not compared"));
    let date = "date: Tue, 24 Nov 2015 10:00:00 GMT\r\n";
    canned.answer(200, date, br#"{"id": "gen-1", "choices": [{}]}"#);
    call(&mut client, "{}").expect("an answer");
    assert_found(&mut client, "clock", "warn", " s from OpenRouter's");
    client
        .batch_execute(
            "INSERT INTO hiems.ai_usage_logs
                 (id, created_at, cost_source, outcome, attempts, streamed, principal, calls)
             VALUES (gen_random_uuid(), now() + interval '1 day', 'unknown', 'recorded', 1, false, 'x', 1)",
        )
        .expect("a row of tomorrow");
    assert_found(&mut client, "clock", "warn", "the clock has gone back");
}

#[test]
fn an_openrouter_that_was_not_reached_is_a_failure() {
    let database = Database::without_key();
    // Nobody listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = port.local_addr().expect("an address");
    drop(port);
    database.set("hiems.base_url", &format!("http://{address}/api/v1"));
    let mut client = database.admin();
    client.execute("SELECT hiems.set_api_key($1)", &[&KEY]).expect("a key");
    assert!(health(&mut client)["openrouter"].1.contains("not called"));
    assert_eq!(call(&mut client, "{}").sqlstate(), "PT503");
    assert_found(&mut client, "openrouter", "fail", "not reached by the last call");
}

#[test]
fn a_gateway_that_cannot_start_is_a_failure() {
    let cluster = Cluster::start(&["max_worker_processes = 0"]);
    let database = Database::on(&cluster, Config::default());
    let mut client = database.admin();
    assert_found(&mut client, "gateway", "fail", "no background worker slot is free");
    // What can be looked at without it is looked at.
    assert_eq!(health(&mut client)["versions"].0, "ok");
}

// Before PostgreSQL 17 the queue has 8 GB, which no test fills.
#[test]
fn a_notify_queue_that_fills_up_is_noticed() {
    let bounded = postgresql_version().parse::<u32>().expect("a number") >= 17;
    if !bounded {
        let database = Database::without_key();
        assert_eq!(health(&mut database.admin())["notify_queue"].1, "0 % full");
        return;
    }
    let cluster = Cluster::start(&["max_notify_queue_pages = 64"]);
    let database = Database::on(&cluster, Config::default());
    let mut client = database.admin();
    client.execute("SELECT hiems.set_api_key($1)", &[&KEY]).expect("a key");
    let mut listener = database.admin();
    // Listening begins with its commit.
    listener.batch_execute("LISTEN other").expect("a listener");
    listener.batch_execute("BEGIN; SELECT 1").expect("it is stuck");
    let mut fill = |percent: f64| {
        while client
            .query_one("SELECT pg_notification_queue_usage() * 100", &[])
            .is_ok_and(|row| row.get::<_, f64>(0) <= percent)
        {
            client
                .batch_execute("SELECT pg_notify('other', repeat('x', 7000) || i) FROM generate_series(1, 2) i")
                .expect("a message");
        }
    };
    fill(55.0);
    assert_found(&mut database.admin(), "notify_queue", "warn", "% full");
    fill(91.0);
    assert_found(&mut database.admin(), "notify_queue", "fail", "hiems is silent");
    // Silence, and no failed call.
    call(&mut database.admin(), "{}").expect("an answer");
    assert_eq!(database.count("hiems.ai_usage_logs"), 1);
}
