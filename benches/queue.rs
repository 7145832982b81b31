//! The queue: how soon a call is made, how many calls a second, a million in one statement, and 100,000 while the
//! gateway is told to end ten times and killed twice.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use hiems_tests::measure::{median, memory_of, peak, percentile, print_table, time_of};
use hiems_tests::{Cluster, Config, Database, call, wait_until};
use postgres::{Client, NoTls};

const SINGLE: usize = 300;
const MANY: i64 = 20_000;
const MILLION: i64 = 1_000_000;
const BROKEN: i64 = 100_000;
const TERMINATED: usize = 10;
const KILLED: usize = 2;
const AT_ONCE: &str = "500";

fn main() {
    // As in production: every commit reaches the disk.
    let cluster = Cluster::start(&[
        "fsync = on",
        "shared_buffers = '1GB'",
        "max_wal_size = '4GB'",
        "max_connections = 100",
    ]);
    let database = Database::on(&cluster, Config::default());
    database.set("hiems.notify", "coalesced");
    database.set("hiems.queue_concurrency", AT_ONCE);
    database.store_key();
    latency(&database);
    throughput(&database);
    million(&database);
    broken(&cluster, &database);
}

/// Enqueued, committed, made, and its answer waited for; against the call that is made at once.
fn latency(database: &Database) {
    let mut client = database.admin();
    let once = "SELECT hiems.enqueue_prompt('openai/gpt-4o-mini',
                    '[{\"role\": \"user\", \"content\": \"hello\"}]')::text";
    let enqueue = client.prepare(once).expect("a statement");
    let wait = "SELECT hiems.await_prompt($1::text::uuid) IS NOT NULL";
    let wait = client.prepare(wait).expect("a statement");
    let (mut queued, mut synchronous) = (Vec::new(), Vec::new());
    for _ in 0..SINGLE {
        queued.push(
            time_of(|| {
                let id: String = client.query_one(&enqueue, &[]).expect("an id").get(0);
                client.query_one(&wait, &[&id]).expect("an answer");
            })
            .0,
        );
        synchronous.push(time_of(|| call(&mut client, "{}").expect("an answer")).0);
    }
    queued.sort_unstable_by(f64::total_cmp);
    synchronous.sort_unstable_by(f64::total_cmp);
    let row = |name: &str, times: &[f64]| {
        let middle = median(times.to_vec());
        vec![
            name.to_owned(),
            format!("{middle:.1}"),
            format!("{:.1}", percentile(times, 0.95)),
            format!("{:.2}", middle / median(synchronous.clone())),
        ]
    };
    let head = ["one call, 0 ms upstream", "p50 ms", "p95 ms", "ratio"].map(str::to_owned).to_vec();
    let rows =
        [head, row("hiems.submit_prompt", &synchronous), row("enqueue, commit, await", &queued)];
    print_table("how soon a queued call is answered", &rows);
    database.wait_until_booked();
}

/// Against PostgreSQL's own INSERT of as many rows into a table like the ledger, one a transaction.
fn throughput(database: &Database) {
    let mut client = database.admin();
    let (enqueuing, _) = time_of(|| enqueue(&mut client, MANY));
    let began = Instant::now();
    wait_until("all have been made", Duration::from_secs(300), || {
        let left = "SELECT NOT EXISTS (SELECT FROM hiems_private.queue)
                       AND NOT EXISTS (SELECT FROM hiems_private.calls)";
        client.query_one(left, &[]).is_ok_and(|row| row.get(0))
    });
    let making = began.elapsed().as_secs_f64() * 1_000.0;
    client
        .batch_execute("CREATE TABLE plain (LIKE hiems.ai_usage_logs INCLUDING INDEXES)")
        .expect("a table");
    let insert = client
        .prepare(
            "INSERT INTO plain SELECT (jsonb_populate_record(l, jsonb_build_object('id',
                  gen_random_uuid()))).* FROM hiems.ai_usage_logs AS l LIMIT 1",
        )
        .expect("a statement");
    let plain = 2_000;
    let (inserting, ()) = time_of(|| {
        for _ in 0..plain {
            client.execute(&insert, &[]).expect("a row");
        }
    });
    let per_second = |count: i64, ms: f64| count as f64 * 1_000.0 / ms;
    let base = per_second(plain, inserting);
    let row = |name: &str, rate: f64| {
        vec![name.to_owned(), format!("{rate:.0}"), format!("{:.2}", rate / base)]
    };
    let rows = [
        ["", "per second", "ratio"].map(str::to_owned).to_vec(),
        row("INSERT of a row, one session, PostgreSQL alone", base),
        row("hiems.enqueue_prompts, one statement", per_second(MANY, enqueuing)),
        row("calls made, answered, kept and booked, 0 ms upstream", per_second(MANY, making)),
    ];
    print_table(&format!("{MANY} queued calls, {AT_ONCE} at once"), &rows);
    database.fake.clear();
}

