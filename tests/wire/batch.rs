//! `hiems.submit_prompts()`: many calls at once, each booked, each row as its call ends.

mod arguments;
mod closed;
mod failures;
mod gateway;
mod idempotency;
mod interrupts;
mod load;
mod progress;
mod shares;

use std::collections::BTreeMap;

use hiems_tests::{Database, SOON};
use postgres::types::ToSql;
use postgres::{Error, GenericClient, Row};
use serde_json::{Map, Value, json};

/// A request, and what the fake does with it.
fn request(text: &str, wishes: &[(&str, &str)]) -> Value {
    let metadata: Map<String, Value> =
        wishes.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
    json!({
        "model": "openai/gpt-4o-mini",
        "messages": [{"role": "user", "content": text}],
        "user": text,
        "options": {"metadata": metadata},
    })
}

/// So many requests, all with the same wishes.
fn many(count: usize, wishes: &[(&str, &str)]) -> Vec<Value> {
    (1..=count).map(|i| request(&format!("r{i}"), wishes)).collect()
}

/// One row of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    place: i32,
    response: Option<String>,
    content: Option<String>,
    code: Option<String>,
    message: Option<String>,
    cost: Option<String>,
}

const COLUMNS: &str =
    "ordinality, response::text, content, error_code, error_message, cost_usd::text";

fn answer(row: &Row) -> Answer {
    Answer {
        place: row.get(0),
        response: row.get(1),
        content: row.get(2),
        code: row.get(3),
        message: row.get(4),
        cost: row.get(5),
    }
}

/// The rows as they came; `more` are further arguments, such as `, on_error => 'raise'`.
fn submit(
    client: &mut impl GenericClient,
    requests: &[Value],
    more: &str,
) -> Result<Vec<Answer>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM hiems.submit_prompts($1::text::jsonb{more})");
    let requests = json!(requests).to_string();
    let parameters: [&(dyn ToSql + Sync); 1] = [&requests];
    Ok(client.query(&sql, &parameters)?.iter().map(answer).collect())
}

/// A statement that gives rows as calls end.
fn streaming(requests: &[Value], more: &str) -> String {
    let requests = json!(requests).to_string().replace('\'', "''");
    format!(
        "SELECT (s).ordinality FROM (SELECT hiems.submit_prompts('{requests}'{more}) AS s) AS t"
    )
}

/// How many rows there are of each outcome, once the ledger is the bill.
fn booked(database: &Database) -> BTreeMap<String, usize> {
    outcomes_of(&database.booked())
}

/// How many of these rows there are of each outcome.
fn outcomes_of(rows: &[Value]) -> BTreeMap<String, usize> {
    let mut outcomes = BTreeMap::new();
    for row in rows {
        *outcomes.entry(row["outcome"].as_str().expect("an outcome").to_owned()).or_insert(0) += 1;
    }
    outcomes
}

fn outcomes(expected: &[(&str, usize)]) -> BTreeMap<String, usize> {
    expected.iter().map(|(outcome, count)| ((*outcome).to_owned(), *count)).collect()
}

#[test]
fn each_request_has_its_answer_and_its_row() {
    let database = Database::new();
    let mut client = database.admin();
    let requests: Vec<Value> = (1..=20)
        .map(|i| {
            let (text, cost) = (format!("answer {i}"), format!("0.00000000{i}0"));
            request(&format!("r{i}"), &[("fake_answer", &text), ("fake_cost", &cost)])
        })
        .collect();
    let mut answers = submit(&mut client, &requests, "").expect("rows");
    // In the statement's own transaction, and before anybody has swept.
    assert_eq!(database.count("hiems.ai_usage_logs WHERE outcome = 'committed'"), 20);
    answers.sort_by_key(|answer| answer.place);
    for (answer, i) in answers.iter().zip(1..) {
        assert_eq!(answer.place, i);
        assert_eq!(answer.content.as_deref(), Some(&*format!("answer {i}")));
        assert_eq!(answer.cost.as_deref(), Some(&*format!("0.00000000{i}0")));
        assert_eq!((answer.code.as_deref(), answer.message.as_deref()), (None, None));
        let body: Value =
            serde_json::from_str(answer.response.as_deref().expect("a body")).expect("JSON");
        // Every digit.
        assert_eq!(body["usage"]["cost"].to_string(), format!("0.00000000{i}0"));
    }
    assert_eq!(booked(&database), outcomes(&[("committed", 20)]));
    assert_eq!(database.count("hiems.ai_usage_logs WHERE user_id = 'r7'"), 1);
}

#[test]
fn no_more_are_in_flight_than_were_allowed() {
    let database = Database::new();
    let requests = many(60, &[("fake_delay_ms", "50")]);
    submit(&mut database.admin(), &requests, ", max_concurrency => 7").expect("rows");
    assert_eq!(database.fake.most_in_flight(), 7);
    assert_eq!(booked(&database), outcomes(&[("committed", 60)]));
}

