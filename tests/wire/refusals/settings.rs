//! Settings under which nothing is sent.

use hiems_tests::{Database, KEY, ResultExt, Running, call, directives};

use super::assert_untouched;

#[test]
fn without_a_key_nothing_is_sent() {
    let database = Database::without_key();
    let refusal = call(&mut database.admin(), "{}").refusal();
    assert_eq!(refusal.sqlstate, "PT503");
    assert!(refusal.detail.contains("\"default\""), "{refusal:?}");
    assert!(refusal.hint.contains("hiems.set_api_key"), "{refusal:?}");
    assert_untouched(&database);
}

#[test]
fn a_key_of_another_name_does_not_stand_in() {
    let database = Database::new();
    let mut client = database.admin();
    client.batch_execute("SET hiems.api_key_name = 'marketing'").expect("a setting");
    let refusal = call(&mut client, "{}").refusal();
    assert_eq!(refusal.sqlstate, "PT503");
    assert!(refusal.detail.contains("\"marketing\""), "{refusal:?}");
    assert!(refusal.hint.contains("hiems.set_api_key"), "{refusal:?}");
    assert_untouched(&database);
}

#[test]
fn the_key_travels_in_clear_text_to_loopback_addresses_only() {
    // On Linux 0.0.0.0 leads to the fake, too: were anything sent, it would arrive.
    for host in ["0.0.0.0", "127.0.0.1@0.0.0.0", "[::ffff:0.0.0.0]"] {
        let database = Database::without_key();
        let url = database.fake.base_url().replace("127.0.0.1", host);
        database.set("hiems.base_url", &url);
        let mut client = database.admin();
        client.execute("SELECT hiems.set_api_key($1)", &[&KEY]).expect("a key");
        let refusal = call(&mut client, "{}").refusal();
        assert_eq!(refusal.sqlstate, "PT503", "{url}: {refusal:?}");
        assert!(refusal.detail.contains("hiems.base_url"), "{refusal:?}");
        assert_untouched(&database);
    }
}

#[test]
fn a_base_url_that_is_none_is_named() {
    for url in ["openrouter", "ftp://127.0.0.1/api/v1", ""] {
        let database = Database::without_key();
        database.set("hiems.base_url", url);
        let mut client = database.admin();
        client.execute("SELECT hiems.set_api_key($1)", &[&KEY]).expect("a key");
        let refusal = call(&mut client, "{}").refusal();
        assert_eq!(refusal.sqlstate, "PT503", "{url}: {refusal:?}");
        assert!(refusal.detail.contains("hiems.base_url"), "{refusal:?}");
        assert_untouched(&database);
    }
}

#[test]
fn a_call_above_the_limit_of_calls_in_flight_is_refused() {
    let database = Database::without_key();
    database.set("hiems.max_in_flight", "1");
    database.admin().execute("SELECT hiems.set_api_key($1)", &[&KEY]).expect("a key");
    let options = directives(&[("fake_delay_ms", "3000")]);
    let first = Running::in_flight(&database, database.admin(), &options, 1);
    let refusal = call(&mut database.admin(), "{}").refusal();
    assert_eq!(refusal.sqlstate, "PT429");
    assert!(refusal.detail.contains("1 s"), "{refusal:?}");
    assert!(refusal.hint.contains("hiems.max_in_flight"), "{refusal:?}");
    let (_, answer) = first.end();
    answer.expect("an answer");
    database.wait_until_booked();
    assert_eq!(database.fake.requests().len(), 1);
    assert_eq!(database.count("hiems.ai_usage_logs"), 1);
    // There is a place again.
    call(&mut database.admin(), "{}").expect("an answer");
}
