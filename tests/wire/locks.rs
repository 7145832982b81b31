//! Somebody's LOCK TABLE, VACUUM FULL or REINDEX on tables of hiems holds up nobody's answer, and drops
//! nothing.

mod spill;

use std::path::{Path, PathBuf};
use std::time::Duration;

use hiems_tests::{
    Cluster, Config, Database, KEY, ResultExt, Running, SOON, call, directives, wait_until,
};
use postgres::Client;
use serde_json::Value;

const LEDGER: &str = "hiems.ai_usage_logs";
const JOURNAL: &str = "hiems_private.calls";

/// A session that holds the tables until it ends or commits.
fn lock(mut client: Client, tables: &str) -> Client {
    client
        .batch_execute(&format!("BEGIN; LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE"))
        .expect("the lock");
    client
}

/// A session whose calls do not wait for a lock: they would be cancelled.
fn impatient(database: &Database) -> Client {
    let mut client = database.admin();
    client.batch_execute("SET statement_timeout = '5s'").expect("a setting");
    client
}

/// What the ledger says of each call, once it is the bill: outcome and where the cost comes from.
fn booked(database: &Database) -> Vec<(String, String)> {
    let rows = database.booked();
    assert_eq!(rows.len(), database.fake.bill().len());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    rows.iter().map(|row| (text(&row["outcome"]), text(&row["cost_source"]))).collect()
}

/// The spill files of `database`, whose OID they have in their names.
fn spills(data: &Path, database: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(data).expect("the data directory");
    let prefix = format!("hiems_calls.{database}.");
    entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.to_string_lossy().contains(&prefix))
        .collect()
}

/// How many there are of a database of the shared server.
fn spilled(database: &Database) -> usize {
    let oid = database.oid();
    spills(&hiems_tests::cluster().data(), &oid).len()
}

#[test]
fn a_locked_ledger_is_written_to_later() {
    let database = Database::new();
    let mut client = impatient(&database);
    let holder = lock(database.admin(), LEDGER);
    // By itself, in a transaction that commits, in one that does not, in a savepoint that does not.
    call(&mut client, "{}").expect("an answer");
    client.batch_execute("BEGIN").expect("a begin");
    call(&mut client, "{}").expect("an answer");
    client.batch_execute("COMMIT; BEGIN").expect("a commit");
    call(&mut client, "{}").expect("an answer");
    client.batch_execute("ROLLBACK; BEGIN; SAVEPOINT s").expect("a rollback");
    call(&mut client, "{}").expect("an answer");
    client.batch_execute("ROLLBACK TO s; SAVEPOINT t").expect("a rollback");
    call(&mut client, "{}").expect("an answer");
    client.batch_execute("RELEASE t; COMMIT").expect("a commit");
    // While the lock is held nothing is booked, and nothing lost.
    assert_eq!(database.fake.requests().len(), 5);
    assert_eq!(database.count(JOURNAL), 5);
    drop(holder);
    let outcomes: Vec<String> = booked(&database).into_iter().map(|(outcome, _)| outcome).collect();
    assert_eq!(outcomes, ["committed", "committed", "rolled_back", "rolled_back", "committed"]);
}

#[test]
fn the_caller_is_told_that_the_row_comes_later() {
    let database = Database::new();
    let (notices, told) = std::sync::mpsc::channel();
    let mut config = hiems_tests::cluster().config(&database.name, "postgres");
    config.notice_callback(move |notice| {
        // The receiver is there as long as the test.
        let _ = notices.send((notice.message().to_owned(), notice.hint().map(str::to_owned)));
    });
    let mut client = config.connect(postgres::NoTls).expect("a connection");
    let _holder = lock(database.admin(), LEDGER);
    call(&mut client, "{}").expect("an answer");
    let (message, hint) = told.recv_timeout(SOON).expect("a warning");
    assert_eq!(message, "a table of hiems is locked: the call is booked when it is free");
    assert!(hint.is_some_and(|hint| hint.contains("pg_locks")));
}

#[test]
fn a_locked_journal_holds_up_nobody() {
    let database = Database::new();
    let slow = directives(&[("fake_delay_ms", "1500")]);
    let running = Running::in_flight(&database, impatient(&database), &slow, 1);
    let holder = lock(database.admin(), JOURNAL);
    let mut client = impatient(&database);
    for _ in 0..5 {
        call(&mut client, "{}").expect("an answer");
    }
    client.batch_execute("BEGIN").expect("a begin");
    call(&mut client, "{}").expect("an answer");
    client.batch_execute("ROLLBACK").expect("a rollback");
    running.end().1.expect("the answer to a call from before");
    // The lock is held yet.
    assert_eq!(spilled(&database), 1);
    drop(holder);
    let outcomes: Vec<String> = booked(&database).into_iter().map(|(outcome, _)| outcome).collect();
    assert_eq!(outcomes.iter().filter(|outcome| *outcome == "committed").count(), 6);
    assert_eq!(outcomes.last().map(String::as_str), Some("rolled_back"));
    wait_until("the spill is gone", SOON, || spilled(&database) == 0);
}

