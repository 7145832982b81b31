//! `hiems.stream_prompt()`: rows while the model speaks, and one ledger row that equals the bill.

mod closed;
mod failures;
mod hostile;
mod interrupts;
mod refusals;
mod whole;

use hiems_tests::{Database, Generation, SOON, directives, user_message, wait_until};
use postgres::{Client, Error};
use serde_json::{Value, json};

/// The call, as an expression; its wishes are the fake's.
fn expression(wishes: &[(&str, &str)]) -> String {
    format!(
        "hiems.stream_prompt('openai/gpt-4o-mini', '{}'::jsonb, options => '{}'::jsonb)",
        user_message("hello"),
        directives(wishes)
    )
}

/// All its chunks.
fn stream(client: &mut Client, wishes: &[(&str, &str)]) -> Result<Vec<Value>, Error> {
    chunks(client, &format!("SELECT {}::text", expression(wishes)))
}

/// The chunks that a statement gives.
fn chunks(client: &mut Client, statement: &str) -> Result<Vec<Value>, Error> {
    let rows = client.query(statement, &[])?;
    Ok(rows.iter().map(|row| serde_json::from_str(row.get(0)).expect("JSON")).collect())
}

/// Opens a cursor over it, in a transaction of its own.
fn open(client: &mut Client, wishes: &[(&str, &str)]) {
    declare(client, wishes, "BEGIN");
}

fn declare(client: &mut Client, wishes: &[(&str, &str)], before: &str) {
    let call = expression(wishes);
    let declare = format!("{before}; DECLARE c NO SCROLL CURSOR FOR SELECT {call}::text");
    client.batch_execute(&declare).expect("a cursor");
}

fn fetch(client: &mut Client, count: &str) -> Result<Vec<Value>, Error> {
    chunks(client, &format!("FETCH {count} FROM c"))
}

/// What the chunks say.
fn text(chunks: &[Value]) -> String {
    let word = |chunk: &Value| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned);
    chunks.iter().filter_map(word).collect()
}

/// The one generation of the bill, once it has ended.
fn billed(database: &Database) -> Generation {
    wait_until("it is billed", SOON, || database.fake.bill().iter().all(|it| it.billed));
    let mut bill = database.fake.bill();
    assert_eq!(bill.len(), 1, "{bill:?}");
    bill.remove(0)
}

/// The one row of the ledger, once it is the bill.
fn booked(database: &Database, outcome: &str, cost_source: &str) -> Value {
    let mut rows = database.booked();
    assert_eq!(rows.len(), 1, "{rows:?}");
    let (row, billed) = (rows.remove(0), billed(database));
    assert_eq!(row["outcome"], outcome, "{row:?}");
    assert_eq!(row["cost_source"], cost_source, "{row:?}");
    assert_eq!(row["prompt_tokens"], json!(billed.prompt_tokens), "{row:?}");
    assert_eq!(row["completion_tokens"], json!(billed.completion_tokens), "{row:?}");
    assert_eq!(row["streamed"], true);
    assert_eq!(row["http_status"], 200);
    row
}

/// The state of the one call in the journal; None: there is none.
fn state(client: &mut Client) -> Option<String> {
    let state = "SELECT max(state) FROM hiems_private.calls";
    client.query_one(state, &[]).expect("the journal").get(0)
}