fn enqueue(client: &mut Client, calls: i64) {
    let sql = "SELECT count(*) FROM hiems.enqueue_prompts((
        SELECT jsonb_agg(jsonb_build_object(
            'model', 'openai/gpt-4o-mini', 'user', 'queued-' || i, 'use_case', 'bench',
            'messages', '[{\"role\": \"user\", \"content\": \"hello\"}]'::jsonb))
        FROM generate_series(1, $1::bigint) AS i))";
    let enqueued: i64 = client.query_one(sql, &[&calls]).expect("ids").get(0);
    assert_eq!(enqueued, calls);
}

/// A million in one statement, against PostgreSQL's own making of the array that it is given: its time, and the
/// session's memory. Rolled back: nothing is sent.
fn million(database: &Database) {
    let array = format!(
        "SELECT jsonb_agg('{{\"model\": \"openai/gpt-4o-mini\",
                            \"messages\": [{{\"role\": \"user\", \"content\": \"hello\"}}]}}'::jsonb)
         FROM generate_series(1, {MILLION})"
    );
    let statements = [
        ("the array alone", format!("SELECT jsonb_array_length(({array}))::bigint")),
        (
            "hiems.enqueue_prompts of it",
            format!("SELECT count(*) FROM hiems.enqueue_prompts(({array}))"),
        ),
    ];
    let mut rows = vec![["", "s", "ratio", "MB, at most"].map(str::to_owned).to_vec()];
    let mut base = None;
    for (name, sql) in statements {
        let mut client = database.admin();
        let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).expect("a process").get(0);
        let mut transaction = client.transaction().expect("BEGIN");
        let (most, (time, count)) = peak(
            || memory_of(pid),
            || time_of(|| transaction.query_one(&sql, &[]).expect(name).get::<_, i64>(0)),
        );
        assert_eq!(count, MILLION);
        transaction.rollback().expect("ROLLBACK");
        rows.push(vec![
            name.to_owned(),
            format!("{:.1}", time / 1_000.0),
            format!("{:.2}", time / *base.get_or_insert(time)),
            format!("{most:.0}"),
        ]);
    }
    print_table(&format!("{MILLION} requests in one statement"), &rows);
}

const SIZES: &str = "
    SELECT c.relname::text, pg_total_relation_size(c.oid) / 1048576.0::float8, s.n_dead_tup
    FROM pg_class AS c JOIN pg_stat_all_tables AS s ON s.relid = c.oid
    WHERE c.oid IN ('hiems_private.queue'::regclass, 'hiems_private.requests'::regclass,
                    'hiems_private.calls'::regclass)
    ORDER BY 1";

fn sizes(client: &mut Client, when: &str, rows: &mut Vec<Vec<String>>) {
    for row in client.query(SIZES, &[]).expect("the sizes") {
        rows.push(vec![
            row.get::<_, String>(0),
            when.to_owned(),
            format!("{:.1}", row.get::<_, f64>(1)),
            row.get::<_, i64>(2).to_string(),
        ]);
    }
}

