//! What a gateway can hold at a time: calls of a fast model while a slow one has up to a thousand in flight, and
//! prompts and answers of 10 MB, with the memory that they take and give back.

use std::time::{Duration, Instant};

use hiems_tests::measure::{backend_of, median, memory_of, peak, percentile, print_table, time_of};
use hiems_tests::{Cluster, Config, Database, Running, call, directives, wait_until};
use postgres::Client;

/// How many calls of the slow model are in flight.
const SLOW: [usize; 4] = [0, 32, 256, 999];
/// How long each takes: longer than it takes to start them all, and to measure the fast ones.
const SLOW_MS: &str = "30000";
const FAST: usize = 100;
const MEGABYTES: usize = 10;
const LARGE: usize = 40;

fn main() {
    let cluster = Cluster::start(&[
        // As in production: every commit reaches the disk.
        "fsync = on",
        "max_connections = 1100",
        "shared_buffers = '256MB'",
        "max_wal_size = '4GB'",
    ]);
    let database = Database::on(&cluster, Config::default());
    database.set("hiems.notify", "off");
    database.store_key();
    beside_slow_ones(&database);
    large_ones(&database);
}

fn beside_slow_ones(database: &Database) {
    let head = ["slow calls in flight", "fast call, p50 ms", "ratio", "p95 ms", "gateway MB"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let gateway = database.gateways()[0];
    let mut client = database.admin();
    let mut alone = None;
    for slow in SLOW {
        let mut clients: Vec<Client> = (0..slow).map(|_| database.admin()).collect();
        for client in &mut clients {
            client.batch_execute("LOAD 'hiems'").expect("the library");
        }
        let options = directives(&[("fake_delay_ms", SLOW_MS)]);
        let running: Vec<Running> =
            clients.into_iter().map(|client| Running::start(client, &options)).collect();
        let in_flight = || database.fake.in_flight();
        wait_until("they are in flight", Duration::from_secs(25), || in_flight() == slow);
        let mut times: Vec<f64> = (0..FAST).map(|_| fast(&mut client)).collect();
        assert_eq!(in_flight(), slow, "the slow ones took too short a time");
        times.sort_unstable_by(f64::total_cmp);
        let middle = median(times.clone());
        rows.push(vec![
            slow.to_string(),
            format!("{middle:.1}"),
            format!("{:.2}", middle / *alone.get_or_insert(middle)),
            format!("{:.1}", percentile(&times, 0.95)),
            format!("{:.0}", memory_of(gateway)),
        ]);
        for call in running {
            call.end().1.expect("its answer");
        }
        database.wait_until_booked();
    }
    print_table("one slow model, and calls of a fast one beside it", &rows);
    let calls = i64::try_from(SLOW.iter().sum::<usize>() + SLOW.len() * FAST).unwrap_or_default();
    assert_eq!(database.count("hiems.ai_usage_logs"), calls);
}

fn fast(client: &mut Client) -> f64 {
    time_of(|| call(client, "{}").expect("an answer")).0
}

/// As many calls as make the memory of all of them together far more than what may stay.
fn large_ones(database: &Database) {
    let bytes = MEGABYTES << 20;
    let prompt = serde_json::json!([{"role": "user", "content": "x".repeat(bytes)}]).to_string();
    let options = directives(&[("fake_answer_bytes", &bytes.to_string())]);
    let mut client = database.admin();
    // What the first call of a session takes stays.
    call(&mut client, "{}").expect("an answer");
    database.wait_until_booked();
    let alone = postgresql_alone(database, &prompt);
    let (backend, gateway) = (backend_of(&mut client), database.gateways()[0]);
    let before = [memory_of(backend), memory_of(gateway)];
    let began = Instant::now();
    let call = "SELECT length(hiems.submit_prompt('openai/gpt-4o-mini', $1::text::jsonb,
                                                  options => $2::text::jsonb)::text)";
    let ((peak_of_backend, peak_of_gateway), ()) = {
        let mut calls = || {
            for _ in 0..LARGE {
                let row = client.query_one(call, &[&prompt, &options]).expect("an answer");
                assert!(row.get::<_, i32>(0) > i32::try_from(bytes).unwrap_or(i32::MAX));
                database.fake.clear();
            }
        };
        let (of_backend, (of_gateway, ())) =
            peak(|| memory_of(backend), || peak(|| memory_of(gateway), &mut calls));
        ((of_backend, of_gateway), ())
    };
    let time = began.elapsed().as_secs_f64() / LARGE as f64;
    // With the next statement a session lets go of what the last one had.
    client.query_one("SELECT 1", &[]).expect("it");
    database.wait_until_booked();
    // The house is kept twice a second.
    std::thread::park_timeout(Duration::from_secs(2));
    let after = [memory_of(backend), memory_of(gateway)];
    let head = ["own memory, MB", "before", "peak", "after"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let told = alone.map(|figure| format!("{figure:.0}")).to_vec();
    rows.push([vec!["PostgreSQL alone, the prompt there and back".to_owned()], told].concat());
    let peaks = [peak_of_backend, peak_of_gateway];
    for (at, name) in ["backend", "gateway"].iter().enumerate() {
        let figures = [before[at], peaks[at], after[at]].map(|figure| format!("{figure:.0}"));
        rows.push([vec![(*name).to_owned()], figures.to_vec()].concat());
    }
    let title = format!(
        "{LARGE} calls with a prompt and an answer of {MEGABYTES} MB each, {:.0} ms a call",
        time * 1_000.0
    );
    print_table(&title, &rows);
}

/// What a session takes, and gives back, that is sent the prompt and sends it back: without hiems.
fn postgresql_alone(database: &Database, prompt: &str) -> [f64; 3] {
    let mut client = database.admin();
    let backend = backend_of(&mut client);
    let before = memory_of(backend);
    let (peak, ()) = peak(
        || memory_of(backend),
        || {
            for _ in 0..LARGE {
                client.query_one("SELECT $1::text::jsonb::text", &[&prompt]).expect("it");
            }
        },
    );
    client.query_one("SELECT 1", &[]).expect("it");
    [before, peak, memory_of(backend)]
}