#[test]
fn ledger_and_journal_may_be_locked_at_once() {
    let database = Database::new();
    let holder = lock(database.admin(), &format!("{LEDGER}, {JOURNAL}"));
    let mut client = impatient(&database);
    call(&mut client, "{}").expect("an answer");
    client.batch_execute("BEGIN").expect("a begin");
    call(&mut client, "{}").expect("an answer");
    client.batch_execute("ROLLBACK").expect("a rollback");
    drop(holder);
    let outcomes: Vec<String> = booked(&database).into_iter().map(|(outcome, _)| outcome).collect();
    assert_eq!(outcomes, ["committed", "rolled_back"]);
}

#[test]
fn a_gateway_that_leaves_a_locked_journal_leaves_everything_to_the_next() {
    let database = Database::new();
    let holder = lock(database.admin(), JOURNAL);
    let mut client = impatient(&database);
    client.batch_execute("BEGIN").expect("a begin");
    call(&mut client, "{}").expect("an answer");
    client.batch_execute("ROLLBACK").expect("a rollback");
    let first = database.gateways()[0];
    database.admin().execute("SELECT pg_terminate_backend($1)", &[&first]).expect("a signal");
    wait_until("the gateway has left", SOON, || !database.gateways().contains(&first));
    // The next one works as well behind the lock.
    call(&mut client, "{}").expect("an answer");
    drop(holder);
    let outcomes: Vec<String> = booked(&database).into_iter().map(|(outcome, _)| outcome).collect();
    assert_eq!(outcomes, ["rolled_back", "committed"]);
    wait_until("the spill is gone", SOON, || spilled(&database) == 0);
}

#[test]
fn a_crash_behind_a_locked_journal_loses_nothing() {
    let mut cluster = Cluster::start(&[]);
    let database = Database::on(&cluster, Config::default());
    database.admin().execute("SELECT hiems.set_api_key($1)", &[&KEY]).expect("a key");
    let mut client = impatient(&database);
    call(&mut client, "{}").expect("an answer");
    let _holder = lock(database.admin(), JOURNAL);
    // One whose caller commits, one whose caller does not, one in flight.
    call(&mut client, "{}").expect("an answer");
    client.batch_execute("BEGIN").expect("a begin");
    call(&mut client, "{}").expect("an answer");
    client.batch_execute("ROLLBACK").expect("a rollback");
    let slow = directives(&[("fake_delay_ms", "4000")]);
    let running = Running::in_flight(&database, database.admin(), &slow, 1);
    let oid = database.oid();
    let id = &database.fake.bill()[3].id;
    wait_until("its generation is in the spill", SOON, || {
        spills(&cluster.data(), &oid)
            .iter()
            .any(|spill| std::fs::read_to_string(spill).is_ok_and(|lines| lines.contains(id)))
    });
    let (name, fake) = database.into_parts();
    cluster.stop("immediate");
    running.end().1.expect_err("the crash");
    assert_eq!(spills(&cluster.data(), &oid).len(), 1);
    cluster.restart();
    let mut client = cluster.connect(&name, "postgres");
    call(&mut client, "{}").expect("an answer after the crash");
    wait_until("everything is booked", SOON, || {
        client
            .query_one("SELECT count(*) = 0 FROM hiems_private.calls", &[])
            .is_ok_and(|row| row.get(0))
    });
    let rows = client
        .query("SELECT outcome, cost_usd::text FROM hiems.ai_usage_logs ORDER BY created_at", &[])
        .expect("the ledger");
    let outcomes: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(outcomes, ["committed", "committed", "rolled_back", "failed", "committed"]);
    let bill = fake.bill();
    for (row, generation) in rows.iter().zip(&bill) {
        assert_eq!(row.get::<_, String>(1), generation.cost);
    }
    assert_eq!(fake.requests().len(), 5, "nothing was sent again");
    assert!(spills(&cluster.data(), &oid).is_empty());
}

// What would only be kept for later is let go.
#[test]
fn kept_answers_are_no_reason_to_wait() {
    let database = Database::new();
    let mut client = impatient(&database);
    let _holder = lock(database.admin(), "hiems_private.answers, hiems_private.content_logs");
    let odd = r#"{"id": "gen-1", "choices": [{"message": {"content": "\u0000"}}]}"#;
    call(&mut client, &directives(&[("fake_body", odd)])).expect("an answer");
    assert_eq!(database.count(LEDGER), 1);
}

