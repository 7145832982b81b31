//! `rpc('enqueue_prompt')`, and then `rpc('await_prompt')`.

use serde_json::{Value, json};

use super::site::{Site, prompt};

const RPC: &str = include_str!("../../node/enqueue.mjs");

#[test]
fn supabase_js_enqueues_and_then_has_the_answer() {
    let site = Site::new();
    let ada = site.user("ada");
    let said = site.node(
        RPC,
        &json!({"token": ada, "args": prompt(&[("fake_answer", "said"), ("fake_delay_ms", "200")])}),
    );
    assert_eq!(said["answer"]["choices"][0]["message"]["content"], "said", "{said}");
    site.database.wait_until_booked();
    let rows = site.database.ledger();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["id"], said["id"]);
    assert_eq!(rows[0]["principal"], "jwt:ada");
    // It is nobody else's.
    for token in [site.user("bea"), site.service()] {
        let answer = site.rpc(&token, "await_prompt", &json!({"id": said["id"]}));
        assert_eq!((answer.status, answer.text("code")), (404, "PT404"), "{answer:?}");
        assert_eq!(answer.body["choices"], Value::Null);
    }
}

#[test]
fn a_wait_that_is_over_before_the_answer_is_408_and_can_be_repeated() {
    let site = Site::new();
    let ada = site.user("ada");
    let enqueued = site.rpc(&ada, "enqueue_prompt", &prompt(&[("fake_delay_ms", "1500")]));
    assert_eq!(enqueued.status, 200, "{enqueued:?}");
    let wait = |timeout: &str| {
        site.rpc(&ada, "await_prompt", &json!({"id": enqueued.body, "timeout": timeout}))
    };
    let early = wait("1 ms");
    assert_eq!((early.status, early.text("code")), (408, "PT408"), "{early:?}");
    assert!(early.text("details").contains(enqueued.body.as_str().expect("an id")), "{early:?}");
    let answer = wait("50 s");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.body["choices"].is_array(), "{answer:?}");
}
