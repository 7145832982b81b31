//! Channel `hiems_usage` tells of new ledger rows, by their ids alone.

mod coalesced;
mod javascript;

use hiems_tests::{Database, ResultExt, SOON, user_message};
use postgres::fallible_iterator::FallibleIterator;
use postgres::{Client, GenericClient};
use serde_json::Value;

/// A session that listens.
struct Listener(Client);

impl Listener {
    fn of(database: &Database) -> Listener {
        let mut client = database.admin();
        client.batch_execute("LISTEN hiems_usage").expect("listens");
        Listener(client)
    }

    /// All that was told since the last time: messages come in the order of commits, so those before
    /// one of the test's own are all there are.
    fn heard(&mut self, database: &Database) -> Vec<String> {
        database.admin().batch_execute("NOTIFY hiems_usage, 'end'").expect("a message");
        let mut heard = Vec::new();
        let mut notifications = self.0.notifications();
        let mut next = notifications.timeout_iter(SOON);
        while let Some(message) = next.next().expect("a connection") {
            assert_eq!(message.channel(), "hiems_usage");
            if message.payload() == "end" {
                return heard;
            }
            heard.push(message.payload().to_owned());
        }
        panic!("the end was not told");
    }

    /// The next message that comes.
    fn next(&mut self) -> String {
        let mut notifications = self.0.notifications();
        let next = notifications.timeout_iter(SOON).next().expect("a connection");
        next.expect("a message").payload().to_owned()
    }
}

/// A message's count and ids; it has nothing else but its version.
fn read(payload: &str) -> (i64, Vec<String>) {
    let message: Value = serde_json::from_str(payload).expect("JSON");
    let mut names: Vec<&str> =
        message.as_object().expect("an object").keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["count", "ids", "v"], "{payload}");
    assert_eq!(message["v"], 1);
    let ids = message["ids"].as_array().expect("ids");
    (
        message["count"].as_i64().expect("a count"),
        ids.iter().map(|id| id.as_str().expect("an id").to_owned()).collect(),
    )
}

fn call(client: &mut impl GenericClient, text: &str, user: &str) {
    client
        .query_one(
            "SELECT hiems.submit_prompt('openai/gpt-4o-mini', $1::text::jsonb, $2)::text",
            &[&user_message(text), &user],
        )
        .expect("an answer");
}

fn ids(database: &Database) -> Vec<String> {
    database
        .admin()
        .query("SELECT id::text FROM hiems.ai_usage_logs ORDER BY 1", &[])
        .expect("the ledger")
        .iter()
        .map(|row| row.get(0))
        .collect()
}

/// An insert of that many rows, as a superuser's own.
fn insert(rows: u32) -> String {
    format!(
        "INSERT INTO hiems.ai_usage_logs (id, created_at, booked_at, cost_usd, cost_source, outcome,
             attempts, streamed, booked_xid, principal, calls)
         SELECT gen_random_uuid(), now(), now(), 0, 'billed', 'recorded', 1, false, '3', 'p', 1
         FROM generate_series(1, {rows})"
    )
}

#[test]
fn a_committed_call_is_told_once_with_its_id() {
    let database = Database::new();
    let mut listener = Listener::of(&database);
    let mut client = database.admin();
    let mut transaction = client.transaction().expect("a transaction");
    call(&mut transaction, "hello", "u");
    assert!(listener.heard(&database).is_empty(), "told before the commit");
    transaction.commit().expect("a commit");
    database.wait_until_booked();
    let heard = listener.heard(&database);
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert_eq!(read(&heard[0]), (1, ids(&database)));
}

#[test]
fn a_rolled_back_call_is_told_when_it_is_booked() {
    let database = Database::new();
    let mut listener = Listener::of(&database);
    let mut client = database.admin();
    let mut transaction = client.transaction().expect("a transaction");
    call(&mut transaction, "hello", "u");
    transaction.rollback().expect("a rollback");
    database.wait_until_booked();
    let heard = listener.heard(&database);
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert_eq!(read(&heard[0]), (1, ids(&database)));
}

#[test]
fn two_calls_of_one_transaction_are_both_told() {
    let database = Database::new();
    let mut listener = Listener::of(&database);
    let mut client = database.admin();
    let mut transaction = client.transaction().expect("a transaction");
    call(&mut transaction, "hello", "u");
    call(&mut transaction, "hello", "u");
    transaction.commit().expect("a commit");
    database.wait_until_booked();
    let messages: Vec<_> = listener.heard(&database).iter().map(|told| read(told)).collect();
    assert_eq!(messages.iter().map(|(count, _)| count).sum::<i64>(), 2);
    let mut told: Vec<String> = messages.into_iter().flat_map(|(_, ids)| ids).collect();
    told.sort_unstable();
    assert_eq!(told, ids(&database));
}

