//! Chunks that jsonb does not take, and chunks that repeat the key.

use std::sync::mpsc;

use hiems_tests::{Canned, Database, KEY, ResultExt};
use postgres::NoTls;
use serde_json::{Value, json};

use super::{chunks, expression, stream, text};

const HEADERS: &str = "content-type: text/event-stream\r\nx-generation-id: gen-1\r\n";

/// A database whose gateway is answered by this server.
fn canned(body: &[u8]) -> (Database<'static>, Canned) {
    let canned = Canned::start();
    let database = Database::with_all(&[
        ("hiems.base_url", &canned.base_url()),
        ("hiems.settlement_timeout", "0"),
    ]);
    canned.answer(200, HEADERS, body);
    (database, canned)
}

fn event(chunk: &str) -> String {
    format!("data: {chunk}\n\n")
}

const USAGE: &str = r#"{"id":"gen-1","choices":[],"usage":{"cost":0.125}}"#;

#[test]
fn what_jsonb_refuses_is_replaced_and_kept_as_it_came() {
    let bad = [
        r#"{"choices":[{"delta":{"content":"a\u0000b"}}]}"#,
        r#"{"choices":[{"delta":{"content":"\ud83d and \ude00"}}]}"#,
        r#"{"choices":[{"delta":{"content":"1"}}],"n":1e999999}"#,
    ];
    let mut body: Vec<u8> = bad.map(event).concat().into_bytes();
    body.extend_from_slice(b"data: {\"choices\":[{\"delta\":{\"content\":\"\xff\xc3\"}}]}\n\n");
    body.extend_from_slice(event(USAGE).as_bytes());
    let (database, _canned) = canned(&body);
    let (sender, notices) = mpsc::channel();
    let mut config = database.config("postgres");
    config.notice_callback(move |notice| {
        let _ = sender.send(notice);
    });
    let mut client = config.connect(NoTls).expect("a connection");
    let rows = stream(&mut client, &[]).expect("rows");
    assert_eq!(text(&rows), "a\u{fffd}b\u{fffd} and \u{fffd}1\u{fffd}\u{fffd}");
    assert_eq!((&rows[2]["n"], rows.len()), (&Value::Null, 5));
    let notice = notices.try_recv().expect("a warning");
    assert_eq!(notice.code().code(), "01000");
    let id = notice.detail().and_then(|detail| detail.get(5..41)).expect("the call").to_owned();
    let raw: Vec<u8> = client
        .query_one("SELECT hiems.raw_answer($1::text::uuid)", &[&id])
        .expect("it is kept")
        .get(0);
    assert_eq!(raw, body);
    // They are events, and no answer.
    let awaited = client.query("SELECT hiems.await_prompt($1::text::uuid)", &[&id]);
    assert_eq!(awaited.sqlstate(), "PT404");
    database.wait_until_booked();
    assert_eq!(database.ledger()[0]["cost_usd"].to_string(), "0.125");
}

#[test]
fn a_chunk_that_cannot_be_given_fails_the_call_and_loses_no_cost() {
    let deep = format!(r#"{{"choices":[],"x":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    for bad in ["<html>", "{\"choices\":", "7", deep.as_str()] {
        let good = r#"{"choices":[{"delta":{"content":"good"}}]}"#;
        let body = [good, bad, USAGE, "[DONE]"].map(event).concat();
        let (database, _canned) = canned(body.as_bytes());
        let mut client = database.admin();
        super::open(&mut client, &[]);
        assert_eq!(text(&super::fetch(&mut client, "1").expect("a row")), "good");
        let refusal = super::fetch(&mut client, "ALL").refusal();
        assert_eq!(refusal.sqlstate, "PT502", "{refusal:?}");
        assert!(refusal.hint.contains("raw_answer"), "{refusal:?}");
        client.batch_execute("ROLLBACK").expect("a rollback");
        database.wait_until_booked();
        let row = database.ledger().remove(0);
        assert_eq!(
            (row["cost_usd"].to_string(), &row["outcome"]),
            ("0.125".into(), &json!("failed"))
        );
        assert_eq!(row["error_code"], "unreadable_answer");
        let raw: Vec<u8> = client
            .query_one("SELECT hiems.raw_answer($1::text::uuid)", &[&row["id"].as_str()])
            .expect("it is kept")
            .get(0);
        assert_eq!(raw, body.as_bytes());
    }
}

// Read in many pieces, which end within a key as often as not.
#[test]
fn a_key_in_a_chunk_is_blotted_out_wherever_it_is_cut() {
    let words = format!("{KEY} ").repeat(20_000);
    let chunk = json!({"choices": [{"delta": {"content": words}}]}).to_string();
    let nul = r#"{"choices":[{"delta":{"content":"\u0000"}}]}"#;
    let error = json!({"error": {"code": 502, "message": format!("bad key {KEY}")}}).to_string();
    let body = [&chunk, nul, USAGE].map(event).concat();
    let (database, canned) = canned(body.as_bytes());
    database.set("hiems.log_content", "on");
    let mut client = database.admin();
    let rows = stream(&mut client, &[]).expect("rows");
    let said = text(&rows);
    assert!(said.len() > 400_000 && !said.contains("sk-or-v1-") && said.contains("****"));
    canned.answer(200, HEADERS, format!("{}{}", event(nul), event(&error)).as_bytes());
    let refusal = stream(&mut client, &[]).refusal();
    assert_eq!(refusal.sqlstate, "PT502");
    assert!(refusal.detail.contains("bad key ****"), "{refusal:?}");
    // Nor is it in what is kept.
    let kept = "SELECT count(*) FILTER (WHERE position($1 IN encode(answer, 'escape')) > 0)::text
                       || ' of ' || count(*) FROM hiems_private.answers";
    assert_eq!(database.text(kept, &[&KEY]).as_deref(), Some("0 of 2"));
}

#[test]
fn events_in_every_spelling_are_read() {
    let chunk = |word: &str| format!(r#"{{"choices":[{{"delta":{{"content":"{word}"}}}}]}}"#);
    let body = format!(
        "\u{feff}: hello\r\n\r\nevent: message\r\nid: 1\r\ndata: {}\r\n\r\n\
         data:{}\n\ndata: {{\"choices\":\ndata: [{{\"delta\":{{\"content\":\"\u{e5}\"}}}}]}}\n\n\
         retry: 3\rdata: {}\r\r: bye\n\n{}",
        chunk("a"),
        chunk("b"),
        chunk("c"),
        event(USAGE)
    );
    let (database, _canned) = canned(body.as_bytes());
    let rows = chunks(&mut database.admin(), &format!("SELECT {}::text", expression(&[])));
    assert_eq!(text(&rows.expect("rows")), "ab\u{e5}c");
}
