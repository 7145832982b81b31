//! A client that goes away does not stop its generation, nor the charge for it.

use serde_json::json;

use crate::client::{Exchange, KEY, order, start, wait_until};

#[test]
fn a_client_that_leaves_after_the_headers_is_billed_in_full() {
    let fake = start();
    let body = order("openai/gpt-4o", json!({ "fake_delay_ms": "1000" })).to_string();
    let mut exchange = Exchange::open(&fake, "POST", "/chat/completions", Some(KEY), &body);
    exchange.head();
    wait_until("the id counts as sent", || fake.bill()[0].id_sent);
    drop(exchange);

    wait_until("the generation is billed", || fake.bill()[0].billed);
    wait_until("nothing is in flight", || fake.in_flight() == 0);
    let billed = &fake.bill()[0];
    assert!(billed.finished && !billed.delivered);
    assert_ne!(billed.cost, "0");
    assert!(billed.completion_tokens > 0);
}

#[test]
fn a_client_that_leaves_before_the_headers_is_billed_without_knowing_the_id() {
    let fake = start();
    let body = order("openai/gpt-4o", json!({ "fake_header_delay_ms": "1000" })).to_string();
    let exchange = Exchange::open(&fake, "POST", "/chat/completions", Some(KEY), &body);
    wait_until("the generation runs", || !fake.bill().is_empty());
    drop(exchange);

    wait_until("the generation is billed", || fake.bill()[0].billed);
    wait_until("nothing is in flight", || fake.in_flight() == 0);
    let billed = &fake.bill()[0];
    assert!(!billed.id_sent && !billed.delivered);
    assert_ne!(billed.cost, "0");
}
