//! `CALL hiems.submit_prompt_detached()`: nothing is held while it waits, and the row is there with the answer.

mod ends;
mod places;

use std::time::Duration;

use hiems_tests::{Database, ResultExt, Running, SOON, directives, user_message, wait_until};
use postgres::{Client, Error, SimpleQueryMessage};
use serde_json::{Value, json};

/// The statement, with these `options` and more arguments.
fn statement(options: &str, more: &str) -> String {
    let messages = user_message("hello");
    format!(
        "CALL hiems.submit_prompt_detached('openai/gpt-4o-mini', '{messages}',
                                           options => '{options}'{more})"
    )
}

fn run(client: &mut Client, sql: &str) -> Result<String, Error> {
    let rows = client.simple_query(sql)?;
    let answer = rows.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row.get("answer").expect("an answer").to_owned()),
        _ => None,
    });
    Ok(answer.expect("a row"))
}

/// One call with these `options`; the answer as JSON text.
fn detached(client: &mut Client, options: &str) -> Result<String, Error> {
    run(client, &statement(options, ""))
}

fn content(answer: &str) -> Value {
    let answer: Value = serde_json::from_str(answer).expect("JSON");
    answer["choices"][0]["message"]["content"].clone()
}

/// Panics unless the ledger, as it is now, has a row for each generation with its cost, and these outcomes.
#[track_caller]
fn assert_booked(database: &Database, outcomes: &[&str]) {
    let (rows, bill) = (database.ledger(), database.fake.bill());
    let booked: Vec<_> = rows.iter().map(|row| row["outcome"].as_str().unwrap_or("")).collect();
    assert_eq!(booked, outcomes);
    for generation in &bill {
        let mut of = rows.iter().filter(|row| row["generation_id"] == json!(generation.id));
        let row = of.next().expect("its row");
        assert_eq!(row["cost_usd"].to_string(), generation.cost);
    }
}

#[test]
fn the_row_is_there_with_the_answer() {
    let database = Database::new();
    let mut client = database.admin();
    for text in ["one", "two", "three"] {
        let answer = detached(&mut client, &directives(&[("fake_answer", text)]));
        assert_eq!(content(&answer.expect("an answer")), text);
        let id = database.fake.bill().last().expect("a generation").id.clone();
        let found = "SELECT count(*) FROM hiems.ai_usage_logs WHERE generation_id = $1";
        let rows: i64 = client.query_one(found, &[&id]).expect("the ledger").get(0);
        assert_eq!(rows, 1, "{text}");
    }
    assert_booked(&database, &["committed"; 3]);
    assert_eq!(database.count("hiems_private.calls"), 0);
    assert_eq!(database.count("hiems_private.answers"), 0, "its caller has it");
}

