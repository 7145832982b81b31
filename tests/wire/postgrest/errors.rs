//! Each failure is its HTTP status, with code, message, details and hint; and what reached OpenRouter is
//! in the ledger all the same.

use hiems_tests::{Config, Database, KEY, cluster};
use serde_json::{Value, json};

use super::site::{Site, prompt};

const RPC: &str = include_str!("../../node/rpc.mjs");

/// OpenRouter's status, HTTP status of the answer, code, and whether a hint says what to do.
const CASES: [(&str, u64, &str, bool); 13] = [
    ("400", 400, "22023", false),
    ("401", 503, "PT503", true),
    ("402", 402, "PT402", true),
    ("403", 403, "PT403", true),
    ("404", 404, "PT404", true),
    // Browsers send a POST again that was answered with 408.
    ("408", 504, "PT504", false),
    ("413", 413, "PT413", false),
    ("422", 422, "PT422", false),
    ("429", 429, "PT429", true),
    ("500", 502, "PT502", false),
    ("502", 502, "PT502", false),
    ("503", 503, "PT503", true),
    ("529", 503, "PT503", true),
];

#[test]
fn a_failure_arrives_as_its_status_and_is_booked() {
    let site = Site::new();
    let ada = site.user("ada");
    let calls: Vec<Value> = CASES
        .iter()
        .map(|(status, ..)| {
            let wishes = [("fake_status", *status), ("fake_retry_after", "7")];
            let wishes = if ["429", "503"].contains(status) { &wishes[..] } else { &wishes[..1] };
            json!({"token": ada, "rpc": "submit_prompt", "args": prompt(wishes)})
        })
        .collect();
    let answers = site.node(RPC, &json!(calls));
    site.database.wait_until_booked();
    let rows = site.database.ledger();
    assert_eq!(rows.len(), CASES.len());
    for (i, (upstream, status, code, hinted)) in CASES.into_iter().enumerate() {
        let (answer, row) = (&answers[i], &rows[i]);
        let error = &answer["error"];
        assert_eq!(answer["status"], status, "{upstream}: {answer}");
        assert_eq!(error["code"], code, "{upstream}: {answer}");
        assert_eq!(answer["data"], Value::Null);
        assert_ne!(error["message"].as_str().expect("a message"), "", "{answer}");
        assert_eq!(error["hint"].is_string(), hinted, "{upstream}: {answer}");
        let details = error["details"].as_str().expect("details");
        let id = row["id"].as_str().expect("an id");
        assert!(details.starts_with(&format!("call {id}: HTTP {upstream}")), "{details}");
        let is_told = details.ends_with("; retry after 7 s");
        assert_eq!(is_told, ["429", "503"].contains(&upstream), "{details}");
        assert!(!answer.to_string().contains(KEY), "{answer}");
        assert_eq!(row["outcome"], "failed", "{upstream}");
        assert_eq!(row["principal"], "jwt:ada", "{upstream}");
    }
}

#[test]
fn what_failed_after_it_was_billed_is_in_the_ledger() {
    let site = Site::new();
    let ada = site.user("ada");
    let late = site.rpc(
        &ada,
        "submit_prompt",
        &prompt(&[("fake_status", "502"), ("fake_billed_error", "true")]),
    );
    assert_eq!((late.status, late.text("code")), (502, "PT502"), "{late:?}");
    // The answer is there, paid for, and refused.
    let schema = json!({"type": "object", "required": ["total"]});
    let wrong = site.rpc(
        &ada,
        "extract",
        &json!({"prompt": "hello", "schema": schema, "model": "openai/gpt-4o-mini",
                "options": {"metadata": {"fake_answer": "no JSON"}}}),
    );
    assert_eq!((wrong.status, wrong.text("code")), (422, "PT422"), "{wrong:?}");
    assert!(wrong.text("hint").contains("hiems.await_prompt"), "{wrong:?}");
    site.database.wait_until_booked();
    let rows = site.database.ledger();
    let outcomes: Vec<&str> = rows.iter().filter_map(|row| row["outcome"].as_str()).collect();
    assert_eq!(outcomes, ["failed", "rolled_back"]);
    let bill = site.database.fake.bill();
    assert_eq!(bill.len(), 2);
    for ((row, generation), answer) in rows.iter().zip(&bill).zip([&late, &wrong]) {
        assert_eq!(row["cost_usd"].to_string(), generation.cost, "{row}");
        assert_ne!(row["cost_usd"], json!(0));
        let id = row["id"].as_str().expect("an id");
        assert!(answer.text("details").starts_with(&format!("call {id}: ")), "{answer:?}");
    }
}

