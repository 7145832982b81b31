//! The gateway starts once, leaves when idle, ends in order, and what it leaves is booked.

use std::time::Duration;

use hiems_tests::{
    Cluster, Config, Database, KEY, ResultExt, SOON, directives, user_message, wait_until,
};
use postgres::Client;

fn call(client: &mut Client, options: &[(&str, &str)]) -> Result<String, postgres::Error> {
    let row = client.query_one(
        "SELECT hiems.submit_prompt('openai/gpt-4o-mini', $1::text::jsonb,
                                    options => $2::text::jsonb) ->> 'id'",
        &[&user_message("hello"), &directives(options)],
    )?;
    Ok(row.get(0))
}

#[test]
fn sixteen_first_calls_start_one_gateway() {
    // The log says when a worker is asked for.
    let cluster = Cluster::start(&["log_min_messages = debug1"]);
    let database = Database::on(&cluster, Config::default());
    database.admin().execute("SELECT hiems.set_api_key($1)", &[&KEY]).expect("a key");
    let starts =
        || cluster.log().matches("  registering background worker \"hiems gateway").count();
    // The gateway that sealed the key makes way, so that all calls are first ones.
    for round in 1..=5 {
        database.end_gateway();
        std::thread::scope(|scope| {
            for _ in 0..16 {
                let mut client = database.admin();
                scope.spawn(move || call(&mut client, &[]).expect("an answer"));
            }
        });
        assert_eq!(database.gateways().len(), 1);
        assert_eq!(starts(), 1 + round, "round {round}");
        assert_eq!(database.fake.bill().len(), 16 * round);
    }
}

#[test]
fn an_idle_gateway_leaves_and_the_next_call_starts_another() {
    let database = Database::without_key();
    database.set("hiems.worker_idle_timeout", "300ms");
    let mut client = database.admin();
    client.execute("SELECT hiems.set_api_key($1)", &[&KEY]).expect("a key");
    call(&mut client, &[]).expect("an answer");
    wait_until("the gateway has left", SOON, || database.gateways().is_empty());
    // This session still holds its connection to the gateway that is gone.
    call(&mut client, &[]).expect("an answer from the next gateway");
    assert_eq!(database.fake.bill().len(), 2);
    assert_eq!(database.count("hiems.ai_usage_logs"), 2);
}

#[test]
fn connections_to_openrouter_are_kept() {
    let database = Database::new();
    let mut client = database.admin();
    for _ in 0..20 {
        call(&mut client, &[]).expect("an answer");
    }
    assert_eq!(database.fake.connections(), 1);
}

#[test]
fn a_gateway_that_is_told_to_end_finishes_what_is_in_flight() {
    let database = Database::new();
    let pid = database.gateways()[0];
    std::thread::scope(|scope| {
        let mut client = database.admin();
        let answer = scope.spawn(move || call(&mut client, &[("fake_delay_ms", "1000")]));
        wait_until("the call is in flight", SOON, || database.fake.in_flight() == 1);
        terminate(&database, pid);
        let id = answer.join().expect("no panic").expect("the answer");
        assert_eq!(database.fake.bill()[0].id, id);
    });
    wait_until("the gateway has left", SOON, || database.gateways().is_empty());
    assert_eq!(
        database.text("SELECT string_agg(outcome, ',') FROM hiems.ai_usage_logs", &[]).as_deref(),
        Some("committed")
    );
}

#[test]
fn gateways_that_are_ended_again_and_again_lose_nothing() {
    let database = Database::new();
    let (sessions, calls) = (8, 60);
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..sessions)
            .map(|_| {
                let mut client = database.admin();
                scope.spawn(move || {
                    for _ in 0..calls {
                        call(&mut client, &[("fake_delay_ms", "5")]).expect("an answer");
                    }
                })
            })
            .collect();
        // The gateways are ended after every eight answers. Ended by the clock, on a busy machine several
        // in a row would end before they are ready, and their callers would be refused.
        let mut ended = std::collections::HashSet::new();
        let mut answers = 0;
        while callers.iter().any(|caller| !caller.is_finished()) {
            let billed = database.fake.bill().len();
            if billed >= answers + sessions {
                answers = billed;
                for pid in database.gateways() {
                    terminate(&database, pid);
                    ended.insert(pid);
                }
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
        assert!(ended.len() > 2, "the gateway was ended {} times", ended.len());
        for caller in callers {
            caller.join().expect("every call was answered");
        }
    });
    database.wait_until_booked();
    assert_eq!(database.fake.bill().len(), sessions * calls);
    assert_eq!(database.count("hiems.ai_usage_logs WHERE outcome = 'committed'"), 480);
}

