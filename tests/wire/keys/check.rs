//! `hiems.verify_api_key`: what OpenRouter says of a stored key. Free of charge, and booked nowhere.

use std::net::TcpListener;
use std::sync::mpsc;
use std::time::Duration;

use hiems_tests::{Canned, Config, Database, KEY, ResultExt, Running, cluster, wait_until};
use postgres::{Client, NoTls};

use super::{call, set_key};

const VERIFY: &str = "SELECT v::text FROM hiems.verify_api_key() AS v";

/// The row as JSON text, in which numbers stand as PostgreSQL has them.
fn verified(client: &mut Client, name: &str) -> serde_json::Value {
    let row = client
        .query_one("SELECT to_jsonb(v)::text FROM hiems.verify_api_key($1) AS v", &[&name])
        .expect("one row");
    serde_json::from_str(row.get(0)).expect("JSON")
}

/// A database whose OpenRouter answers what it is told, with a key stored.
fn with_canned() -> (Database<'static>, Canned) {
    let database = Database::new();
    let canned = Canned::start();
    database.set("hiems.base_url", &canned.base_url());
    database.end_gateway();
    (database, canned)
}

#[test]
fn usage_is_the_sum_of_what_was_billed() {
    let database = Database::new();
    let mut client = database.admin();
    let before = verified(&mut client, "default");
    assert_eq!(before["key_name"], "default");
    assert_eq!(before["kind"], "inference");
    assert_eq!(before["is_management_key"], false);
    assert_eq!(before["is_free_tier"], false);
    assert_eq!(before["usage_usd"].to_string(), "0");
    assert!(before["limit_usd"].is_null() && before["expires_at"].is_null());
    for _ in 0..3 {
        call(&mut client).expect("an answer");
    }
    database.wait_until_booked();
    let equal: bool = client
        .query_one(
            "SELECT v.usage_usd = t.cost_usd AND v.usage_daily_usd <= v.usage_usd
                    AND v.usage_monthly_usd IS NOT NULL AND v.byok_usage_usd = 0
             FROM hiems.verify_api_key() AS v, hiems.usage_totals AS t WHERE t.cost_usd > 0",
            &[],
        )
        .expect("one row")
        .get(0);
    assert!(equal, "OpenRouter's count is not the ledger's");
    // It is no call: nothing is sent to a model, and nothing is booked.
    database.wait_until_booked();
    assert_eq!(database.fake.requests().len(), 3);
    assert_eq!(database.count("hiems.ai_usage_logs"), 3);
    // The label tells which key it is, and not what it is.
    let label = before["label"].as_str().expect("a label").to_owned();
    assert!(label.len() < KEY.len() && !label.contains(KEY), "{label}");
}

#[test]
fn every_digit_and_every_field_comes_through() {
    let (database, canned) = with_canned();
    canned.answer(
        200,
        "",
        br#"{"data": {"label": "sk-or-v1-0e6...1c9\u0000", "limit": 25.10, "limit_remaining": 2e1,
            "limit_reset": "monthly", "include_byok_in_limit": true, "usage": 3.17561396000000005,
            "usage_daily": 4.2e-7, "usage_weekly": 1, "usage_monthly": -0.0, "byok_usage": 0.1,
            "byok_usage_daily": 1e999999999, "byok_usage_weekly": "0.1", "is_free_tier": true,
            "is_management_key": false, "expires_at": "2027-12-31T23:59:59.5+01:00", "new": [1]}}"#,
    );
    let row = verified(&mut database.admin(), "default");
    let at = database.text("SELECT '2027-12-31T22:59:59.5Z'::timestamptz::text", &[]);
    let expires = database.text("SELECT expires_at::text FROM hiems.verify_api_key()", &[]);
    assert_eq!(expires, at);
    let mut seen = row.clone();
    seen["expires_at"] = serde_json::Value::Null;
    assert_eq!(
        seen.to_string(),
        serde_json::from_str::<serde_json::Value>(
            r#"{"key_name": "default", "kind": "inference", "label": "sk-or-v1-0e6...1c9�",
                "is_management_key": false, "is_free_tier": true, "limit_usd": 25.10,
                "limit_remaining_usd": 20, "limit_reset": "monthly", "limit_includes_byok": true,
                "usage_usd": 3.17561396000000005, "usage_daily_usd": 0.00000042,
                "usage_weekly_usd": 1, "usage_monthly_usd": 0.0, "byok_usage_usd": 0.1,
                "byok_usage_daily_usd": null, "byok_usage_weekly_usd": null,
                "byok_usage_monthly_usd": null, "expires_at": null}"#
        )
        .expect("JSON")
        .to_string()
    );
}

