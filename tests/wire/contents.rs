//! What was said: answers that their callers do not have, and prompts where the operator logs them.

use hiems_tests::{
    Database, KEY, ResultExt, Running, SOON, call, cluster, directives, user_message, wait_until,
};
use postgres::Client;
use serde_json::Value;

/// An answer that jsonb refuses.
const ODD: &str = r#"{"id": "gen-1", "choices": [{"message": {"content": "a\u0000b\ud800"}}],
    "usage": {"cost": 0.25}}"#;

/// Without the white space that kept the connection awake.
fn raw(client: &mut Client, id: &str) -> Result<Vec<u8>, postgres::Error> {
    let row = client.query_one("SELECT hiems.raw_answer($1::text::uuid)", &[&id])?;
    Ok(row.get::<_, &[u8]>(0).trim_ascii().to_vec())
}

fn only_id(database: &Database) -> String {
    let rows = database.ledger();
    assert_eq!(rows.len(), 1);
    rows[0]["id"].as_str().expect("an id").to_owned()
}

#[test]
fn an_answer_that_was_changed_is_flagged_and_can_be_had_as_it_came() {
    let mut database = Database::new();
    let (ada, bob) = (database.role_with("caller"), database.role_with("admin"));
    let (notices, told) = std::sync::mpsc::channel();
    let mut config = cluster().config(&database.name, &ada);
    config.notice_callback(move |notice| {
        // The receiver is there as long as the test.
        let _ = notices.send((notice.message().to_owned(), notice.hint().map(str::to_owned)));
    });
    let mut client = config.connect(postgres::NoTls).expect("a connection");
    let answer = call(&mut client, &directives(&[("fake_body", ODD)])).expect("an answer");
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    assert_eq!(answer["choices"][0]["message"]["content"], "a\u{fffd}b\u{fffd}");
    let id = only_id(&database);
    let (message, hint) = told.recv_timeout(SOON).expect("a warning");
    assert_eq!(message, "the answer was changed to fit jsonb");
    assert!(hint.is_some_and(|hint| hint.contains(&format!("hiems.raw_answer('{id}')"))));
    assert_eq!(raw(&mut client, &id).expect("the answer"), ODD.as_bytes());
    // Nobody else's, whatever their level; and as if it did not exist.
    let refusal = raw(&mut database.connect(&bob), &id).refusal();
    assert_eq!(refusal.sqlstate, "PT404");
    let none = "00000000-0000-7000-8000-000000000000";
    let other = raw(&mut database.connect(&bob), none).refusal();
    assert_eq!((refusal.message, refusal.hint), (other.message, other.hint));
    let nobody = database.role_with("reader");
    assert_eq!(raw(&mut database.connect(&nobody), &id).sqlstate(), "42501");
    let null: Option<Vec<u8>> =
        client.query_one("SELECT hiems.raw_answer(NULL)", &[]).expect("NULL").get(0);
    assert_eq!(null, None);
    // An ordinary answer is neither flagged nor kept.
    call(&mut client, "{}").expect("an answer");
    assert!(told.try_recv().is_err());
    assert_eq!(database.count("hiems_private.answers"), 1);
}

#[test]
fn an_answer_that_cannot_be_given_is_kept() {
    let database = Database::new();
    let mut client = database.admin();
    let deep = format!(
        r#"{{"id": "gen-1", "choices": [{}{}], "usage": {{"cost": 0.5}}}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    for body in [deep.as_str(), "{\"id\": \"gen-2\"", "<html>"] {
        let refusal = call(&mut client, &directives(&[("fake_body", body)])).refusal();
        assert_eq!(refusal.sqlstate, "PT502");
        assert!(refusal.hint.contains("hiems.raw_answer()"), "{refusal:?}");
        let id = refusal.detail.strip_prefix("call ").and_then(|rest| rest.get(..36));
        let id = id.expect("the call's id").to_owned();
        assert!(raw(&mut client, &id).expect("the answer") == body.as_bytes());
    }
    database.wait_until_booked();
    assert_eq!(database.ledger()[0]["cost_usd"].to_string(), "0.5");
}