#[test]
fn what_a_gateway_cannot_book_any_more_another_one_books_unasked() {
    let database = Database::new();
    let mut client = database.admin();
    let requests = r#"
        SELECT jsonb_agg(jsonb_build_object(
                   'model', 'openai/gpt-4o-mini',
                   'messages', '[{"role": "user", "content": "hello"}]'::jsonb))
        FROM generate_series(1, 600)"#;
    let many = format!("SELECT count(*) FROM hiems.submit_prompts(({requests}), 100)");
    client.batch_execute(&format!("BEGIN; {many}")).expect("answers");
    for pid in database.gateways() {
        terminate(&database, pid);
    }
    client.batch_execute("ROLLBACK").expect("a rollback");
    database.wait_until_booked();
    assert_eq!(database.count("hiems.ai_usage_logs WHERE outcome = 'rolled_back'"), 600);
}

#[test]
fn after_a_crash_what_was_in_flight_is_looked_up_and_never_sent_again() {
    let mut cluster = Cluster::start(&[]);
    let database = Database::on(&cluster, Config::default());
    database.admin().execute("SELECT hiems.set_api_key($1)", &[&KEY]).expect("a key");
    let (name, fake) = database.into_parts();
    let mut client = cluster.connect(&name, "postgres");
    call(&mut client, &[]).expect("an answer");
    std::thread::scope(|scope| {
        scope.spawn(|| call(&mut client, &[("fake_delay_ms", "4000")]).expect_err("the crash"));
        let mut admin = cluster.connect(&name, "postgres");
        wait_until("the id of the call in flight is in the journal", SOON, || {
            admin
                .query_one(
                    "SELECT EXISTS (SELECT FROM hiems_private.calls WHERE generation_id IS NOT NULL)",
                    &[],
                )
                .is_ok_and(|row| row.get(0))
        });
        cluster.stop("immediate");
    });
    cluster.restart();
    let mut client = cluster.connect(&name, "postgres");
    call(&mut client, &[]).expect("an answer after the crash");
    wait_until("the call in flight is booked", SOON, || {
        client
            .query_one("SELECT count(*) = 0 FROM hiems_private.calls", &[])
            .is_ok_and(|row| row.get(0))
    });
    let rows = client
        .query(
            "SELECT outcome, cost_source, cost_usd::text, generation_id
             FROM hiems.ai_usage_logs ORDER BY created_at",
            &[],
        )
        .expect("the ledger");
    let outcomes: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(outcomes, ["committed", "failed", "committed"]);
    let lost = &fake.bill()[1];
    assert_eq!(rows[1].get::<_, String>(1), "settled");
    assert_eq!(rows[1].get::<_, String>(2), lost.cost);
    assert_eq!(rows[1].get::<_, String>(3), lost.id);
    assert_eq!(fake.requests().len(), 3, "nothing was sent again");
}

#[test]
fn databases_can_be_dropped_renamed_and_copied_with_the_gateway_up() {
    let database = Database::new();
    let name = &database.name;
    assert_eq!(database.gateways().len(), 1);
    let mut elsewhere = hiems_tests::cluster().connect("postgres", "postgres");
    elsewhere
        .batch_execute(&format!("ALTER DATABASE {name} RENAME TO {name}_renamed"))
        .expect("rename");
    elsewhere
        .batch_execute(&format!("ALTER DATABASE {name}_renamed RENAME TO {name}"))
        .expect("rename");
    call(&mut database.admin(), &[]).expect("an answer");
    elsewhere
        .batch_execute(&format!("CREATE DATABASE {name}_copy TEMPLATE {name}"))
        .expect("a copy");
    elsewhere.batch_execute(&format!("DROP DATABASE {name}_copy")).expect("a drop");
    call(&mut database.admin(), &[]).expect("an answer");
    elsewhere.batch_execute(&format!("DROP DATABASE {name}")).expect("a drop without FORCE");
}

#[test]
fn without_a_free_worker_slot_the_error_names_the_setting() {
    let cluster = Cluster::start(&["max_worker_processes = 0"]);
    let database = Database::on(&cluster, Config::default());
    let refusal = database.admin().execute("SELECT hiems.set_api_key($1)", &[&KEY]).refusal();
    assert_eq!(refusal.sqlstate, "PT503");
    assert!(refusal.hint.contains("max_worker_processes"), "{refusal:?}");
}

fn terminate(database: &Database, pid: i32) {
    database.admin().execute("SELECT pg_terminate_backend($1)", &[&pid]).expect("a signal");
}
