//! Crash recovery: a gateway starts over 100,000 calls that nobody has booked. How long booking them takes,
//! against PostgreSQL's own INSERT of as many rows into a table like the ledger; and how long a new call takes
//! meanwhile, against one when there is nothing to book.

use std::time::{Duration, Instant};

use hiems_tests::{Cluster, Config, Database, call, wait_until};
use postgres::Client;

const CALLS: i32 = 100_000;

fn main() {
    // As in production: every commit reaches the disk.
    let cluster =
        Cluster::start(&["fsync = on", "shared_buffers = '256MB'", "max_wal_size = '4GB'"]);
    let database = Database::on(&cluster, Config::default());
    database.set("hiems.notify", "off");
    database.store_key();
    let mut client = database.admin();
    call(&mut client, "{}").expect("an answer");
    let quiet = median((0..200).map(|_| time_of_a_call(&mut client)).collect());
    database.wait_until_booked();

    let plain = plain_insert(&mut client);
    end_gateway(&database);
    leave_unbooked(&mut client);

    // The first call starts the gateway.
    let began = Instant::now();
    let mut during = Vec::new();
    while left(&mut client) > 0 {
        during.push(time_of_a_call(&mut client));
    }
    let booking = began.elapsed();
    let rows = database.count("hiems.ai_usage_logs");
    let (longest, meanwhile) = (during.iter().max().copied().unwrap_or_default(), during.len());
    let median = median(during);
    println!("{CALLS} calls left unbooked, a tenth of them in flight; {rows} rows in the ledger");
    println!("                                      | time      | ratio");
    println!("INSERT of {CALLS} rows, PostgreSQL alone | {plain:>9.1?} | 1");
    println!("booking them                          | {booking:>9.1?} | {:.2}", of(booking, plain));
    println!("a call, nothing to book (median)      | {quiet:>9.1?} | 1");
    println!(
        "a call meanwhile (median of {meanwhile:>4})     | {median:>9.1?} | {:.2}",
        of(median, quiet)
    );
    println!("a call meanwhile (longest)            | {longest:>9.1?} | {:.2}", of(longest, quiet));
}

fn of(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn time_of_a_call(client: &mut Client) -> Duration {
    let began = Instant::now();
    call(client, "{}").expect("an answer");
    began.elapsed()
}

fn left(client: &mut Client) -> i64 {
    client
        .query_one("SELECT count(*) FROM hiems_private.calls WHERE caller_xid = '3'", &[])
        .expect("the journal")
        .get(0)
}

fn end_gateway(database: &Database) {
    let mut admin = database.admin();
    for gateway in database.gateways() {
        admin.execute("SELECT pg_terminate_backend($1)", &[&gateway]).expect("a signal");
    }
    wait_until("the gateway has left", Duration::from_secs(30), || database.gateways().is_empty());
}

/// The time of one INSERT into a table with the ledger's columns, indexes and checks, and none of its
/// triggers.
fn plain_insert(client: &mut Client) -> Duration {
    client
        .batch_execute("CREATE TABLE plain (LIKE hiems.ai_usage_logs INCLUDING ALL)")
        .expect("a table");
    let began = Instant::now();
    client
        .execute(
            "INSERT INTO plain
             SELECT made.*
             FROM (SELECT to_jsonb(l) AS entry FROM hiems.ai_usage_logs AS l LIMIT 1) AS one,
                  generate_series(1, $1) AS n,
                  jsonb_populate_record(NULL::hiems.ai_usage_logs,
                      one.entry || jsonb_build_object('id', md5(n::text))) AS made",
            &[&CALLS],
        )
        .expect("rows");
    began.elapsed()
}

/// Calls whose callers are gone: answered, and a tenth in flight.
fn leave_unbooked(client: &mut Client) {
    client
        .execute(
            "INSERT INTO hiems_private.calls (id, state, created_at, settled_at, caller_xid,
                                              system_identifier, principal, entry)
             SELECT i.id, CASE WHEN n % 10 = 0 THEN 'sent' ELSE 'answered' END, now(), now(), '3', s.id,
                    l.principal,
                    to_jsonb(l) - 'outcome' - 'booked_at' - 'booked_xid'
                        || jsonb_build_object('id', i.id)
                        || CASE WHEN n % 10 = 0
                                THEN '{\"cost_usd\": null, \"cost_sek\": null, \"cost_source\": \"unknown\",
                                       \"generation_id\": null}'::jsonb
                                ELSE '{}' END
             FROM (SELECT * FROM hiems.ai_usage_logs LIMIT 1) AS l,
                  (SELECT system_identifier AS id FROM pg_control_system()) AS s,
                  LATERAL (SELECT n, md5('left' || n)::uuid AS id FROM generate_series(1, $1) AS n
                           WHERE l.id IS NOT NULL) AS i",
            &[&CALLS],
        )
        .expect("calls");
}
