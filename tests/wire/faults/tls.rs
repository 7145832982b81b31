//! TLS with a certificate authority of one's own: `hiems.ca_file`.

use hiems_tests::{Config, Database, Fake, ResultExt, call, cluster, directives};
use serde_json::Value;

use super::{
    answered_call, assert_cost_is_unknown, assert_is_settled, assert_is_the_bills, failed_call,
};

/// A database behind TLS that trusts the authority which is chosen for its fake.
fn encrypted(authority: impl FnOnce(&Fake) -> Option<String>) -> Database<'static> {
    let database = Database::on(cluster(), Config { tls: true, ..Config::default() });
    if let Some(pem) = authority(&database.fake) {
        let file = cluster().folder.join(format!("{}-ca.pem", database.name));
        std::fs::write(&file, pem).expect("a file");
        database.set("hiems.ca_file", &file.display().to_string());
    }
    database.store_key();
    database
}

fn its_own(fake: &Fake) -> Option<String> {
    fake.ca_pem().map(str::to_owned)
}

#[test]
fn an_authority_of_ones_own_is_trusted() {
    let database = encrypted(its_own);
    let (_, row, billed) = answered_call(&database, "{}");
    assert_is_the_bills(&row, &billed);
    // The connection is kept.
    answered_call(&database, "{}");
    assert_eq!(database.fake.connections(), 1);
}

// Nothing was sent, so that there is nothing to book.
#[test]
fn a_certificate_of_nobodys_gets_neither_key_nor_prompt() {
    let other = Fake::start(Config { tls: true, ..Config::default() }).expect("another fake");
    for authority in [None, its_own(&other)] {
        let database = encrypted(|_| authority);
        let refusal = call(&mut database.admin(), "{}").refusal();
        assert_eq!(refusal.sqlstate, "PT503", "{refusal:?}");
        assert!(refusal.detail.contains("certificate"), "{refusal:?}");
        assert!(refusal.hint.contains("Nothing was sent"), "{refusal:?}");
        database.wait_until_booked();
        assert_eq!(database.count("hiems.ai_usage_logs"), 0);
        assert_eq!(database.fake.requests().len(), 0);
        assert!(database.fake.connections() >= 1, "it was tried");
    }
}

#[test]
fn a_connection_under_tls_breaks_as_one_in_clear_text_does() {
    let database = encrypted(its_own);
    for fault in ["reset_before_headers", "cut_headers", "reset_after_headers", "cut_chunked"] {
        let options = directives(&[("fake_fault", fault), ("fake_delay_ms", "500")]);
        let (refusal, row, billed) = failed_call(&database, &options);
        assert_eq!(refusal.sqlstate, "PT502", "{fault}: {refusal:?}");
        assert_eq!(row["error_code"], "connection_lost", "{fault}");
        if fault.contains("headers") && !fault.contains("after") {
            assert_eq!(row["outcome"], "unknown", "{fault}");
            assert_eq!(row["generation_id"], Value::Null, "{fault}");
            assert_cost_is_unknown(&row);
        } else {
            assert_is_settled(&row, &billed);
        }
    }
}