// A client that looks at the status alone sees that it failed.
#[test]
fn half_a_text_with_an_error_beside_it_is_no_success() {
    let site = Site::new();
    let ada = site.user("ada");
    let question = json!({"prompt": "hello", "model": "openai/gpt-4o-mini"});
    let wishes = [("fake_answer", "half"), ("fake_error", "true"), ("fake_error_at", "choice")];
    site.database.fake.wish(&wishes);
    let answers = [
        site.rpc(&ada, "submit_prompt", &prompt(&[])),
        site.rpc(&ada, "stream_prompt", &prompt(&[])),
        site.rpc(&ada, "complete", &question),
    ];
    for answer in answers {
        assert_eq!((answer.status, answer.text("code")), (502, "PT502"), "{answer:?}");
        assert!(answer.text("hint").contains("hiems.raw_answer"), "{answer:?}");
    }
    let batch = site.rpc(&ada, "submit_prompts", &json!({"requests": [prompt(&[])]}));
    assert_eq!(batch.status, 200, "{batch:?}");
    let row = &batch.body[0];
    assert_eq!((&row["error_code"], &row["content"]), (&json!("PT502"), &Value::Null), "{row}");
    assert_eq!(row["finish_reason"], "stop");
    for row in site.database.booked() {
        assert_eq!((&row["outcome"], &row["cost_source"]), (&json!("failed"), &json!("billed")));
    }
}

#[test]
fn what_is_wrong_before_anything_is_sent_has_its_status_too() {
    let database = Database::without_key();
    database.set("hiems.max_request_bytes", "1kB");
    let site = Site::on(database, &[]);
    let ada = site.user("ada");
    let hello = prompt(&[]);
    let ask = |field: &str, value: Value| {
        let mut arguments = hello.clone();
        arguments[field] = value;
        site.rpc(&ada, "submit_prompt", &arguments)
    };
    let large = ask("messages", json!([{"role": "user", "content": "x".repeat(2_000)}]));
    assert_eq!((large.status, large.text("code")), (413, "PT413"), "{large:?}");
    assert!(large.text("details").contains("and may have 1024"), "{large:?}");
    assert!(large.text("hint").contains("hiems.max_request_bytes"), "{large:?}");
    for (field, value) in [
        ("messages", json!([])),
        ("messages", json!({})),
        ("options", json!([])),
        ("model", json!("")),
    ] {
        let answer = ask(field, value);
        assert_eq!((answer.status, answer.text("code")), (400, "22023"), "{field}: {answer:?}");
        assert_ne!(answer.text("message"), "");
    }
    let none =
        site.rpc(&ada, "await_prompt", &json!({"id": "01a20d36-0000-7000-8000-000000000000"}));
    assert_eq!((none.status, none.text("code")), (404, "PT404"), "{none:?}");
    assert_eq!(site.database.fake.request_count(), 0);
    assert_eq!(site.database.count("hiems.ai_usage_logs"), 0);
}

/// It is the project's key that is missing, and not the user's token that fails: no 401.
#[test]
fn without_a_key_it_is_503() {
    let site = Site::new();
    site.database.admin().execute("SELECT hiems.drop_api_key('default')", &[]).expect("dropped");
    let answer = site.rpc(&site.user("ada"), "submit_prompt", &prompt(&[]));
    assert_eq!((answer.status, answer.text("code")), (503, "PT503"), "{answer:?}");
    assert!(answer.text("hint").contains("hiems.set_api_key"), "{answer:?}");
}

/// A provider that repeats the key: nobody is shown it.
#[test]
fn no_error_shows_the_key() {
    let config = Config { accepted_keys: vec!["sk-or-v1-another".to_owned()], ..Config::default() };
    let site = Site::on(Database::on(cluster(), config), &[]);
    let answer = site.rpc(&site.user("ada"), "submit_prompt", &prompt(&[]));
    assert_eq!(answer.status, 503);
    assert!(!answer.body.to_string().contains("sk-or"), "{answer:?}");
}
