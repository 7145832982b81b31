//! The views say exactly what the ledger and the bill say.

mod calls;
mod days;
mod edges;
mod mine;
mod statistics;
mod sums;

use std::collections::BTreeMap;

use hiems_tests::{Database, directives, user_message};
use postgres::{Client, GenericClient};

/// A view's rows as text, by column; in the order of the whole row's text.
fn rows(client: &mut impl GenericClient, sql: &str) -> Vec<BTreeMap<String, Option<String>>> {
    let json = format!(
        "SELECT e.key, e.value FROM (SELECT row_number() OVER (ORDER BY q::text COLLATE \"C\") AS n, q
             FROM ({sql}) AS q) AS numbered, jsonb_each_text(to_jsonb(q)) AS e
         ORDER BY n, e.key"
    );
    let mut rows: Vec<BTreeMap<String, Option<String>>> = Vec::new();
    for row in client.query(&json, &[]).expect(sql) {
        let (column, value) = (row.get::<_, String>(0), row.get(1));
        match rows.last_mut() {
            Some(last) if !last.contains_key(&column) => {
                last.insert(column, value);
            }
            _ => rows.push(BTreeMap::from([(column, value)])),
        }
    }
    rows
}

/// A row that a superuser writes into the ledger; `columns` and `values` are SQL.
fn insert(database: &Database, columns: &str, values: &str) {
    database
        .admin()
        .batch_execute(&format!(
            "INSERT INTO hiems.ai_usage_logs
                 (id, booked_at, attempts, streamed, booked_xid, {columns})
             SELECT gen_random_uuid(), now(), 1, false, '3', {values}"
        ))
        .expect("a row");
}

/// A call that tells the fake its wishes.
fn call(client: &mut Client, model: &str, user: &str, case: Option<&str>, wishes: &[(&str, &str)]) {
    let answer = client.query_one(
        "SELECT hiems.submit_prompt($1, $2::text::jsonb, $3, $4, options => $5::text::jsonb)::text",
        &[&model, &user_message("hello"), &user, &case, &directives(wishes)],
    );
    let fails = wishes.iter().any(|(wish, _)| *wish == "fake_status");
    assert_eq!(answer.is_err(), fails);
}
