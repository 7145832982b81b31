//! Streams that are fetched to their end.

use std::time::Instant;

use hiems_tests::{Database, wait_until};
use postgres::fallible_iterator::FallibleIterator;
use serde_json::{Value, json};

use super::{SOON, booked, chunks, declare, expression, fetch, open, state, stream, text};

#[test]
fn rows_come_while_the_model_speaks() {
    let database = Database::new();
    let mut client = database.admin();
    let wishes = [
        ("fake_answer", "a stream of words"),
        ("fake_chunk_delay_ms", "300"),
        ("fake_cost", "0.0076509169000000005"),
    ];
    open(&mut client, &wishes);
    let first = fetch(&mut client, "2").expect("rows");
    assert_eq!(database.fake.in_flight(), 1);
    assert!(!database.fake.bill()[0].finished);
    assert_eq!(text(&first), "a ");
    let rest = fetch(&mut client, "ALL").expect("rows");
    assert_eq!(text(&rest), "stream of words");
    let usage = rest.last().expect("a chunk");
    assert_eq!(usage["usage"]["cost"].to_string(), "0.0076509169000000005");
    assert_eq!(first[0]["object"], "chat.completion.chunk");
    // It is this transaction's own.
    assert_eq!(database.count("hiems.ai_usage_logs"), 0);
    client.batch_execute("COMMIT").expect("a commit");
    let row = booked(&database, "committed", "billed");
    assert_eq!(row["cost_usd"].to_string(), "0.0076509169000000005");
    assert_eq!(row["finish_reason"], "stop");
    assert_eq!(row["error_code"], Value::Null);
    let (first, all) = (row["first_token_ms"].as_i64(), row["latency_ms"].as_i64());
    // The first word comes second.
    assert!(first.is_some_and(|first| (500..2_000).contains(&first)), "{row:?}");
    assert!(all > first.map(|first| first + 500), "{row:?}");
    let request = &database.fake.requests()[0].body;
    assert_eq!(request["stream"], true);
    assert_eq!(request["usage"]["include"], true);
}

// A plain SELECT: what has come is not kept back until it fills a buffer.
#[test]
fn a_client_that_reads_row_by_row_needs_no_cursor() {
    let database = Database::new();
    let mut client = database.admin();
    let wishes = [("fake_answer", "a stream of words"), ("fake_chunk_delay_ms", "300")];
    let select = format!("SELECT {}::text", expression(&wishes));
    let mut rows = client.query_raw(&select, std::iter::empty::<i32>()).expect("a query");
    for _ in 0..2 {
        rows.next().expect("no error").expect("a row");
    }
    assert!(!database.fake.bill()[0].finished);
    let mut count = 2;
    while rows.next().expect("no error").is_some() {
        count += 1;
    }
    assert_eq!(count, 7);
    booked(&database, "committed", "billed");
}

#[test]
fn every_form_of_a_stream_is_told_and_booked() {
    for wishes in [
        &[("fake_usage_chunk", "repeated")][..],
        &[("fake_usage_chunk", "empty")],
        &[("fake_usage_chunk", "null"), ("fake_comments", "50")],
        &[("fake_no_done", "true"), ("fake_comments", "0")],
        &[("fake_reasoning_tokens", "7"), ("fake_cached_tokens", "3")],
        &[("fake_byok", "true"), ("fake_cost", "4.20e-7")],
    ] {
        let database = Database::new();
        let said = [wishes, &[("fake_answer", "one two")]].concat();
        let rows = stream(&mut database.admin(), &said).expect("rows");
        assert_eq!(text(&rows), "one two", "{wishes:?}");
        assert!(rows.iter().all(|row| row["id"] == rows[0]["id"]), "{wishes:?}");
        assert!(rows.last().is_some_and(|row| row["usage"].is_object()), "{wishes:?}");
        let row = booked(&database, "committed", "billed");
        assert!(row["first_token_ms"].is_i64(), "{wishes:?} {row:?}");
        assert_eq!(row["finish_reason"], "stop", "{wishes:?}");
    }
}

// As without a stream: the answer is whole, its cost comes later.
#[test]
fn a_stream_without_a_usage_is_booked_and_corrected() {
    for done in ["false", "true"] {
        let database = Database::new();
        let wishes =
            [("fake_no_usage", "true"), ("fake_no_done", done), ("fake_answer", "one two")];
        let rows = stream(&mut database.admin(), &wishes).expect("rows");
        assert_eq!(text(&rows), "one two");
        database.wait_until_booked();
        let ledger = database.ledger();
        assert_eq!((ledger.len(), &ledger[0]["cost_usd"]), (2, &Value::Null), "{ledger:?}");
        assert_eq!(ledger[0]["outcome"], "committed");
        assert_eq!(ledger[1]["adjusts"], ledger[0]["id"]);
        let billed = &database.fake.bill()[0];
        assert_eq!(ledger[1]["cost_usd"].to_string(), billed.cost);
        assert_eq!(ledger[1]["completion_tokens"], json!(billed.completion_tokens));
    }
}