#[test]
fn a_key_can_be_looked_at_before_it_is_committed() {
    let refusing =
        Config { accepted_keys: vec!["sk-or-v1-accepted".to_owned()], ..Config::default() };
    let database = Database::on(cluster(), refusing);
    let mut client = database.admin();
    for (key, works) in [("sk-or-v1-mistyped", false), ("sk-or-v1-accepted", true)] {
        let mut transaction = client.transaction().expect("BEGIN");
        set_key(&mut transaction, key, "default").expect("a key");
        let verified = transaction.query_one(VERIFY, &[]);
        if works {
            verified.expect("a row");
            transaction.commit().expect("COMMIT");
        } else {
            let refusal = verified.refusal();
            assert_eq!(refusal.sqlstate, "PT503", "{refusal:?}");
            assert_eq!(refusal.message, "OpenRouter refused the key");
            assert!(refusal.hint.contains("hiems.set_api_key"), "{refusal:?}");
            assert!(!format!("{refusal:?}").contains("mistyped"), "{refusal:?}");
        }
    }
    verified(&mut client, "default");
    assert_eq!(client.query_one(VERIFY, &[]).map(|_| ()).ok(), Some(()));
    let mut read_only =
        client.build_transaction().read_only(true).start().expect("a READ ONLY transaction");
    read_only.query_one(VERIFY, &[]).expect("it changes nothing");
}

#[test]
fn a_name_that_is_not_there_is_said() {
    let database = Database::without_key();
    let mut client = database.admin();
    let missing = client.query_one(VERIFY, &[]).refusal();
    assert_eq!(missing.sqlstate, "PT404");
    assert_eq!(missing.message, "there is no key named \"default\"");
    set_key(&mut client, KEY, "other").expect("a key");
    assert_eq!(client.query_one(VERIFY, &[]).sqlstate(), "PT404");
    assert_eq!(verified(&mut client, "other")["key_name"], "other");
    let null = client.query_one("SELECT hiems.verify_api_key(NULL)::text", &[]);
    assert_eq!(null.sqlstate(), "PT404", "NULL is the default");
}

