//! An upstream that answers with garbage.

use hiems_tests::{Canned, Database, Random, call, wait_until_booked};

use crate::{assert_no_crash, repeat};

const WHOLE: &str = r#"{"id":"gen-1","model":"m","provider":"p","choices":[{"finish_reason":"stop","message":{"role":"assistant","content":"x"}}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2,"cost":0.5}}"#;

const HEADERS: [&str; 7] = [
    "",
    "content-encoding: gzip\r\n",
    "retry-after: 99999999999999999999\r\n",
    "x-generation-id: \u{7f}\u{1}\r\n",
    "date: yesterday\r\n",
    "content-type: text/event-stream\r\n",
    "x-ratelimit-reset: -1e308\r\n",
];

/// A whole answer with some bytes changed, cut, or said again; or something else.
fn body(random: &mut Random) -> Vec<u8> {
    let mut bytes = WHOLE.as_bytes().to_vec();
    match random.below(8) {
        0 => return Vec::new(),
        1 => return "[".repeat(200_000).into_bytes(),
        2 => {
            return format!(
                "{{\"error\":{}}}",
                random.pick(&["1", "[]", "{}", "\"x\"", "{\"code\":1e99}"])
            )
            .into();
        }
        3 => {
            let number = random.pick(&[
                "1e400",
                "-1",
                "9223372036854775808",
                "1e-400",
                "\"0.5\"",
                "null",
                "{}",
            ]);
            return WHOLE.replace("0.5", number).replace(":2,", &format!(":{number},")).into();
        }
        4 => bytes.truncate(random.below(bytes.len() as u64) as usize),
        5 => bytes = bytes.repeat(1 + random.below(3) as usize),
        _ => {
            for _ in 0..=random.below(4) {
                let at = random.below(bytes.len() as u64) as usize;
                bytes[at] = random.below(256) as u8;
            }
        }
    }
    bytes
}

#[test]
fn an_upstream_of_garbage_harms_nothing() {
    let canned = Canned::start();
    let database = Database::without_key();
    database.set("hiems.base_url", &canned.base_url());
    database.set("hiems.max_attempts", "1");
    // No cost can be asked for.
    database.set("hiems.settlement_timeout", "0");
    database.store_key();
    let gateways = database.gateways();
    let mut random = Random::new();
    println!("HIEMS_TEST_SEED={}", random.seed);
    let mut client = database.admin();
    let mut answered = 0;
    let calls = repeat(|| {
        let status = *random.pick(&[200, 200, 200, 201, 204, 400, 429, 500, 503, 999]);
        canned.answer(status, random.pick::<&str>(&HEADERS), &body(&mut random));
        match call(&mut client, "{}") {
            Ok(_) => answered += 1,
            Err(error) => {
                let code = error.code().unwrap_or_else(|| panic!("{error}")).code();
                assert!(!code.starts_with("XX"), "{error:?}");
            }
        }
    });
    println!("{calls} calls, {answered} answered");
    assert_eq!(database.gateways(), gateways, "the gateway lives");
    wait_until_booked(&mut client, &database.fake);
    assert_eq!(database.count("hiems.ai_usage_logs WHERE adjusts IS NULL"), calls as i64);
    assert_no_crash(&hiems_tests::cluster().log());
}
