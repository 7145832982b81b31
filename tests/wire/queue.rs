//! The queue: `hiems.enqueue_prompt()` and its kin.

use hiems_tests::{Database, ResultExt, directives, user_message};
use postgres::{Client, Error, GenericClient};
use serde_json::{Value, json};

mod arguments;
mod cancelled;
mod ends;
mod gateway;
mod keys;
mod locks;
mod order;
mod origin;
mod pace;
mod retries;
mod set_aside;

const MODEL: &str = "openai/gpt-4o-mini";

/// Enqueues a call with these wishes of the fake's; its id.
fn enqueue(client: &mut impl GenericClient, wishes: &[(&str, &str)]) -> Result<String, Error> {
    enqueue_with(client, wishes, "")
}

/// As [`enqueue`], with more arguments, such as `, priority => 1`.
fn enqueue_with(
    client: &mut impl GenericClient,
    wishes: &[(&str, &str)],
    more: &str,
) -> Result<String, Error> {
    let sql = format!(
        "SELECT hiems.enqueue_prompt('{MODEL}', $1::text::jsonb, options => $2::text::jsonb{more})::text"
    );
    Ok(client.query_one(&sql, &[&user_message("hello"), &directives(wishes)])?.get(0))
}

/// The content of the answer of a call that is waited for.
fn answer_of(client: &mut Client, id: &str) -> Result<String, Error> {
    let row = client.query_one(
        "SELECT hiems.await_prompt($1::text::uuid, '1 minute') #>> '{choices,0,message,content}'",
        &[&id],
    )?;
    Ok(row.get(0))
}

/// One request as an item of `hiems.enqueue_prompts()`.
fn item(wishes: &[(&str, &str)]) -> Value {
    let options: Value = serde_json::from_str(&directives(wishes)).expect("JSON");
    json!({ "model": MODEL, "messages": [{"role": "user", "content": "hello"}], "options": options })
}

fn enqueue_many(client: &mut impl GenericClient, requests: &Value) -> Result<Vec<String>, Error> {
    let rows = client.query(
        "SELECT id::text FROM hiems.enqueue_prompts($1::text::jsonb) AS id",
        &[&requests.to_string()],
    )?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

fn state_of(client: &mut Client, id: &str) -> Option<String> {
    client
        .query_opt("SELECT state FROM hiems.calls WHERE id = $1::text::uuid", &[&id])
        .expect("hiems.calls")
        .map(|row| row.get(0))
}

/// Every generation of the fake's is one row of the ledger, with its cost digit by digit, and no row more.
fn assert_bill(database: &Database) {
    database.wait_until_booked();
    let mut rows: Vec<(String, String)> = database
        .ledger()
        .iter()
        .filter(|row| row["cost_source"] == "billed")
        .map(|row| {
            let id = row["generation_id"].as_str().expect("an id").to_owned();
            (id, row["cost_usd"].to_string())
        })
        .collect();
    let mut bill: Vec<(String, String)> =
        database.fake.bill().into_iter().map(|billed| (billed.id, billed.cost)).collect();
    rows.sort_unstable();
    bill.sort_unstable();
    assert_eq!(rows, bill);
}

#[test]
fn a_call_is_made_after_the_commit_and_its_answer_is_waited_for() {
    let mut database = Database::new();
    let role = database.role_with("caller");
    let mut client = database.connect(&role);
    let mut transaction = client.transaction().expect("a transaction");
    let id: String = transaction
        .query_one(
            "SELECT hiems.enqueue_prompt('openai/gpt-4o-mini', $1::text::jsonb, \"user\" => 'u1',
                 use_case => 'nightly', session_id => 's1', metadata => '{\"ticket\": 7}',
                 options => $2::text::jsonb)::text",
            &[&user_message("hello"), &directives(&[("fake_answer", "later")])],
        )
        .expect("an id")
        .get(0);
    assert_eq!(database.fake.requests().len(), 0);
    transaction.commit().expect("a commit");
    assert_eq!(answer_of(&mut client, &id).expect("an answer"), "later");
    assert_bill(&database);
    let rows = database.ledger();
    let row = &rows[0];
    assert_eq!(row["id"], json!(id));
    assert_eq!(row["outcome"], "committed");
    assert_eq!((&row["user_id"], &row["use_case"]), (&json!("u1"), &json!("nightly")));
    assert_eq!((&row["session_id"], &row["metadata"]), (&json!("s1"), &json!({"ticket": 7})));
    assert_eq!((&row["attempts"], &row["calls"]), (&json!(1), &json!(1)));
    assert_eq!(row["principal"], json!(format!("role:{role}")));
    // And again, for as long as it is kept.
    assert_eq!(answer_of(&mut client, &id).expect("an answer"), "later");
    assert_eq!(database.count("hiems_private.requests"), 0, "what was asked is not kept");
}

#[test]
fn what_is_rolled_back_is_never_sent() {
    let database = Database::new();
    let mut client = database.admin();
    let mut transaction = client.transaction().expect("a transaction");
    let gone = enqueue(&mut transaction, &[]).expect("an id");
    transaction.rollback().expect("a rollback");
    let mut transaction = client.transaction().expect("a transaction");
    let mut savepoint = transaction.transaction().expect("a savepoint");
    let undone = enqueue(&mut savepoint, &[]).expect("an id");
    savepoint.rollback().expect("a rollback");
    let kept = enqueue(&mut transaction, &[]).expect("an id");
    transaction.commit().expect("a commit");
    answer_of(&mut client, &kept).expect("an answer");
    assert_bill(&database);
    assert_eq!(database.fake.requests().len(), 1);
    for id in [gone, undone] {
        assert_eq!(state_of(&mut client, &id), None);
        assert_eq!(answer_of(&mut client, &id).sqlstate(), "PT404");
    }
}

#[test]
fn many_are_enqueued_by_one_statement_and_made_in_their_order() {
    let database = Database::with("hiems.queue_concurrency", "1");
    let mut client = database.admin();
    let requests: Vec<Value> = (0..30)
        .map(|i| {
            let mut item = item(&[("fake_answer", &i.to_string())]);
            item["user"] = json!(format!("u{i}"));
            item["priority"] = json!(if i == 29 { 1 } else { 0 });
            item
        })
        .collect();
    let ids = enqueue_many(&mut client, &json!(requests)).expect("ids");
    assert_eq!(ids.len(), 30);
    for (i, id) in ids.iter().enumerate() {
        assert_eq!(answer_of(&mut client, id).expect("an answer"), i.to_string());
    }
    assert_bill(&database);
    let users: Vec<Value> =
        database.fake.requests().iter().map(|request| request.body["user"].clone()).collect();
    let expected: Vec<Value> =
        std::iter::once(29).chain(0..29).map(|i| json!(format!("u{i}"))).collect();
    assert_eq!(users, expected);
    assert!(enqueue_many(&mut client, &json!([])).expect("nothing").is_empty());
}