#[test]
fn the_answer_to_a_cancelled_call_is_kept_for_its_caller() {
    let mut database = Database::new();
    let role = database.role_with("caller");
    let slow = directives(&[("fake_delay_ms", "1000"), ("fake_answer", "here it is")]);
    let running = Running::in_flight(&database, database.connect(&role), &slow, 1);
    database.admin().execute("SELECT pg_cancel_backend($1)", &[&running.pid]).expect("a signal");
    let (mut client, answer) = running.end();
    assert_eq!(answer.sqlstate(), "57014");
    database.wait_until_booked();
    let id = only_id(&database);
    let answer = raw(&mut client, &id).expect("the answer");
    let answer: Value = serde_json::from_slice(&answer).expect("JSON");
    assert_eq!(answer["choices"][0]["message"]["content"], "here it is");
    assert_eq!(database.ledger()[0]["outcome"], "cancelled");
}

#[test]
fn answers_are_kept_for_their_time() {
    let database = Database::new();
    let mut client = database.admin();
    let odd = directives(&[("fake_body", ODD)]);
    call(&mut client, &odd).expect("an answer");
    let id = only_id(&database);
    client
        .batch_execute("UPDATE hiems_private.answers SET kept_at = kept_at - interval '61 minutes'")
        .expect("an hour");
    assert_eq!(raw(&mut client, &id).sqlstate(), "PT404");
    // It is gone from the table, too, once a gateway looks.
    let gateway = database.gateways()[0];
    client.execute("SELECT pg_terminate_backend($1)", &[&gateway]).expect("a signal");
    // It might take this call yet.
    wait_until("the gateway has left", SOON, || !database.gateways().contains(&gateway));
    call(&mut client, "{}").expect("an answer");
    wait_until("it is forgotten", SOON, || database.count("hiems_private.answers") == 0);

    let database = Database::without_key();
    database.set("hiems.answer_retention", "0");
    let mut client = database.admin();
    client.execute("SELECT hiems.set_api_key($1)", &[&KEY]).expect("a key");
    call(&mut client, &odd).expect("an answer");
    assert_eq!(database.count("hiems_private.answers"), 0);
    assert_eq!(raw(&mut client, &only_id(&database)).sqlstate(), "PT404");
}

#[test]
fn prompts_and_answers_are_logged_only_where_the_operator_says_so() {
    let mut database = Database::new();
    let role = database.role_with("admin");
    call(&mut database.connect(&role), "{}").expect("an answer");
    assert_eq!(database.count("hiems_private.content_logs"), 0);

    database.set("hiems.log_content", "on");
    let mut admin = database.admin();
    // A gateway that is still leaving could answer the next call, by the old setting.
    database.end_gateway();
    let mut client = database.connect(&role);
    let options = directives(&[("fake_answer", "an answer"), ("fake_cost", "0.5")]);
    client.batch_execute("BEGIN").expect("a begin");
    client
        .query_one(
            "SELECT hiems.submit_prompt('openai/gpt-4o-mini', $1::text::jsonb, options => $2::text::jsonb)",
            &[&user_message("a secret question"), &options],
        )
        .expect("an answer");
    client.batch_execute("ROLLBACK").expect("a rollback");
    call(&mut client, &directives(&[("fake_status", "402")])).expect_err("a failure");
    database.wait_until_booked();
    let logged = admin
        .query(
            "SELECT c.request::jsonb #>> '{messages,0,content}', c.answer, l.cost_usd::text
             FROM hiems_private.content_logs AS c JOIN hiems.ai_usage_logs AS l ON l.id = c.call_id
             ORDER BY l.created_at",
            &[],
        )
        .expect("the log");
    assert_eq!(logged.len(), 2);
    assert_eq!(logged[0].get::<_, &str>(0), "a secret question");
    let answer: Value = serde_json::from_str(logged[0].get(1)).expect("JSON");
    assert_eq!(answer["choices"][0]["message"]["content"], "an answer");
    assert_eq!(logged[0].get::<_, &str>(2), "0.5");
    assert!(logged[1].get::<_, &str>(1).contains("\"error\""));
    // It is nobody's to read but a superuser's, nor to switch on.
    let read = client.query("SELECT FROM hiems_private.content_logs", &[]);
    assert_eq!(read.sqlstate(), "42501");
    assert_eq!(client.batch_execute("SET hiems.log_content = on").sqlstate(), "42501");
    // Nor does a dump have it.
    let dump = cluster().program("pg_dump").arg(&database.name).output().expect("pg_dump runs");
    assert!(dump.status.success());
    let dump = String::from_utf8_lossy(&dump.stdout).into_owned();
    assert!(dump.contains("COPY hiems.ai_usage_logs"));
    assert!(!dump.contains("a secret question") && !dump.contains("an answer"));
    assert!(
        !dump.contains("hiems_private.content_logs") && !dump.contains("hiems_private.answers")
    );
}
