//! `idempotency_key`: a call that was made is not made again.

use hiems_tests::{Database, ResultExt, Running, SOON, directives, user_message, wait_until};
use postgres::Client;
use serde_json::{Value, json};

mod crash;
mod locks;

fn keyed(
    client: &mut Client,
    key: &str,
    wishes: &[(&str, &str)],
) -> Result<String, postgres::Error> {
    said(client, key, "hello", wishes)
}

fn said(
    client: &mut Client,
    key: &str,
    text: &str,
    wishes: &[(&str, &str)],
) -> Result<String, postgres::Error> {
    let row = client.query_one(
        "SELECT hiems.submit_prompt('openai/gpt-4o-mini', $1::text::jsonb, options => $2::text::jsonb,
                                    idempotency_key => $3)::text",
        &[&user_message(text), &directives(wishes), &key],
    )?;
    Ok(row.get(0))
}

fn read(answer: &str) -> Value {
    serde_json::from_str(answer).expect("JSON")
}

/// The answer without its mark, and whether it has one.
fn unmarked(answer: &str) -> (Value, bool) {
    let mut answer = read(answer);
    let mark = answer.as_object_mut().expect("an object").remove("hiems");
    (answer, mark.is_some_and(|mark| mark["replayed"] == true))
}

fn assert_one_call(database: &Database) {
    database.wait_until_booked();
    assert_eq!(database.fake.requests().len(), 1, "it is sent once");
    let rows = database.ledger();
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(rows[0]["cost_usd"].to_string(), database.fake.bill()[0].cost);
}

#[test]
fn a_second_call_gets_the_first_one_s_answer() {
    let database = Database::new();
    let mut client = database.admin();
    let wishes = [("fake_cost", "0.0076509169000000005")];
    let first = keyed(&mut client, "k1", &wishes).expect("an answer");
    let second = keyed(&mut client, "k1", &wishes).expect("the same answer");
    assert_eq!(unmarked(&first), (read(&first), false), "the first is as it came");
    assert_eq!(unmarked(&second), (read(&first), true));
    let id = database.ledger()[0]["id"].clone();
    assert_eq!(read(&second)["hiems"], json!({"replayed": true, "call": id}));
    assert_one_call(&database);
    assert!(second.contains("0.0076509169000000005"), "{second}");
}

#[test]
fn it_is_the_same_in_one_transaction_and_after_a_rollback() {
    let database = Database::new();
    let mut client = database.admin();
    let mut transaction = client.transaction().expect("BEGIN");
    let sql = "SELECT hiems.submit_prompt('openai/gpt-4o-mini', $1::text::jsonb,
                                          idempotency_key => 'k')::text";
    let message = user_message("hello");
    let answers: Vec<String> = (0..2)
        .map(|_| transaction.query_one(sql, &[&message]).expect("an answer").get(0))
        .collect();
    assert_eq!(unmarked(&answers[1]), (read(&answers[0]), true));
    transaction.rollback().expect("ROLLBACK");
    let third: String = client.query_one(sql, &[&message]).expect("an answer").get(0);
    assert_eq!(unmarked(&third), (read(&answers[0]), true));
    assert_one_call(&database);
    assert_eq!(database.ledger()[0]["outcome"], "rolled_back");
}

#[test]
fn a_second_call_waits_for_the_first() {
    let database = Database::new();
    let wishes = [("fake_delay_ms", "2000"), ("fake_answer", "once")];
    let start = |client| Running::with(client, move |client| keyed(client, "k", &wishes));
    let first = start(database.admin());
    first.wait_until_in_flight(&database, 1);
    let others: Vec<Running> = (0..5).map(|_| start(database.admin())).collect();
    // One of them has no patience.
    let impatient = start(database.admin());
    let mut admin = database.admin();
    wait_until("it waits", SOON, || {
        let waits = "SELECT wait_event = 'Extension' FROM pg_stat_activity WHERE pid = $1";
        let row = admin.query_one(waits, &[&impatient.pid]).expect("a row");
        row.get::<_, Option<bool>>(0) == Some(true)
    });
    admin.execute("SELECT pg_cancel_backend($1)", &[&impatient.pid]).expect("a signal");
    assert_eq!(impatient.end().1.sqlstate(), "57014");
    let first = first.end().1.expect("an answer");
    for other in others {
        let answer = other.end().1.expect("the same answer");
        assert_eq!(unmarked(&answer), (read(&first), true));
    }
    assert_one_call(&database);
}

#[test]
fn many_at_once_are_one_call() {
    let database = Database::new();
    let start = |client| Running::with(client, |client| keyed(client, "k", &[]));
    let running: Vec<Running> = (0..12).map(|_| start(database.admin())).collect();
    let answers: Vec<String> =
        running.into_iter().map(|running| running.end().1.expect("an answer")).collect();
    let replayed = answers.iter().filter(|answer| unmarked(answer).1).count();
    assert_eq!(replayed, answers.len() - 1);
    assert_one_call(&database);
}

#[test]
fn a_cancelled_call_s_answer_is_had_by_the_next() {
    let database = Database::new();
    let wishes = [("fake_delay_ms", "1500"), ("fake_answer", "paid for")];
    let first = Running::with(database.admin(), move |client| keyed(client, "k", &wishes));
    first.wait_until_in_flight(&database, 1);
    database.admin().execute("SELECT pg_cancel_backend($1)", &[&first.pid]).expect("a signal");
    let (mut client, result) = first.end();
    assert_eq!(result.sqlstate(), "57014");
    let answer = keyed(&mut client, "k", &wishes).expect("the answer");
    assert_eq!(unmarked(&answer).0["choices"][0]["message"]["content"], "paid for");
    assert_one_call(&database);
}

