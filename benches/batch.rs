//! `hiems.submit_prompts()` against the time that its calls must take: so many, so long, so many at once; and against
//! a bare HTTP client, which has no PostgreSQL and books nothing. The memory of the gateway meanwhile, and how soon a
//! cancel of a large batch acts.

#[path = "batch/bare.rs"]
mod bare;

use std::time::{Duration, Instant};

use hiems_tests::measure::{ROUNDS, median, memory_of, peak, print_table, time_of};
use hiems_tests::{Cluster, Config, Database, ResultExt, Running, wait_until};
use postgres::Client;

/// Calls, the upstream's delay in ms, and how many at once.
const CELLS: [(u64, u64, u64); 3] = [(200, 200, 64), (10_000, 50, 500), (10_000, 0, 500)];
const CANCELLED: usize = 1_000;

fn main() {
    // As in production: every commit reaches the disk.
    let cluster =
        Cluster::start(&["fsync = on", "shared_buffers = '256MB'", "max_wal_size = '4GB'"]);
    let database = Database::on(&cluster, Config::default());
    database.set("hiems.notify", "coalesced");
    database.store_key();
    let gateway = database.gateways()[0];
    let mut client = database.admin();
    let bare = bare::Client::new(&database.fake.base_url());
    let head = [
        "calls",
        "delay ms",
        "at once",
        "ms",
        "calls/s",
        "to ideal",
        "bare client, to ideal",
        "to it",
        "gateway MB, at most",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for (calls, delay, at_once) in CELLS {
        database.fake.wish(&[("fake_delay_ms", &delay.to_string())]);
        let (mut times, mut bare_times) = (Vec::new(), Vec::new());
        let mut memory = 0.0_f64;
        for _ in 0..ROUNDS {
            let (most, time) =
                peak(|| memory_of(gateway), || time_of(|| run(&mut client, calls, at_once)).0);
            times.push(time);
            memory = memory.max(most);
            database.wait_until_booked();
            database.fake.clear();
            bare_times.push(time_of(|| bare.run(calls, at_once)).0);
            database.fake.clear();
        }
        let (time, bare_time) = (median(times), median(bare_times));
        let ideal = (calls.div_ceil(at_once) * delay) as f64;
        let to_ideal = |time: f64| match delay {
            0 => "-".to_owned(),
            _ => format!("{:.2}", time / ideal),
        };
        rows.push(vec![
            calls.to_string(),
            delay.to_string(),
            at_once.to_string(),
            format!("{time:.0}"),
            format!("{:.0}", calls as f64 * 1_000.0 / time),
            to_ideal(time),
            to_ideal(bare_time),
            format!("{:.2}", time / bare_time),
            format!("{memory:.0}"),
        ]);
    }
    print_table("batches; ideal: rounds of so many at once, one after the other", &rows);
    cancel(&database);
}

fn run(client: &mut Client, calls: u64, at_once: u64) {
    let sql = statement(calls as usize, at_once);
    let row = client.query_one(&sql, &[]).expect("a batch");
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (calls as i64, 0));
}

fn statement(calls: usize, at_once: u64) -> String {
    format!(
        "SELECT count(*), count(error_code) FROM hiems.submit_prompts((
             SELECT jsonb_agg('{{\"model\": \"openai/gpt-4o-mini\",
                                 \"messages\": [{{\"role\": \"user\", \"content\": \"hello\"}}]}}'::jsonb)
             FROM generate_series(1, {calls})), {at_once})"
    )
}

fn cancel(database: &Database) {
    database.fake.wish(&[("fake_delay_ms", "3000")]);
    let mut admin = database.admin();
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let sql = statement(CANCELLED, CANCELLED as u64);
        let running = Running::with(database.admin(), move |client| {
            client.query_one(&sql, &[]).map(|row| row.get::<_, i64>(0).to_string())
        });
        wait_until("all are in flight", Duration::from_secs(30), || {
            database.fake.in_flight() >= CANCELLED * 9 / 10
        });
        let began = Instant::now();
        admin.execute("SELECT pg_cancel_backend($1)", &[&running.pid]).expect("a signal");
        let (_, ended) = running.end();
        times.push(began.elapsed().as_secs_f64() * 1_000.0);
        assert_eq!(ended.sqlstate(), "57014");
        database.wait_until_booked();
        database.fake.clear();
    }
    println!(
        "\ncancel of a batch with {CANCELLED} in flight: {:.1} ms to its error",
        median(times)
    );
}