#[test]
fn content_is_logged_behind_a_locked_journal() {
    let database = Database::without_key();
    database.set("hiems.log_content", "on");
    let mut client = impatient(&database);
    client.execute("SELECT hiems.set_api_key($1)", &[&KEY]).expect("a key");
    let holder = lock(database.admin(), JOURNAL);
    call(&mut client, &directives(&[("fake_answer", "here it is")])).expect("an answer");
    drop(holder);
    booked(&database);
    let logged = database.text(
        "SELECT string_agg(concat_ws(' ', request ~ 'messages', answer ~ 'here it is'), ',')
         FROM hiems_private.content_logs",
        &[],
    );
    assert_eq!(logged.as_deref(), Some("t t"));
}

// Their readers are the gateway's, and would hold up everybody.
#[test]
fn locked_rates_and_keys_hold_up_nobody() {
    let database = Database::new();
    let mut client = impatient(&database);
    client
        .execute("SELECT hiems.set_exchange_rate('USD', 10.5, current_date - 1, 'x')", &[])
        .expect("a rate");
    call(&mut client, "{}").expect("an answer");
    let holder = lock(database.admin(), "hiems_private.exchange_rates, hiems_private.api_keys");
    for _ in 0..3 {
        call(&mut client, "{}").expect("an answer");
    }
    client.batch_execute("BEGIN").expect("a begin");
    call(&mut client, "{}").expect("an answer");
    client.batch_execute("ROLLBACK").expect("a rollback");
    assert_eq!(database.count(LEDGER), 1, "their rows wait for their rates");
    drop(holder);
    let outcomes: Vec<String> = booked(&database).into_iter().map(|(outcome, _)| outcome).collect();
    assert_eq!(outcomes, ["committed", "committed", "committed", "committed", "rolled_back"]);
    assert_eq!(database.count("hiems.ai_usage_logs WHERE cost_sek = cost_usd * 10.5"), 5);
}

#[test]
fn a_key_that_is_locked_and_was_never_read_is_an_error() {
    let database = Database::new();
    let _holder = lock(database.admin(), "hiems_private.api_keys");
    let refusal = call(&mut impatient(&database), "{}").refusal();
    assert_eq!(refusal.sqlstate, "PT503");
    assert_eq!(refusal.message, "the stored keys are locked");
    assert_eq!(database.fake.requests().len(), 0);
}

// What operators do: none of it may cost a call its answer or its row.
#[test]
fn rewriting_the_tables_under_load_loses_nothing() {
    let database = Database::new();
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..8)
            .map(|_| {
                let mut client = impatient(&database);
                scope.spawn(move || {
                    let mut longest = Duration::ZERO;
                    for i in 0..60 {
                        if i % 3 == 0 {
                            client.batch_execute("BEGIN").expect("a begin");
                        }
                        let started = std::time::Instant::now();
                        call(&mut client, "{}").expect("an answer");
                        longest = longest.max(started.elapsed());
                        if i % 3 == 0 {
                            client.batch_execute("ROLLBACK").expect("a rollback");
                        }
                    }
                    longest
                })
            })
            .collect();
        let mut admin = database.admin();
        while callers.iter().any(|caller| !caller.is_finished()) {
            for sql in [
                "VACUUM FULL hiems.ai_usage_logs",
                "VACUUM FULL hiems_private.calls",
                "REINDEX TABLE hiems.ai_usage_logs",
                "REINDEX TABLE hiems_private.calls",
                "CLUSTER hiems.ai_usage_logs USING ai_usage_logs_created_at",
            ] {
                admin.batch_execute(sql).expect(sql);
            }
            for table in [JOURNAL, LEDGER] {
                let held = lock(database.admin(), table);
                let before = database.fake.requests().len();
                wait_until("calls go on behind the lock", SOON, || {
                    database.fake.requests().len() >= before + 40
                        || callers.iter().all(|caller| caller.is_finished())
                });
                drop(held);
            }
        }
        let longest = callers.into_iter().map(|c| c.join().expect("every call was answered")).max();
        println!("the longest call took {longest:?}");
    });
    let outcomes = booked(&database);
    assert_eq!(outcomes.len(), 480);
    assert_eq!(outcomes.iter().filter(|(outcome, _)| outcome == "committed").count(), 320);
    assert_eq!(outcomes.iter().filter(|(outcome, _)| outcome == "rolled_back").count(), 160);
}
