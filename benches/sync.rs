//! The synchronous call against what one would write by hand: a function in plpython3u that asks with urllib and
//! logs one row in the same transaction. Calls per second and CPU time per call, and when listeners are told. What the
//! row alone takes shows how much of both there is to save.
//!
//! Arguments choose cells, such as `0x32` for an upstream that answers at once and 32 sessions.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hiems_tests::measure::{Run, Sessions, in_turn, median, percentile, print_table};
use hiems_tests::{Cluster, Config, Database, KEY};
use postgres::Client;
use postgres::fallible_iterator::FallibleIterator;

/// The upstream's delay in ms, and sessions. 300 ms is faster than any real model answers.
const CELLS: [(u32, usize); 9] =
    [(0, 1), (0, 8), (0, 32), (50, 1), (50, 8), (50, 32), (300, 1), (300, 32), (300, 150)];
const TIME: Duration = Duration::from_secs(3);
const MODES: [&str; 3] = ["off", "coalesced", "commit"];

const HIEMS: &str = "SELECT hiems.submit_prompt('openai/gpt-4o-mini',
    '[{\"role\": \"user\", \"content\": \"hello\"}]', 'user-1')";
const PEER: &str = "SELECT peer('openai/gpt-4o-mini',
    '[{\"role\": \"user\", \"content\": \"hello\"}]', 'user-1')";

const ROW: &str = "INSERT INTO peer_logs
    (generation_id, user_id, model, prompt_tokens, completion_tokens, cost, status)
    VALUES ('gen-1', 'user-1', 'openai/gpt-4o-mini', 8, 9, 0.0000067, 200) RETURNING id";

const PEER_SCHEMA: &str = r#"
CREATE EXTENSION plpython3u;
CREATE TABLE peer_logs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now(),
    generation_id text, user_id text, model text,
    prompt_tokens bigint, completion_tokens bigint, cost numeric, status integer);
CREATE INDEX ON peer_logs (created_at);
CREATE INDEX ON peer_logs (user_id, created_at);
CREATE TABLE peer_settings (url text, key text);
CREATE FUNCTION peer(model text, messages jsonb, user_id text) RETURNS jsonb LANGUAGE plpython3u AS $$
import json, urllib.request
if "settings" not in SD:
    SD["settings"] = plpy.execute("SELECT url, key FROM peer_settings")[0]
    SD["log"] = plpy.prepare("""INSERT INTO peer_logs
        (generation_id, user_id, model, prompt_tokens, completion_tokens, cost, status)
        VALUES ($1, $2, $3, $4, $5, $6, $7)""",
        ["text", "text", "text", "bigint", "bigint", "numeric", "integer"])
body = json.dumps({"model": model, "messages": json.loads(messages), "user": user_id})
request = urllib.request.Request(
    SD["settings"]["url"] + "/chat/completions", body.encode(),
    {"Authorization": "Bearer " + SD["settings"]["key"], "Content-Type": "application/json"})
with urllib.request.urlopen(request, timeout=60) as response:
    status, text = response.status, response.read().decode()
answer = json.loads(text)
usage = answer["usage"]
plpy.execute(SD["log"], [answer["id"], user_id, answer["model"], usage["prompt_tokens"],
                         usage["completion_tokens"], usage["cost"], status])
return text
$$;"#;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    // As in production: every commit reaches the disk.
    let cluster = Cluster::start(&[
        "fsync = on",
        "max_connections = 1000",
        "shared_buffers = '1GB'",
        "max_wal_size = '4GB'",
        "jit = off",
    ]);
    let peer = Database::on(&cluster, Config::default());
    let mut admin = peer.admin();
    if peer.count("pg_available_extensions WHERE name = 'plpython3u'") == 0 {
        println!("there is no plpython3u to compare hiems with: see scripts/setup");
        return;
    }
    admin.batch_execute(PEER_SCHEMA).expect("the peer");
    let settings: [&(dyn postgres::types::ToSql + Sync); 2] = [&peer.fake.base_url(), &KEY];
    admin.execute("INSERT INTO peer_settings VALUES ($1, $2)", &settings).expect("its settings");
    let databases: Vec<Database> = MODES.iter().map(|mode| hiems(&cluster, mode)).collect();

    for (delay, sessions) in CELLS {
        if wanted.is_empty() || wanted.contains(&format!("{delay}x{sessions}")) {
            compare(&cluster, &peer, &databases, delay, sessions);
        }
    }
    if wanted.is_empty() || wanted.iter().any(|cell| cell == "told") {
        for delay in [0, 50] {
            told(&databases[1..], delay);
        }
    }
}

/// A database with hiems, whose gateway runs.
fn hiems<'c>(cluster: &'c Cluster, mode: &str) -> Database<'c> {
    let database = Database::on(cluster, Config::default());
    database.set("hiems.notify", mode);
    database.store_key();
    database
}

fn wish(database: &Database, delay: u32) {
    database.fake.clear();
    database.fake.wish(&[("fake_delay_ms", &delay.to_string())]);
}