#[test]
fn one_at_a_time_keeps_their_order() {
    let database = Database::new();
    let answers = submit(&mut database.admin(), &many(5, &[]), ", max_concurrency => 1");
    let places: Vec<i32> = answers.expect("rows").iter().map(|answer| answer.place).collect();
    assert_eq!(places, [1, 2, 3, 4, 5]);
    assert_eq!(database.fake.most_in_flight(), 1);
}

#[test]
fn rows_come_as_calls_end() {
    let database = Database::new();
    let delays = ["1500", "100", "60000", "700"];
    let requests: Vec<Value> =
        delays.iter().map(|ms| request(ms, &[("fake_delay_ms", ms)])).collect();
    let mut client = database.admin();
    let mut transaction = client.transaction().expect("BEGIN");
    let declare = format!("DECLARE c NO SCROLL CURSOR FOR {}", streaming(&requests, ""));
    transaction.batch_execute(&declare).expect("a cursor");
    for (place, left) in [(2, 3), (4, 2), (1, 1)] {
        let row = transaction.query_one("FETCH 1 FROM c", &[]).expect("a row");
        assert_eq!(row.get::<_, i32>(0), place);
        assert_eq!(database.fake.in_flight(), left);
    }
}

#[test]
fn a_rollback_and_a_savepoint_leave_the_rows_to_the_gateway() {
    let database = Database::new();
    let mut client = database.admin();
    client.batch_execute("BEGIN").expect("BEGIN");
    submit(&mut client, &many(3, &[]), "").expect("rows");
    client.batch_execute("ROLLBACK; BEGIN; SAVEPOINT s").expect("ROLLBACK");
    submit(&mut client, &many(4, &[]), "").expect("rows");
    client.batch_execute("ROLLBACK TO s").expect("ROLLBACK");
    submit(&mut client, &many(5, &[]), "").expect("rows");
    client.batch_execute("COMMIT").expect("COMMIT");
    assert_eq!(booked(&database), outcomes(&[("committed", 5), ("rolled_back", 7)]));
}

#[test]
fn a_locked_ledger_is_written_to_later() {
    let database = Database::new();
    let mut holder = database.admin();
    holder.batch_execute("BEGIN; LOCK TABLE hiems.ai_usage_logs").expect("a lock");
    let mut client = database.admin();
    client.batch_execute("SET statement_timeout = '10s'").expect("a setting");
    let answers = submit(&mut client, &many(30, &[]), "").expect("rows");
    assert!(answers.iter().all(|answer| answer.content.is_some()));
    holder.batch_execute("COMMIT").expect("COMMIT");
    assert_eq!(booked(&database), outcomes(&[("committed", 30)]));
}

// The rates are locked, too: no ledger row is told, but the cost is in the answer.
#[test]
fn costs_are_told_where_the_rates_and_the_journal_are_locked() {
    let database = Database::new();
    let mut holder = database.admin();
    holder
        .batch_execute(
            "BEGIN; LOCK TABLE hiems_private.exchange_rates; LOCK TABLE hiems_private.calls",
        )
        .expect("locks");
    let mut client = database.admin();
    client.batch_execute("SET statement_timeout = '20s'").expect("a setting");
    let answers = submit(&mut client, &many(5, &[("fake_cost", "0.00120")]), "").expect("rows");
    assert!(answers.iter().all(|answer| answer.cost.as_deref() == Some("0.00120")), "{answers:?}");
    holder.batch_execute("COMMIT").expect("COMMIT");
    assert_eq!(booked(&database), outcomes(&[("committed", 5)]));
}

// What stands in such a star is copied for each column; PostgreSQL sees that copies are the same only where
// they hold no sub-select.
#[test]
fn columns_are_had_from_a_row_and_not_by_a_star() {
    let database = Database::new();
    let mut client = database.admin();
    let requests = json!(many(2, &[])).to_string();
    let mut made = |sql: &str| {
        let before = database.fake.requests().len();
        let rows = client.query(sql, &[&requests]).expect("rows");
        assert_eq!((rows.len(), rows[0].len()), (2, 7));
        database.fake.requests().len() - before
    };
    let row = "SELECT hiems.submit_prompts((SELECT $1::text::jsonb)) AS r";
    assert_eq!(made(&format!("SELECT (r).* FROM ({row}) AS t")), 2);
    assert_eq!(made("SELECT (hiems.submit_prompts((SELECT $1::text::jsonb))).*"), 14);
    assert_eq!(booked(&database), outcomes(&[("committed", 16)]));
}

// As docs/batches.md has it.
#[test]
fn requests_are_made_of_a_table_and_joined_to_it() {
    let database = Database::new();
    let mut client = database.admin();
    client
        .batch_execute(
            "CREATE TABLE tickets AS
             SELECT id, 'u' || id % 3 AS author, 'body ' || id AS body FROM generate_series(1, 40) AS id",
        )
        .expect("a table");
    let text = include_str!("../../docs/batches.md");
    let statement = text.split("```sql\n").nth(1).and_then(|rest| rest.split("```").next());
    let rows = client.query(statement.expect("the first statement"), &[]).expect("rows");
    assert_eq!(rows.len(), 40);
    assert!(rows.iter().all(|row| row.get::<_, Option<String>>(1).is_some()));
    assert_eq!(booked(&database), outcomes(&[("committed", 40)]));
}
