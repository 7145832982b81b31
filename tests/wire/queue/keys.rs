//! Idempotency keys of queued calls.

use hiems_tests::{Database, ResultExt, Running, SOON, user_message, wait_until};
use postgres::Client;

use super::{MODEL, answer_of, assert_bill, enqueue_with};

const KEY: &str = ", idempotency_key => 'k1'";

fn submit_keyed(client: &mut Client) -> Result<String, postgres::Error> {
    let sql = format!(
        "SELECT hiems.submit_prompt('{MODEL}', $1::text::jsonb, options => '{{\"metadata\": {{}}}}',
                idempotency_key => 'k1') #>> '{{choices,0,message,content}}'"
    );
    Ok(client.query_one(&sql, &[&user_message("hello")])?.get(0))
}

#[test]
fn a_second_one_is_the_first_and_another_request_is_refused() {
    let database = Database::new();
    let mut client = database.admin();
    let more = format!("{KEY}, run_at => now() + interval '1 day'");
    let id = enqueue_with(&mut client, &[], &more).expect("an id");
    assert_eq!(enqueue_with(&mut client, &[], KEY).expect("an id"), id);
    let refusal = enqueue_with(&mut client, &[("fake_answer", "other")], KEY).refusal();
    assert_eq!(refusal.sqlstate, "22023");
    assert!(refusal.detail.contains(&id), "{refusal:?}");
    // A cancelled call sets its key free.
    client.execute("SELECT hiems.cancel_prompt($1::text::uuid)", &[&id]).expect("a cancel");
    let next = enqueue_with(&mut client, &[("fake_answer", "other")], KEY).expect("an id");
    assert_ne!(next, id);
    assert_eq!(answer_of(&mut client, &next).expect("an answer"), "other");
    assert_eq!(enqueue_with(&mut client, &[("fake_answer", "other")], KEY).expect("an id"), next);
    assert_bill(&database);
    assert_eq!(database.fake.requests().len(), 1);
}

#[test]
fn two_transactions_at_once_enqueue_one_call() {
    let database = Database::new();
    let mut client = database.admin();
    let mut transaction = client.transaction().expect("a transaction");
    let id = enqueue_with(&mut transaction, &[], KEY).expect("an id");
    let other = Running::with(database.admin(), |client| enqueue_with(client, &[], KEY));
    let pid = other.pid;
    wait_until("the other one waits", SOON, || {
        database.count(&format!("pg_locks WHERE pid = {pid} AND NOT granted")) == 1
    });
    transaction.commit().expect("a commit");
    assert_eq!(other.end().1.expect("an id"), id);
    answer_of(&mut client, &id).expect("an answer");
    assert_bill(&database);
    assert_eq!(database.fake.requests().len(), 1);
}

#[test]
fn a_call_at_once_waits_for_the_queued_one_of_the_same_key() {
    let database = Database::new();
    let mut client = database.admin();
    let mut transaction = client.transaction().expect("a transaction");
    let id = enqueue_with(&mut transaction, &[], KEY).expect("an id");
    let other = Running::with(database.admin(), submit_keyed);
    // Calls of others are not held up by it.
    let mut third = database.admin();
    hiems_tests::call(&mut third, "{}").expect("an answer");
    transaction.commit().expect("a commit");
    let answer = answer_of(&mut client, &id).expect("an answer");
    assert_eq!(other.end().1.expect("an answer"), answer);
    assert_bill(&database);
    assert_eq!(database.fake.requests().len(), 2);
}

#[test]
fn a_key_whose_claim_is_rolled_back_is_free() {
    let database = Database::new();
    let mut client = database.admin();
    let mut transaction = client.transaction().expect("a transaction");
    enqueue_with(&mut transaction, &[], KEY).expect("an id");
    let other = Running::with(database.admin(), submit_keyed);
    transaction.rollback().expect("a rollback");
    other.end().1.expect("an answer");
    assert_bill(&database);
    assert_eq!(database.fake.requests().len(), 1);
}

/// Everybody sees pg_locks: whoever guesses a key and its owner finds nothing there to hold the guess against.
#[test]
fn what_is_claimed_cannot_be_guessed_from_locks() {
    let database = Database::new();
    let mut client = database.admin();
    let mut transaction = client.transaction().expect("a transaction");
    enqueue_with(&mut transaction, &[], ", idempotency_key => 'order-4711'").expect("an id");
    let locks = "
        pg_locks AS l, hiems.current_principal() AS p,
        sha256(convert_to(length(p) || ':' || p || 'order-4711', 'UTF8')) AS h
        WHERE l.locktype = 'advisory' AND l.objsubid = 26729 AND l.pid = pg_backend_pid()";
    let count = |more: &str| format!("SELECT count(*) FROM {locks} {more}");
    let mut number = |sql: &str| transaction.query_one(sql, &[]).expect("locks").get::<_, i64>(0);
    assert_eq!(number(&count("")), 1);
    let word =
        |from: usize| format!("('x' || substr(encode(h, 'hex'), {from}, 8))::bit(32)::bigint");
    let guess = format!(
        "AND (l.classid::bigint IN ({0}, {0} | 1) OR l.objid::bigint = {1})",
        word(1),
        word(9)
    );
    assert_eq!(number(&count(&guess)), 0);
}

#[test]
fn a_transaction_claims_so_many_keys_and_no_more() {
    let database = Database::new();
    let mut client = database.admin();
    let most = "SELECT current_setting('max_locks_per_transaction')::bigint
                       * current_setting('max_connections')::bigint / 4";
    let most: i64 = client.query_one(most, &[]).expect("the settings").get(0);
    let enqueue = |client: &mut Client, count: i64| {
        let sql = "
            SELECT count(*) FROM hiems.enqueue_prompts((
                SELECT jsonb_agg(jsonb_build_object(
                    'model', 'a/b', 'messages', jsonb_build_array(jsonb_build_object('role', 'user')),
                    'run_at', '9999-12-31', 'idempotency_key', i::text))
                FROM generate_series(1, $1::bigint) AS i))";
        client.query_one(sql, &[&count]).map(|row| row.get::<_, i64>(0))
    };
    let refusal = enqueue(&mut client, most + 1).refusal();
    assert_eq!(refusal.sqlstate, "PT413", "{refusal:?}");
    assert!(refusal.message.starts_with(&format!("request {}: too many", most + 1)), "{refusal:?}");
    assert!(refusal.hint.contains("max_locks_per_transaction"), "{refusal:?}");
    assert_eq!(database.count("hiems_private.queue"), 0);
    for _ in 0..2 {
        assert_eq!(enqueue(&mut client, most).expect("ids"), most);
    }
    assert_eq!(database.count("hiems_private.queue"), most);
}