#[test]
fn many_rows_are_counted_and_some_named_within_the_limit() {
    let database = Database::without_key();
    let mut listener = Listener::of(&database);
    let mut admin = database.admin();
    for (rows, named) in [(1, 1), (99, 99), (100, 100), (101, 100), (250, 100), (5_000, 100)] {
        admin.batch_execute(&format!("LOAD 'hiems'; {}", insert(rows))).expect("rows");
        let heard = listener.heard(&database);
        assert_eq!(heard.len(), 1, "{rows}");
        assert!(heard[0].len() < 8_000, "{} octets", heard[0].len());
        let (count, told) = read(&heard[0]);
        assert_eq!(count, i64::from(rows));
        assert_eq!(told.len(), named);
        let known = ids(&database);
        assert!(told.iter().all(|id| known.binary_search(id).is_ok()));
    }
    assert_eq!(database.count("hiems.ai_usage_logs"), 5_551);
}

/// A restore, or a row copied in by hand: nothing of hiems was called in that session before.
#[test]
fn rows_are_told_though_the_session_has_not_loaded_hiems() {
    let database = Database::without_key();
    let mut listener = Listener::of(&database);
    database.admin().batch_execute(&insert(2)).expect("rows");
    let heard = listener.heard(&database);
    assert_eq!(heard.len(), 1);
    assert_eq!(read(&heard[0]).0, 2);
}

#[test]
fn an_insert_of_nothing_tells_nothing() {
    let database = Database::without_key();
    let mut listener = Listener::of(&database);
    let mut admin = database.admin();
    admin.batch_execute(&format!("LOAD 'hiems'; {}", insert(0))).expect("no rows");
    admin.batch_execute(&format!("BEGIN; {}; ROLLBACK", insert(3))).expect("no rows");
    assert!(listener.heard(&database).is_empty());
}

#[test]
fn off_is_silent() {
    let database = Database::new();
    database.set("hiems.notify", "off");
    // The gateway that is there began before; it books what is rolled back.
    database.end_gateway();
    let mut listener = Listener::of(&database);
    let mut client = database.admin();
    call(&mut client, "hello", "u");
    let mut transaction = client.transaction().expect("a transaction");
    call(&mut transaction, "hello", "u");
    transaction.rollback().expect("a rollback");
    client.batch_execute(&insert(2)).expect("rows");
    database.wait_until_booked();
    assert_eq!(database.count("hiems.ai_usage_logs"), 4);
    assert!(listener.heard(&database).is_empty());
}

#[test]
fn no_ordinary_role_silences_it() {
    let mut database = Database::new();
    let role = database.role_with("caller");
    let mut listener = Listener::of(&database);
    // Before the library is loaded PostgreSQL lets anybody set any name with a dot; it counts nothing.
    let mut client = database.connect(&role);
    let _ = client.batch_execute("SET hiems.notify = 'off'");
    call(&mut client, "hello", "u");
    assert_eq!(listener.heard(&database).len(), 1);
    for sql in [
        "SET hiems.notify = 'off'".to_owned(),
        "SELECT set_config('hiems.notify', 'off', false)".to_owned(),
        format!("ALTER ROLE {role} SET hiems.notify = 'off'"),
    ] {
        assert_eq!(client.batch_execute(&sql).sqlstate(), "42501", "{sql}");
    }
    call(&mut client, "hello", "u");
    assert_eq!(listener.heard(&database).len(), 1);
}

#[test]
fn a_message_says_nothing_but_ids() {
    let mut database = Database::new();
    let role = database.role_with("caller");
    let mut listener = Listener::of(&database);
    let mut client = database.connect(&role);
    let answer: String = client
        .query_one(
            "SELECT hiems.complete('my-prompt-is-mine', 'openai/gpt-4o-mini', 'user-of-mine',
                                   'case-of-mine')",
            &[],
        )
        .expect("an answer")
        .get(0);
    database.wait_until_booked();
    let heard = listener.heard(&database);
    assert_eq!(heard.len(), 1);
    let (count, told) = read(&heard[0]);
    assert_eq!((count, told), (1, ids(&database)));
    for said in ["mine", role.as_str(), answer.as_str(), "gpt", "cost"] {
        assert!(!heard[0].contains(said), "{said} in {}", heard[0]);
    }
}

/// Who may read nothing may listen: PostgreSQL has no rights on channels. It reads nothing by it.
#[test]
fn a_listener_reads_the_rows_under_its_own_rights() {
    let mut database = Database::new();
    let stranger = database.role("stranger");
    let mut client = database.connect(&stranger);
    client.batch_execute("LISTEN hiems_usage").expect("listens");
    let mut listener = Listener(client);
    call(&mut database.admin(), "hello", "u");
    let heard = listener.heard(&database);
    assert_eq!(heard.len(), 1);
    let id = &read(&heard[0]).1[0];
    let read = listener
        .0
        .query("SELECT cost_usd::text FROM hiems.ai_usage_logs WHERE id::text = $1", &[id]);
    assert_eq!(read.sqlstate(), "42501");
}