fn compare<'c>(
    cluster: &'c Cluster,
    peer: &Database<'c>,
    databases: &[Database<'c>],
    delay: u32,
    sessions: usize,
) {
    let all = || std::iter::once(peer).chain(databases);
    all().for_each(|database| wish(database, delay));
    let mut contenders: Vec<Sessions> = all()
        .chain([peer])
        .zip([PEER, HIEMS, HIEMS, HIEMS, ROW])
        .map(|(database, statement)| Sessions::open(cluster, database, statement, sessions))
        .collect();
    // Somebody listens, as somebody will.
    let is_over = AtomicBool::new(false);
    let measured = thread::scope(|scope| {
        for database in databases {
            scope.spawn(|| listen(database, &is_over));
        }
        let measured = in_turn(contenders.len(), |contender| {
            all().for_each(|database| database.fake.clear());
            contenders[contender].run(TIME)
        });
        is_over.store(true, Ordering::Release);
        measured
    });
    let of = |runs: &[Run], figure: fn(&Run) -> f64| median(runs.iter().map(figure).collect());
    // Ratios are taken within a round.
    let ratio = |runs: &[Run], base: &[Run], figure: fn(&Run) -> f64| {
        median(runs.iter().zip(base).map(|(one, other)| figure(one) / figure(other)).collect())
    };
    let head = ["", "calls/s", "to peer", "to off", "CPU ms/call", "to peer"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let names = [
        "plpython3u + urllib",
        "hiems, notify off",
        "hiems, coalesced",
        "hiems, commit",
        "the peer's row, no call",
    ];
    for (name, runs) in names.iter().zip(&measured) {
        rows.push(vec![
            (*name).to_owned(),
            format!("{:.0}", of(runs, |run| run.per_second)),
            format!("{:.2}", ratio(runs, &measured[0], |run| run.per_second)),
            format!("{:.2}", ratio(runs, &measured[1], |run| run.per_second)),
            format!("{:.2}", of(runs, |run| run.cpu_per_call)),
            format!("{:.2}", ratio(runs, &measured[0], |run| run.cpu_per_call)),
        ]);
    }
    print_table(&format!("upstream {delay} ms, {sessions} sessions"), &rows);
}

fn listen(database: &Database, is_over: &AtomicBool) {
    let mut client = database.admin();
    client.batch_execute("LISTEN hiems_usage").expect("listens");
    while !is_over.load(Ordering::Acquire) {
        let mut notifications = client.notifications();
        let mut next = notifications.timeout_iter(Duration::from_millis(50));
        while next.next().expect("a connection").is_some() {}
    }
}

/// How long after its commit a call is told of, with 32 sessions at work.
fn told(databases: &[Database], delay: u32) {
    let head = ["", "calls", "p50", "p95", "p98", "p99", "within 60 ms", "not told", "told twice"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for (database, mode) in databases.iter().zip(&MODES[1..]) {
        wish(database, delay);
        let mut client = database.admin();
        client.batch_execute("LISTEN hiems_usage").expect("listens");
        let (is_over, began) = (AtomicBool::new(false), Instant::now());
        let (committed, heard) = thread::scope(|scope| {
            let listener = scope.spawn(|| hear(&mut client, &is_over));
            let callers: Vec<_> = (0..32).map(|_| scope.spawn(|| calls(database, began))).collect();
            let committed: Vec<_> =
                callers.into_iter().flat_map(|caller| caller.join().expect("calls")).collect();
            database.wait_until_booked();
            is_over.store(true, Ordering::Release);
            (committed, listener.join().expect("a listener"))
        });
        let ids = ids(database);
        let delays = committed.iter().filter_map(|(generation, at)| {
            let told = heard.get(ids.get(generation)?)?.first()?;
            // A message may overtake the answer to COMMIT.
            Some(told.saturating_duration_since(*at).as_secs_f64() * 1_000.0)
        });
        let mut delays: Vec<f64> = delays.collect();
        delays.sort_unstable_by(f64::total_cmp);
        let in_time = delays.iter().filter(|delay| **delay <= 60.0).count();
        let twice = heard.values().filter(|times| times.len() > 1).count();
        let at = |part| format!("{:.1}", percentile(&delays, part));
        rows.push(vec![
            (*mode).to_owned(),
            committed.len().to_string(),
            at(0.5),
            at(0.95),
            at(0.98),
            at(0.99),
            format!("{:.1} %", 100.0 * in_time as f64 / committed.len() as f64),
            (committed.len() - delays.len()).to_string(),
            twice.to_string(),
        ]);
    }
    print_table(&format!("told after the commit, in ms: upstream {delay} ms, 32 sessions"), &rows);
}

/// Calls for some seconds: each one's generation, and when its commit was confirmed.
fn calls(database: &Database, began: Instant) -> Vec<(String, Instant)> {
    let mut client = database.admin();
    let call = client.prepare(&format!("{HIEMS} ->> 'id'")).expect("a statement");
    let mut committed = Vec::new();
    while began.elapsed() < TIME {
        let generation = client.query_one(&call, &[]).expect("an answer").get(0);
        committed.push((generation, Instant::now()));
    }
    committed
}

/// When each id was heard of, until it is over and nothing more comes.
fn hear(client: &mut Client, is_over: &AtomicBool) -> HashMap<String, Vec<Instant>> {
    let mut heard: HashMap<String, Vec<Instant>> = HashMap::new();
    loop {
        let ends = is_over.load(Ordering::Acquire);
        let mut notifications = client.notifications();
        let mut next = notifications.timeout_iter(Duration::from_millis(300));
        while let Some(message) = next.next().expect("a connection") {
            let at = Instant::now();
            let message: serde_json::Value = serde_json::from_str(message.payload()).expect("JSON");
            for id in message["ids"].as_array().expect("ids") {
                heard.entry(id.as_str().expect("an id").to_owned()).or_default().push(at);
            }
        }
        if ends {
            return heard;
        }
    }
}

/// Each call's id in the ledger, by its generation.
fn ids(database: &Database) -> HashMap<String, String> {
    let rows = database
        .admin()
        .query("SELECT generation_id, id::text FROM hiems.ai_usage_logs", &[])
        .expect("the ledger");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}