#[test]
fn every_argument_is_as_in_submit_prompt() {
    let database = Database::new();
    let mut client = database.admin();
    let more =
        ", \"user\" => 'u1', use_case => 'quiz', session_id => 's1', metadata => '{\"n\": 1.10}'";
    run(&mut client, &statement(r#"{"temperature": 0.20}"#, more)).expect("an answer");
    let body = &database.fake.requests()[0].body;
    assert_eq!(body["user"], "u1");
    assert_eq!(body["session_id"], "s1");
    assert_eq!(body["temperature"].to_string(), "0.20");
    let rows = database.ledger();
    let row = &rows[0];
    assert_eq!(row["use_case"], "quiz");
    assert_eq!(row["metadata"].to_string(), r#"{"n":1.10}"#);
    assert_eq!(row["principal"], "role:postgres");
    // By place, and with the default model.
    client.batch_execute("SET hiems.default_model = 'a/b'").expect("a setting");
    let call =
        "CALL hiems.submit_prompt_detached(NULL, '[{\"role\": \"user\", \"content\": \"x\"}]')";
    assert!(run(&mut client, call).is_ok());
    assert_eq!(database.ledger()[1]["model_requested"], "a/b");
}

/// Of the session: its snapshot's xmin, and its transaction id.
fn held(database: &Database, pid: i32) -> (Option<String>, Option<String>) {
    let row = database
        .admin()
        .query_one(
            "SELECT backend_xmin::text, backend_xid::text FROM pg_stat_activity
             WHERE pid = $1 AND state = 'active'",
            &[&pid],
        )
        .expect("the session");
    (row.get(0), row.get(1))
}

#[test]
fn nothing_is_held_while_it_waits() {
    let database = Database::new();
    let mut admin = database.admin();
    admin
        .batch_execute("CREATE TABLE public.t AS SELECT i FROM generate_series(1, 1000) AS i")
        .expect("a table");
    // The gateway is started by the call as well as found.
    for is_new in [false, true] {
        if is_new {
            let gateway = database.gateways()[0];
            admin.execute("SELECT pg_terminate_backend($1)", &[&gateway]).expect("a signal");
            wait_until("the gateway has left", SOON, || !database.gateways().contains(&gateway));
        }
        let options = directives(&[("fake_delay_ms", "3000")]);
        let running = Running::with(database.admin(), move |client| detached(client, &options));
        running.wait_until_in_flight(&database, 1);
        assert_eq!(held(&database, running.pid), (None, None), "a new gateway: {is_new}");
        admin.batch_execute("DELETE FROM public.t").expect("dead rows");
        // It gives back what it empties only where it may remove every row.
        wait_until("VACUUM removes the dead rows", Duration::from_secs(2), || {
            admin.batch_execute("VACUUM public.t").expect("a vacuum");
            let size = "SELECT pg_relation_size('public.t')";
            admin.query_one(size, &[]).expect("its size").get::<_, i64>(0) == 0
        });
        assert_eq!(database.fake.in_flight(), 1, "the call is in flight yet");
        running.end().1.expect("an answer");
        admin.batch_execute("INSERT INTO public.t SELECT generate_series(1, 1000)").expect("rows");
    }
    assert_booked(&database, &["committed"; 2]);
    // Unlike hiems.submit_prompt().
    let options = directives(&[("fake_delay_ms", "1500")]);
    let running = Running::in_flight(&database, database.admin(), &options, 1);
    assert!(matches!(held(&database, running.pid), (Some(_), Some(_))));
    running.end().1.expect("an answer");
}

#[test]
fn a_key_is_honoured() {
    let database = Database::new();
    let mut client = database.admin();
    let options = directives(&[("fake_answer", "once")]);
    let keyed = statement(&options, ", idempotency_key => 'k'");
    let first = run(&mut client, &keyed).expect("an answer");
    let second = run(&mut client, &keyed).expect("an answer");
    assert_eq!((content(&first), content(&second)), (json!("once"), json!("once")));
    assert!(second.contains(r#""replayed": true"#), "{second}");
    assert_eq!(database.fake.requests().len(), 1);
    // The same key, whatever the form of the call.
    let row = client.query_one(
        &format!(
            "SELECT (hiems.submit_prompt('openai/gpt-4o-mini', '{}', options => '{options}',
                     idempotency_key => 'k') -> 'hiems' ->> 'replayed')",
            user_message("hello")
        ),
        &[],
    );
    assert_eq!(row.expect("an answer").get::<_, &str>(0), "true");
    let other = statement("{}", ", idempotency_key => 'k'");
    assert_eq!(run(&mut client, &other).sqlstate(), "22023");
    // It set the key free.
    let failing = statement(&directives(&[("fake_status", "402")]), ", idempotency_key => 'l'");
    assert_eq!(run(&mut client, &failing).sqlstate(), "PT402");
    assert_eq!(run(&mut client, &failing).sqlstate(), "PT402");
    assert_booked(&database, &["committed", "failed", "failed"]);
}

#[test]
fn a_tokens_user_owns_its_call() {
    let mut database = Database::new();
    let role = database.role_with("caller");
    database.set("hiems.jwt_session_roles", &role);
    let mut client = database.connect(&role);
    client.batch_execute("SET request.jwt.claims = '{\"sub\": \"alice\"}'").expect("claims");
    detached(&mut client, "{}").expect("an answer");
    let other = statement("{}", ", \"user\" => 'bob'");
    assert_eq!(run(&mut client, &other).sqlstate(), "42501");
    client.batch_execute("SET default_transaction_isolation = 'serializable'").expect("a level");
    assert_eq!(detached(&mut client, "{}").sqlstate(), "0A000");
    let rows = database.ledger();
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (&rows[0]["principal"], &rows[0]["user_id"]),
        (&json!("jwt:alice"), &json!("alice"))
    );
}

#[test]
fn a_role_needs_the_level() {
    let mut database = Database::new();
    let (none, reader, caller) =
        (database.role("none"), database.role_with("reader"), database.role_with("caller"));
    assert_eq!(detached(&mut database.connect(&none), "{}").sqlstate(), "42501");
    database.open_by_hand(&none);
    assert_eq!(detached(&mut database.connect(&none), "{}").sqlstate(), "42501");
    assert_eq!(detached(&mut database.connect(&reader), "{}").sqlstate(), "42501");
    detached(&mut database.connect(&caller), "{}").expect("an answer");
    database.admin().execute("SELECT hiems.revoke_access($1)", &[&caller]).expect("no level");
    assert_eq!(detached(&mut database.connect(&caller), "{}").sqlstate(), "42501");
    assert_eq!(database.fake.requests().len(), 1);
    assert_booked(&database, &["committed"]);
}
