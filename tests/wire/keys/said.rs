//! Answers that say the key back, with characters of it escaped as in JSON: nobody reads it.

use hiems_tests::{Canned, Database, KEY, ResultExt, SOON, call, wait_until};

/// The key with its first character escaped, all of them, and as a string within a string.
fn spellings() -> [String; 3] {
    let all: String = KEY.chars().map(|c| format!("\\u{:04x}", u32::from(c))).collect();
    [format!("\\u0073{}", &KEY[1..]), all, format!("\\\\u0073{}", &KEY[1..])]
}

/// What of the key may be in no text: of the shortest spelling, too.
const TRACE: &str = "k-or-v1-0123";

fn canned() -> (Database<'static>, Canned) {
    let canned = Canned::start();
    let database = Database::with_all(&[
        ("hiems.base_url", &canned.base_url()),
        ("hiems.log_content", "on"),
        ("hiems.settlement_timeout", "0"),
    ]);
    (database, canned)
}

#[track_caller]
fn assert_clean(text: &str) {
    assert!(!text.contains(TRACE), "{text}");
    assert!(text.contains("******"), "{text}");
}

/// All that is booked and kept.
fn rows(database: &Database) -> String {
    database.wait_until_booked();
    let kept = "SELECT string_agg(l::text, ' ') || coalesce((SELECT string_agg(
                    convert_from(answer, 'UTF8'), ' ') FROM hiems_private.answers), '')
                FROM hiems.ai_usage_logs AS l";
    database.text(kept, &[]).expect("rows")
}

#[test]
fn an_answer_does_not() {
    let (database, canned) = canned();
    let mut admin = database.admin();
    for key in spellings() {
        let body = format!(
            r#"{{"id": "gen-{key}", "model": "{key}", "provider": "a {key} b",
                 "choices": [{{"message": {{"content": "it is {key}!"}}, "finish_reason": "{key}"}}],
                 "usage": {{"cost": 1.50e-7, "prompt_tokens": 3}}}}"#
        );
        canned.answer(200, "", body.as_bytes());
        let answer = call(&mut admin, "{}").expect("an answer");
        assert_clean(&answer);
        assert!(answer.contains("it is **") && answer.contains("**!"), "{answer}");
    }
    assert_clean(&rows(&database));
    let costs = "SELECT string_agg(cost_usd::text, ' ') FROM hiems.ai_usage_logs";
    assert_eq!(database.text(costs, &[]).as_deref(), Some("0.000000150 0.000000150 0.000000150"));
}

#[test]
fn a_stream_does_not() {
    let (database, canned) = canned();
    let headers = "content-type: text/event-stream\r\nx-generation-id: gen-1\r\n";
    for key in spellings() {
        let body = format!(
            "data: {{\"model\":\"{key}\",\"choices\":[{{\"delta\":{{\"content\":\"{key}\"}}}}]}}\n\n\
             data: {{\"choices\":[],\"usage\":{{\"cost\":0.5}}}}\n\ndata: [DONE]\n\n"
        );
        canned.answer(200, headers, body.as_bytes());
        let sql =
            "SELECT hiems.stream_prompt('a/b', '[{\"role\":\"user\",\"content\":\"x\"}]')::text";
        let rows = database.admin().query(sql, &[]).expect("rows");
        assert_clean(rows[0].get(0));
        // An error after the first chunk, and one instead of a stream.
        let error = format!(r#"{{"error":{{"code":502,"message":"bad {key}"}}}}"#);
        canned.answer(200, headers, format!("data: {error}\n\n").as_bytes());
        assert_clean(&database.admin().query(sql, &[]).refusal().detail);
        canned.answer(200, headers, error.as_bytes());
        assert_clean(&database.admin().query(sql, &[]).refusal().detail);
    }
    assert_clean(&rows(&database));
}

#[test]
fn an_error_does_not() {
    let (database, canned) = canned();
    for key in spellings() {
        let body = format!(
            r#"{{"error": {{"code": "{key}", "message": "no {key}",
                 "metadata": {{"provider_name": "{key}", "raw": "{{\"key\": \"{key}\"}}"}}}}}}"#
        );
        canned.answer(400, "", body.as_bytes());
        assert_clean(&call(&mut database.admin(), "{}").refusal().detail);
    }
    // What cannot be read is kept as it came, but for the key.
    canned.answer(200, "", format!("\"{}\"", spellings()[0]).as_bytes());
    assert_eq!(call(&mut database.admin(), "{}").sqlstate(), "PT502");
    assert_clean(&rows(&database));
    let log = hiems_tests::cluster().log();
    assert!(log.contains("no ****") && !log.contains(TRACE));
}

#[test]
fn the_id_in_a_header_does_not() {
    let (database, canned) = canned();
    let header = format!("x-generation-id: gen-{KEY}\r\n");
    canned.answer(200, &header, b"{\"choices\": []}");
    call(&mut database.admin(), "{}").expect("an answer");
    canned.answer(
        200,
        &format!("content-type: text/event-stream\r\n{header}"),
        b"data: [DONE]\n\n",
    );
    let sql = "SELECT hiems.stream_prompt('a/b', '[{\"role\":\"user\",\"content\":\"x\"}]')::text";
    database.admin().query(sql, &[]).expect("no rows");
    assert_clean(&rows(&database));
}

#[test]
fn the_record_of_a_generation_does_not() {
    let canned = Canned::start();
    let database = Database::with_all(&[
        ("hiems.base_url", &canned.base_url()),
        ("hiems.settlement_timeout", "1min"),
    ]);
    let mut admin = database.admin();
    for (place, key) in [spellings()[0].as_str(), spellings()[1].as_str(), KEY].iter().enumerate() {
        canned.answer(200, &format!("x-generation-id: gen-{place}\r\n"), b"<html>");
        assert_eq!(call(&mut admin, "{}").sqlstate(), "PT502");
        let record = format!(
            r#"{{"data": {{"total_cost": 0.25, "model": "m {key}", "provider_name": "p {key}",
                 "finish_reason": "{key}", "native_finish_reason": "{key}"}}}}"#
        );
        canned.answer(200, "", record.as_bytes());
        wait_until("it is settled", SOON, || {
            admin.query("SELECT hiems.settle_now()", &[]).expect("a settlement");
            database.count("hiems.ai_usage_logs WHERE cost_usd = 0.25") == place as i64 + 1
        });
    }
    assert_clean(&rows(&database));
}
