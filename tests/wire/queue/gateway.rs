//! The queue outlives gateways and servers, and sends nothing twice.

use hiems_tests::{Cluster, Config, Database, ResultExt, SOON, wait_until};
use serde_json::{Value, json};

use super::{answer_of, assert_bill, enqueue, enqueue_many, enqueue_with, item};

fn many(count: usize, delay_ms: &str) -> Value {
    let items: Vec<Value> = (0..count)
        .map(|i| {
            let mut item = item(&[("fake_delay_ms", delay_ms)]);
            item["user"] = json!(format!("u{i}"));
            item
        })
        .collect();
    json!(items)
}

/// No request of the fake's came twice.
fn assert_sent_once(users: impl Iterator<Item = Value>) {
    let mut users: Vec<String> = users.map(|user| user.to_string()).collect();
    let sent = users.len();
    users.sort_unstable();
    users.dedup();
    assert_eq!(users.len(), sent);
}

#[test]
fn a_gateway_that_is_told_to_end_leaves_the_rest_to_the_next_which_starts_by_itself() {
    let database = Database::with("hiems.queue_concurrency", "4");
    let mut client = database.admin();
    let ids = enqueue_many(&mut client, &many(40, "50")).expect("ids");
    for _ in 0..3 {
        let before = database.gateways();
        for pid in &before {
            client.execute("SELECT pg_terminate_backend($1)", &[pid]).expect("a signal");
        }
        // Nobody calls: the postmaster starts it.
        wait_until("there is another", SOON, || {
            let now = database.gateways();
            !now.is_empty() && now.iter().all(|pid| !before.contains(pid))
        });
    }
    for id in &ids {
        answer_of(&mut client, id).expect("an answer");
    }
    assert_bill(&database);
    assert_eq!(database.count("hiems.ai_usage_logs WHERE outcome = 'committed'"), 40);
    assert_sent_once(database.fake.requests().iter().map(|r| r.body["user"].clone()));
}

#[test]
fn after_a_crash_of_the_server_it_goes_on_by_itself() {
    let cluster = Cluster::start(&[]);
    let database = Database::on(&cluster, Config::default());
    database.set("hiems.queue_concurrency", "4");
    database.set("hiems.settlement_timeout", "0");
    database.store_key();
    enqueue_many(&mut database.admin(), &many(24, "150")).expect("ids");
    wait_until("some are in flight", SOON, || database.fake.requests().len() >= 6);
    let gateway = u32::try_from(database.gateways()[0]).expect("a pid");
    // SAFETY: a signal to the test's own server's process.
    let killed = std::process::Command::new("kill").args(["-9", &gateway.to_string()]).status();
    assert!(killed.expect("kill").success());
    wait_until("each call has ended", SOON, || {
        database.config("postgres").connect(postgres::NoTls).is_ok_and(|mut client| {
            client
                .query_one("SELECT count(*) = 24 FROM hiems.ai_usage_logs", &[])
                .is_ok_and(|row| row.get(0))
        })
    });
    assert_sent_once(database.fake.requests().iter().map(|r| r.body["user"].clone()));
    let unknown = database.count("hiems.ai_usage_logs WHERE outcome = 'unknown'");
    assert!((0..=4).contains(&unknown), "{unknown} of four in flight");
    // Some of them may have been about to be sent.
    let sent = database.fake.requests().len() as i64;
    assert!((24 - unknown..=24).contains(&sent), "{sent} requests, {unknown} unknown");
    assert_eq!(
        database.count("hiems.ai_usage_logs WHERE outcome = 'committed'") + unknown,
        24,
        "every call is booked"
    );
}

#[test]
fn a_restarted_server_goes_on_with_the_first_who_asks() {
    let mut cluster = Cluster::start(&[]);
    let database = Database::on(&cluster, Config::default());
    database.store_key();
    let id = enqueue_with(&mut database.admin(), &[], ", run_at => now() + interval '1 second'")
        .expect("an id");
    let (name, fake) = database.into_parts();
    cluster.stop("fast");
    cluster.restart();
    let mut client = cluster.connect(&name, "postgres");
    answer_of(&mut client, &id).expect("an answer");
    assert_eq!(fake.requests().len(), 1);
}

#[test]
fn an_idle_gateway_stays_for_what_is_queued_and_for_a_transaction_that_enqueues() {
    let database = Database::with("hiems.worker_idle_timeout", "200");
    let mut client = database.admin();
    let mut transaction = client.transaction().expect("a transaction");
    let id = enqueue_with(&mut transaction, &[], ", run_at => now() + interval '2 seconds'")
        .expect("an id");
    let gateway = database.gateways();
    // Longer than it would stay for nothing: another one, which was started later, has left by then.
    let other = Database::with("hiems.worker_idle_timeout", "200");
    wait_until("the other one has left", SOON, || other.gateways().is_empty());
    assert_eq!(database.gateways(), gateway);
    transaction.commit().expect("a commit");
    answer_of(&mut client, &id).expect("an answer");
    assert_eq!(database.gateways(), gateway);
    assert_bill(&database);
    wait_until("it leaves then", SOON, || database.gateways().is_empty());
}

#[test]
fn a_database_with_calls_in_its_queue_can_be_dropped() {
    let cluster = Cluster::start(&[]);
    let database = Database::on(&cluster, Config::default());
    database.store_key();
    enqueue_with(&mut database.admin(), &[], ", run_at => now() + interval '1 day'")
        .expect("an id");
    let mut admin = cluster.connect("postgres", "postgres");
    admin
        .batch_execute(&format!("CREATE DATABASE copy TEMPLATE {}", database.name))
        .expect("a copy");
    let (name, fake) = database.into_parts();
    admin.batch_execute(&format!("DROP DATABASE {name}")).expect("a drop");
    let mut copy = cluster.connect("copy", "postgres");
    assert_eq!(enqueue(&mut copy, &[]).map(|_| ()).map_err(|e| e.to_string()), Ok(()));
    drop(copy);
    admin.batch_execute("DROP DATABASE copy").expect("a drop");
    assert_eq!(fake.requests().len(), fake.bill().len());
    let missing = cluster.config("copy", "postgres").connect(postgres::NoTls).map(|_| ());
    assert_eq!(missing.sqlstate(), "3D000");
}