/// A management key can be looked at, too; a kind that is not the key's is warned of.
#[test]
fn a_kind_that_does_not_fit_is_warned_of() {
    let database = Database::without_key();
    let canned = Canned::start();
    database.set("hiems.base_url", &canned.base_url());
    let (sender, notices) = mpsc::channel();
    let mut config = cluster().config(&database.name, "postgres");
    config.notice_callback(move |notice| {
        let _ = sender.send(notice);
    });
    let mut client = config.connect(NoTls).expect("a connection");
    for (kind, is_management, warns) in [
        ("management", true, false),
        ("inference", true, true),
        ("management", false, true),
        ("inference", false, false),
    ] {
        canned.answer(
            200,
            "",
            format!(r#"{{"data": {{"is_management_key": {is_management}}}}}"#).as_bytes(),
        );
        client
            .execute("SELECT hiems.set_api_key($1, 'default', $2)", &[&KEY, &kind])
            .expect("a key");
        let row = client
            .query_one("SELECT kind, is_management_key FROM hiems.verify_api_key()", &[])
            .expect("a row");
        assert_eq!(row.get::<_, String>(0), kind);
        assert_eq!(row.get::<_, Option<bool>>(1), Some(is_management));
        let warnings: Vec<_> =
            notices.try_iter().filter(|notice| notice.severity() == "WARNING").collect();
        assert_eq!(warnings.len(), usize::from(warns), "{kind} {is_management}: {warnings:?}");
        if let Some(warning) = warnings.first() {
            assert!(warning.message().contains(&format!("stored as {kind} key")), "{warning:?}");
        }
    }
}

#[test]
fn an_answer_that_is_none_is_an_error() {
    let (database, canned) = with_canned();
    let mut client = database.admin();
    for (status, body, sqlstate) in [
        (200, "<html>", "PT502"),
        (200, r#"{"data": null}"#, "PT502"),
        (200, r#"{"error": {"code": 401, "message": "User not found."}}"#, "PT503"),
        (401, r#"{"error": {"code": 401, "message": "User not found."}}"#, "PT503"),
        (403, r#"{"error": {"code": 403, "message": "No."}}"#, "PT403"),
        (429, r#"{"error": {"code": 429, "message": "Slow down."}}"#, "PT429"),
        (404, "<html>", "PT404"),
        (302, "", "PT502"),
    ] {
        canned.answer(status, "", body.as_bytes());
        let before = canned.requests();
        let refusal = client.query_one(VERIFY, &[]).refusal();
        assert_eq!(refusal.sqlstate, sqlstate, "{status} {body}: {refusal:?}");
        assert_eq!(canned.requests() - before, 1, "{status} {body}");
    }
    // What says the key back does not give it away.
    canned.answer(
        401,
        "",
        format!(r#"{{"error": {{"code": 401, "message": "Bearer {KEY} is bad"}}}}"#).as_bytes(),
    );
    let refusal = client.query_one(VERIFY, &[]).refusal();
    assert!(!format!("{refusal:?}").contains(KEY), "{refusal:?}");
    assert!(refusal.detail.contains("Bearer ***"), "{refusal:?}");
    let label = format!(r#"{{"data": {{"label": "{KEY}", "limit_reset": "{KEY}"}}}}"#);
    canned.answer(200, "", label.as_bytes());
    assert!(!verified(&mut client, "default").to_string().contains(KEY));
}

#[test]
fn a_server_s_error_is_tried_again_twice() {
    let (database, canned) = with_canned();
    let mut client = database.admin();
    for answer in ["HTTP/1.1 503 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", ""] {
        canned.answer_raw(answer.as_bytes());
        let before = canned.requests();
        let refusal = client.query_one(VERIFY, &[]).refusal();
        assert!(["PT503", "PT502"].contains(&&*refusal.sqlstate), "{refusal:?}");
        assert_eq!(canned.requests() - before, 3, "{answer:?}");
    }
    canned.answer_raw(b"HTTP/1.1 503 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let before = canned.requests();
    let running = Running::with(database.admin(), |client| {
        client.query_one(VERIFY, &[]).map(|row| row.get(0))
    });
    wait_until("it has failed once", Duration::from_secs(10), || canned.requests() > before);
    canned.answer(200, "", br#"{"data": {"label": "well again"}}"#);
    let row = running.end().1.expect("the next attempt goes well");
    assert!(row.contains("well again"), "{row}");
}

#[test]
fn nobody_there_is_said_at_the_third_attempt() {
    let database = Database::new();
    // Nobody listens on the port of a listener that is gone.
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("it").port();
    database.set("hiems.base_url", &format!("http://127.0.0.1:{port}/api/v1"));
    database.end_gateway();
    let refusal = database.admin().query_one(VERIFY, &[]).refusal();
    assert_eq!(refusal.sqlstate, "PT503", "{refusal:?}");
    assert!(refusal.message.contains("cannot be reached"), "{refusal:?}");
}

/// An OpenRouter that takes the request and says nothing.
#[test]
fn it_can_be_cancelled_and_times_out() {
    let database = Database::new();
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address");
    database.set("hiems.base_url", &format!("http://{address}/api/v1"));
    database.end_gateway();
    let running = Running::with(database.admin(), |client| {
        client.query_one(VERIFY, &[]).map(|row| row.get(0))
    });
    // The request has left.
    let (connection, _) = silent.accept().expect("the gateway");
    database.admin().execute("SELECT pg_cancel_backend($1)", &[&running.pid]).expect("a cancel");
    let (mut client, result) = running.end();
    assert_eq!(result.sqlstate(), "57014");
    // The gateway has given it up, too: the connection ends.
    connection.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut &connection, &mut rest).expect("the end of the stream");
    client.batch_execute("SET statement_timeout = '200ms'").expect("a setting");
    assert_eq!(client.query_one(VERIFY, &[]).sqlstate(), "57014");
    client.batch_execute("RESET statement_timeout").expect("a setting");

    database.set("hiems.request_timeout", "300ms");
    database.end_gateway();
    let refusal = client.query_one(VERIFY, &[]).refusal();
    assert_eq!(refusal.sqlstate, "PT504", "{refusal:?}");
    assert!(refusal.hint.contains("hiems.request_timeout"), "{refusal:?}");
}
