//! Somebody's lock holds up the queue, and nobody else; nothing of it is lost.

use hiems_tests::{Database, SOON, call, wait_until};
use postgres::Client;

use super::{answer_of, assert_bill, enqueue};

fn lock(mut client: Client, table: &str) -> Client {
    client
        .batch_execute(&format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
        .expect("the lock");
    client
}

#[test]
fn while_a_table_is_locked_calls_wait_and_others_are_answered() {
    let tables = [
        "hiems_private.queue",
        "hiems_private.requests",
        "hiems_private.answers",
        "hiems_private.calls",
        "hiems_private.exchange_rates",
        "hiems.ai_usage_logs",
    ];
    for table in tables {
        let database = Database::new();
        let mut client = database.admin();
        let id = enqueue(&mut client, &[("fake_delay_ms", "300"), ("fake_answer", "kept")])
            .expect("an id");
        wait_until("it is in flight", SOON, || database.fake.in_flight() == 1);
        let holder = lock(database.admin(), table);
        wait_until("it has ended", SOON, || database.fake.in_flight() == 0);
        client.batch_execute("SET statement_timeout = '10s'").expect("a setting");
        call(&mut client, "{}").expect("an answer behind the lock");
        drop(holder);
        assert_eq!(answer_of(&mut client, &id).expect("an answer"), "kept", "{table}");
        assert_bill(&database);
    }
}

#[test]
fn a_row_that_somebody_holds_is_passed_over() {
    let database = Database::with("hiems.queue_concurrency", "1");
    let mut client = database.admin();
    let mut holder = database.admin();
    let mut transaction = client.transaction().expect("a transaction");
    let first = enqueue(&mut transaction, &[("fake_header_delay_ms", "300")]).expect("an id");
    let held = enqueue(&mut transaction, &[]).expect("an id");
    let last = enqueue(&mut transaction, &[]).expect("an id");
    transaction.commit().expect("a commit");
    holder.batch_execute("BEGIN").expect("a begin");
    holder
        .execute("SELECT hiems.cancel_prompt($1::text::uuid)", &[&held])
        .expect("a call that is not committed as cancelled");
    for id in [&first, &last] {
        answer_of(&mut client, id).expect("an answer");
    }
    assert_eq!(database.fake.requests().len(), 2);
    holder.batch_execute("ROLLBACK").expect("a rollback");
    answer_of(&mut client, &held).expect("an answer");
    assert_bill(&database);
}