fn broken(cluster: &Cluster, database: &Database) {
    let mut client = database.admin();
    let booked_before = database.count("hiems.ai_usage_logs");
    let mut table =
        vec![["table", "", "MB", "dead rows, as far as counted"].map(str::to_owned).to_vec()];
    sizes(&mut client, "before", &mut table);
    enqueue(&mut client, BROKEN);
    sizes(&mut client, "enqueued", &mut table);
    let began = Instant::now();
    let (mut lost, faults) = (0, TERMINATED + KILLED);
    for fault in 0..faults {
        let target = BROKEN as usize * (fault + 1) / (faults + 2);
        wait_until("more were made", Duration::from_secs(300), || {
            database.fake.request_count() >= target
        });
        // Each sixth is a kill.
        if fault % 6 == 3 {
            lost += database.fake.in_flight() + AT_ONCE.parse::<usize>().unwrap_or_default();
            let pid = gateway(cluster, database);
            // SAFETY: a signal to the benchmark's own server's process.
            unsafe { libc::kill(pid, libc::SIGKILL) };
            wait_until("the server is back", Duration::from_secs(120), || {
                database
                    .config("postgres")
                    .connect(NoTls)
                    .is_ok_and(|mut client| client.query_one("SELECT 1", &[]).is_ok())
            });
        } else {
            let pid = gateway(cluster, database);
            let mut client = database.admin();
            client.execute("SELECT pg_terminate_backend($1)", &[&pid]).expect("a signal");
        }
    }
    wait_until("all have ended", Duration::from_secs(600), || {
        database.config("postgres").connect(NoTls).is_ok_and(|mut client| {
            let left = "SELECT NOT EXISTS (SELECT FROM hiems_private.queue WHERE state = 'queued')
                           AND NOT EXISTS (SELECT FROM hiems_private.calls)";
            client.query_one(left, &[]).is_ok_and(|row| row.get(0))
        })
    });
    let took = began.elapsed();
    let mut client = database.admin();
    sizes(&mut client, "ended", &mut table);
    let outcomes = client
        .query(
            "SELECT outcome, count(*) FROM hiems.ai_usage_logs WHERE use_case = 'bench'
                  AND user_id LIKE 'queued-%' GROUP BY 1 ORDER BY 1",
            &[],
        )
        .expect("the ledger");
    let counts: Vec<(String, i64)> = outcomes.iter().map(|row| (row.get(0), row.get(1))).collect();
    let count =
        |outcome: &str| counts.iter().find(|(of, _)| of == outcome).map_or(0, |(_, count)| *count);
    let booked: i64 = counts.iter().map(|(_, count)| count).sum();
    let mut seen = HashSet::new();
    let requests = database.fake.requests();
    let twice = requests.iter().filter(|r| !seen.insert(r.body["user"].to_string())).count();
    println!(
        "\n{BROKEN} queued, the gateway told to end {TERMINATED} times and killed {KILLED} times"
    );
    println!(
        "ended in {:.1} s ({:.0} calls/s): {} done, {} failed, {} unknown (at most {lost} in flight at the \
         kills); {twice} requests came twice; {} rows more in the ledger",
        took.as_secs_f64(),
        BROKEN as f64 / took.as_secs_f64(),
        count("committed") - MANY,
        count("failed"),
        count("unknown"),
        database.count("hiems.ai_usage_logs") - booked_before,
    );
    print_table("what the queue's tables have come to", &table);
    assert_eq!(booked - MANY, BROKEN, "done + failed + unknown = enqueued");
    assert_eq!(twice, 0, "no call is sent twice");
    assert!(count("unknown") <= i64::try_from(lost).unwrap_or(i64::MAX));
}

/// The gateway's process; waits for it where there is none yet.
fn gateway(cluster: &Cluster, database: &Database) -> i32 {
    let mut found = Vec::new();
    wait_until("there is a gateway", Duration::from_secs(60), || {
        // The shared server may be in recovery.
        if cluster.config(&database.name, "postgres").connect(NoTls).is_ok() {
            found = database.gateways();
        }
        !found.is_empty()
    });
    found[0]
}