#[test]
fn it_can_be_used_wherever_a_set_can() {
    let database = Database::new();
    let mut client = database.admin();
    let call = expression(&[("fake_answer", "one two three")]);
    let from = format!("SELECT c::text FROM {call} AS c");
    assert_eq!(text(&chunks(&mut client, &from).expect("rows")), "one two three");
    let sum = format!(
        "SELECT to_jsonb(string_agg(c #>> '{{choices,0,delta,content}}', ''))::text
         FROM (SELECT {call} AS c) AS s"
    );
    assert_eq!(chunks(&mut client, &sum).expect("a row"), [json!("one two three")]);
    // Two at a time, and a set for each row. Of two that are the same, PostgreSQL makes one.
    let other = expression(&[("fake_answer", "four five six")]);
    let two = format!("SELECT {call}::text, {other}::text");
    assert_eq!(client.query(&two, &[]).expect("rows").len(), 6);
    let each = format!("SELECT {call}::text FROM generate_series(1, 2)");
    assert_eq!(chunks(&mut client, &each).expect("rows").len(), 12);
    // A loop fetches it to the end.
    let block = format!(
        "DO $$ DECLARE chunk jsonb; said text := '';
         BEGIN
             FOR chunk IN SELECT {call} LOOP
                 said := said || coalesce(chunk #>> '{{choices,0,delta,content}}', '');
             END LOOP;
             ASSERT said = 'one two three', said;
         END $$"
    );
    client.batch_execute(&block).expect("the block");
    // A cursor that outlives its transaction has all of it by the commit.
    client
        .batch_execute(&format!("DECLARE h CURSOR WITH HOLD FOR SELECT {call}::text"))
        .expect("a cursor");
    assert_eq!(text(&chunks(&mut client, "FETCH ALL FROM h").expect("rows")), "one two three");
    database.wait_until_booked();
    let rows = database.ledger();
    assert_eq!((rows.len(), database.fake.requests().len()), (8, 8));
    for row in &rows {
        assert_eq!((&row["outcome"], &row["cost_source"]), (&json!("committed"), &json!("billed")));
        let bill = database.fake.bill();
        let billed = bill.iter().find(|it| row["generation_id"] == json!(it.id)).expect("billed");
        assert_eq!(row["cost_usd"].to_string(), billed.cost);
    }
}

// OpenRouter is read at its own pace: it has ended, and is settled, while its reader has one row.
#[test]
fn a_slow_reader_holds_up_nothing() {
    let database = Database::new();
    let mut client = database.admin();
    let words = "w".repeat(999) + " ";
    let wishes = [("fake_answer", &*words), ("fake_answer_bytes", "2000000")];
    open(&mut client, &wishes);
    fetch(&mut client, "1").expect("a row");
    let mut admin = database.admin();
    wait_until("it is settled", SOON, || state(&mut admin).as_deref() == Some("answered"));
    assert_eq!(database.fake.in_flight(), 0);
    // Others are served meanwhile, and booked.
    hiems_tests::call(&mut admin, "{}").expect("an answer");
    let rest = fetch(&mut client, "ALL").expect("rows");
    assert_eq!(text(&rest).len(), 2_000_000);
    client.batch_execute("COMMIT").expect("a commit");
    database.wait_until_booked();
    let rows = database.ledger();
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row["outcome"] == "committed"), "{rows:?}");
}

#[test]
fn a_long_stream_comes_whole() {
    let database = Database::new();
    let words = "w".repeat(999) + " ";
    let wishes = [("fake_answer", &*words), ("fake_answer_bytes", "10000000")];
    let began = Instant::now();
    let rows = stream(&mut database.admin(), &wishes).expect("rows");
    println!("{} rows in {:?}", rows.len(), began.elapsed());
    assert_eq!(text(&rows).len(), 10_000_000);
    booked(&database, "committed", "billed");
}

#[test]
fn where_it_is_rolled_back_it_is_booked_as_such() {
    for (before, after) in
        [("BEGIN", "ROLLBACK"), ("BEGIN; SAVEPOINT s", "CLOSE c; ROLLBACK TO s; COMMIT")]
    {
        let database = Database::new();
        let mut client = database.admin();
        declare(&mut client, &[], before);
        fetch(&mut client, "ALL").expect("rows");
        client.batch_execute(after).expect("the end");
        booked(&database, "rolled_back", "billed");
    }
}
