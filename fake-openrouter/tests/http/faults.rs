//! What breaks on the way: the caller sees it, and the bill knows what it cost.

use std::io::ErrorKind;

use fake_openrouter::{Config, Fake};
use serde_json::{Value, json};

use crate::client::{Exchange, KEY, ask, order, start, wait_until};

fn open(fake: &Fake, fault: &str, delay: &str) -> Exchange {
    let metadata = json!({ "fake_fault": fault, "fake_delay_ms": delay });
    let body = order("openai/gpt-4o", metadata).to_string();
    Exchange::open(fake, "POST", "/chat/completions", Some(KEY), &body)
}

fn assert_billed_undelivered(fake: &Fake, place: usize) {
    wait_until("nothing is in flight", || fake.in_flight() == 0);
    let billed = &fake.bill()[place];
    assert!(billed.finished && billed.billed && !billed.delivered, "{billed:?}");
    assert_ne!(billed.cost, "0");
}

#[test]
fn a_connection_can_be_reset_before_the_headers() {
    let fake = start();
    let error = open(&fake, "reset_before_headers", "0").rest().expect_err("no end");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_billed_undelivered(&fake, 0);
    assert!(!fake.bill()[0].id_sent);
}

#[test]
fn a_connection_can_be_reset_after_the_headers() {
    let fake = start();
    let mut exchange = open(&fake, "reset_after_headers", "500");
    let (status, headers) = exchange.head();
    assert_eq!(status, 200);
    assert!(headers.iter().any(|(name, _)| name == "x-generation-id"));
    let error = exchange.rest().expect_err("no end");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_billed_undelivered(&fake, 0);
    assert!(fake.bill()[0].id_sent);
}

#[test]
fn an_answer_can_end_early() {
    let fake = start();
    let headers = open(&fake, "cut_headers", "0").rest().expect("an end");
    assert_eq!(headers, b"HTTP/1.1 200 OK\r\nconte");

    let mut exchange = open(&fake, "cut_length", "0");
    let (_, headers) = exchange.head();
    let promised = headers.iter().find(|(name, _)| name == "content-length").map(|(_, text)| text);
    let promised: usize = promised.and_then(|text| text.parse().ok()).expect("a length");
    let came = exchange.rest().expect("an end").len();
    assert!(promised / 4 < came && came < promised, "{came} of {promised}");

    let mut exchange = open(&fake, "cut_chunked", "0");
    exchange.head();
    let body = String::from_utf8(exchange.rest().expect("an end")).expect("text");
    assert!(body.contains("\"id\":\"gen-") && !body.ends_with("0\r\n\r\n"), "{body}");
    for place in 0..3 {
        assert_billed_undelivered(&fake, place);
    }
}

#[test]
fn a_body_can_be_spoilt() {
    let fake = start();
    let spoilt = |fault: &str| {
        let metadata = json!({ "fake_fault": fault, "fake_answer": "text ", "fake_cost": "0.5" });
        let body = order("openai/gpt-4o", metadata).to_string();
        Exchange::open(&fake, "POST", "/chat/completions", Some(KEY), &body).bytes()
    };
    let holds = |fault: &str, bytes: &[u8]| {
        let body = spoilt(fault);
        assert!(body.windows(bytes.len()).any(|part| part == bytes), "{fault}");
    };
    holds("not_utf8", b"text \xff\xc3end\"");
    holds("nul", br#""text \u0000end""#);
    holds("surrogates", br#""text \ud83d \ude00end""#);
    holds("huge_number", br#""system_fingerprint":1e999999"#);
    holds("deep", "[".repeat(100_000).as_bytes());
    holds("junk", b"\n\n   <html>");
    assert!(serde_json::from_slice::<Value>(&spoilt("half")).is_err_and(|error| error.is_eof()));
    assert!(fake.bill().iter().all(|generation| generation.cost == "0.5" && generation.delivered));
}

#[test]
fn a_body_can_be_large_or_slow_or_literal() {
    let fake = start();
    let large = json!({ "fake_answer_bytes": "3000001", "fake_answer": "å" });
    let answer = ask(&fake, &order("openai/gpt-4o", large)).json();
    let content = answer["choices"][0]["message"]["content"].as_str().expect("text");
    assert_eq!(content.len(), 3_000_000);
    assert!(fake.bill()[0].completion_tokens >= 375_000);

    let slow = json!({ "fake_bytes_per_second": "1", "fake_body": "abc" });
    let body = order("openai/gpt-4o", slow).to_string();
    let mut exchange = Exchange::open(&fake, "POST", "/chat/completions", Some(KEY), &body);
    exchange.head();
    exchange.chunk();
    let before = std::time::Instant::now();
    assert_eq!(exchange.chunk(), "a");
    assert!(before.elapsed().as_millis() > 800, "{:?}", before.elapsed());

    let metadata = json!({ "fake_body": "\"busy\"", "fake_content_type": "text/plain" });
    let reply = ask(&fake, &order("openai/gpt-4o", metadata));
    assert_eq!((reply.status, reply.json()), (200, json!("busy")));
    assert_eq!(reply.header("content-type"), Some("text/plain"));
    assert_ne!(fake.bill()[2].cost, "0");
}

#[test]
fn tls_needs_the_fakes_own_authority() {
    let fake = Fake::start(Config { tls: true, ..Config::default() }).expect("the fake starts");
    assert!(fake.base_url().starts_with("https://127.0.0.1:"));
    assert!(fake.ca_pem().is_some_and(|pem| pem.starts_with("-----BEGIN CERTIFICATE-----")));
    // A client that is silent at the handshake holds up no other.
    let address = fake.base_url().replace("https://", "").replace("/api/v1", "");
    let silent = [1, 2].map(|connections| {
        let stream = std::net::TcpStream::connect(&address).expect("the fake listens");
        wait_until("it is accepted", || fake.connections() == connections);
        stream
    });
    drop(silent);
    assert_eq!(start().ca_pem(), None);
}