#[test]
fn another_content_under_the_same_key_is_refused() {
    let database = Database::new();
    let mut client = database.admin();
    keyed(&mut client, "k", &[]).expect("an answer");
    let refusal = said(&mut client, "k", "something else", &[]).refusal();
    assert_eq!(refusal.sqlstate, "22023");
    assert!(refusal.message.contains("idempotency_key"), "{refusal:?}");
    assert_one_call(&database);
    said(&mut client, "k2", "something else", &[]).expect("an answer");
}

#[test]
fn keys_are_everybody_s_own() {
    let mut database = Database::new();
    let (ada, bob) = (database.role_with("caller"), database.role_with("service"));
    for role in [&ada, &bob] {
        let answer = keyed(&mut database.connect(role), "k", &[]).expect("an answer");
        assert!(!unmarked(&answer).1, "{role}");
    }
    assert_eq!(database.fake.requests().len(), 2);
}

// What was surely not billed may be tried again; what is not known may not.
#[test]
fn a_call_that_failed_unbilled_sets_its_key_free() {
    let database = Database::new();
    let mut client = database.admin();
    for status in ["400", "402", "429"] {
        database.fake.wish(&[("fake_status", status)]);
        keyed(&mut client, "k", &[]).expect_err(status);
    }
    database.fake.wish(&[]);
    let sent = database.fake.requests().len();
    let answer = keyed(&mut client, "k", &[]).expect("an answer");
    assert!(!unmarked(&answer).1);
    assert!(unmarked(&keyed(&mut client, "k", &[]).expect("an answer")).1);
    assert_eq!(database.fake.requests().len(), sent + 1);
}

#[test]
fn a_call_of_unknown_outcome_keeps_its_key() {
    let database = Database::new();
    let mut client = database.admin();
    let wishes = [("fake_fault", "cut_length")];
    let first = keyed(&mut client, "k", &wishes).refusal();
    for _ in 0..2 {
        let again = keyed(&mut client, "k", &wishes).refusal();
        assert_eq!((&*first.sqlstate, &*again.sqlstate), ("PT502", "PT502"), "{again:?}");
        let id = database.text("SELECT call_id::text FROM hiems_private.idempotency_keys", &[]);
        assert!(again.detail.contains(&id.expect("a call")), "{again:?}");
        database.wait_until_booked();
    }
    assert_eq!(database.ledger()[0]["cost_source"], "settled");
    assert_one_call(&database);
}

#[test]
fn a_key_holds_for_as_long_as_its_answer() {
    let database = Database::new();
    let mut client = database.admin();
    keyed(&mut client, "k", &[]).expect("an answer");
    database.wait_until_booked();
    // An answer that is lost before its time is no reason to pay twice.
    client
        .batch_execute("UPDATE hiems_private.answers SET kept_at = kept_at - interval '61 minutes'")
        .expect("an hour");
    assert_eq!(keyed(&mut client, "k", &[]).sqlstate(), "55000");
    client
        .batch_execute(
            "UPDATE hiems_private.idempotency_keys SET created_at = created_at - interval '61 minutes'",
        )
        .expect("an hour");
    assert!(!unmarked(&keyed(&mut client, "k", &[]).expect("a new answer")).1);
    assert_eq!(database.fake.requests().len(), 2);
}

#[test]
fn keys_that_cannot_be_used_are_refused_before_anything_is_sent() {
    let database = Database::new();
    let mut client = database.admin();
    for key in ["", &"k".repeat(513)] {
        assert_eq!(keyed(&mut client, key, &[]).sqlstate(), "22023", "{key}");
    }
    let database = Database::with("hiems.answer_retention", "0");
    let refusal = keyed(&mut database.admin(), "k", &[]).refusal();
    assert_eq!(refusal.sqlstate, "22023");
    assert!(refusal.hint.contains("hiems.answer_retention"), "{refusal:?}");
    assert_eq!(database.fake.requests().len(), 0);
}

// A token without a subject is anybody's.
#[test]
fn a_token_without_a_subject_has_no_keys() {
    let mut database = Database::new();
    let anon = database.role_with("caller");
    let authenticator = database.role("authenticator");
    database
        .admin()
        .batch_execute(&format!(
            "GRANT {anon} TO {authenticator};
             ALTER DATABASE {} SET hiems.jwt_session_roles = '{authenticator}'",
            database.name
        ))
        .expect("a token's login");
    let mut client = database.connect(&authenticator);
    client
        .batch_execute(&format!("SET ROLE {anon}; SET request.jwt.claims = '{{}}'"))
        .expect("set");
    let refusal = keyed(&mut client, "k", &[]).refusal();
    assert_eq!(refusal.sqlstate, "22023", "{refusal:?}");
    client.batch_execute(r#"SET request.jwt.claims = '{"sub": "u1"}'"#).expect("set");
    keyed(&mut client, "k", &[]).expect("an answer");
    assert!(unmarked(&keyed(&mut client, "k", &[]).expect("an answer")).1);
    client.batch_execute(r#"SET request.jwt.claims = '{"sub": "u2"}'"#).expect("set");
    // The user is another, too.
    assert!(!unmarked(&keyed(&mut client, "k", &[]).expect("an answer")).1);
}
