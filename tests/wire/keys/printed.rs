//! What a session has printed of its statements shows nothing of those that hiems runs with rights of its own.

use std::sync::mpsc;

use hiems_tests::{Database, KEY};
use postgres::NoTls;

use super::set_key;

/// An admin's session that has all printed that there is to print; and what it is told.
fn session(
    database: &Database,
    role: &str,
    noise: &str,
) -> (postgres::Client, mpsc::Receiver<String>) {
    let (sender, told) = mpsc::channel();
    let mut config = database.config(role);
    config.notice_callback(move |notice| {
        // The receiver is there as long as the test.
        let _ = sender.send(format!("{} {:?}", notice.message(), notice.detail()));
    });
    let mut client = config.connect(NoTls).expect("a connection");
    client.batch_execute(noise).expect("settings");
    (client, told)
}

/// The plans, parse trees and durations that a statement is printed with.
fn printed(told: &mpsc::Receiver<String>) -> Vec<String> {
    let of_statements = ["plan:", "parse tree:", "rewritten parse tree:", "duration:"];
    told.try_iter().filter(|text| of_statements.iter().any(|of| text.starts_with(of))).collect()
}

const DEBUG: &str =
    "SET debug_pretty_print = off; SET debug_print_parse = on; SET debug_print_rewritten = on;
    SET debug_print_plan = on; SET client_min_messages = log;";

#[test]
fn an_admin_sees_no_plan_of_hiems_s_own_statements() {
    for path in ["public", "pg_catalog, pg_temp"] {
        let mut database = Database::new();
        let role = database.role_with("admin");
        let noise = format!("SET search_path = {path}; {DEBUG}");
        let (mut client, told) = session(&database, &role, &noise);
        let _ = printed(&told);
        let sealed: String = database
            .text("SELECT encode(ciphertext, 'escape') FROM hiems_private.api_keys", &[])
            .expect("a sealed key");
        assert!(!sealed.is_empty());
        for sql in [
            "SELECT hiems.rotate_master_key()",
            "SELECT hiems.drop_api_key()",
            "SELECT hiems.resume_prompts()",
            "SELECT hiems.grant_access('postgres', 'caller')",
            "SELECT hiems.set_exchange_rate('USD', 10.5, '2026-01-01', 'x')",
        ] {
            client.batch_execute(sql).expect(sql);
            let printed = printed(&told);
            // Of the statement itself: as it was read, as it was rewritten, and its plan.
            assert_eq!(printed.len(), 3, "{sql}: {printed:#?}");
        }
        // What the session has set, it has still.
        let still: String =
            client.query_one("SHOW debug_print_plan", &[]).expect("a setting").get(0);
        assert_eq!(still, "on");
    }
}

#[test]
fn auto_explain_sees_none_of_them_either() {
    let database = Database::without_key();
    set_key(&mut database.admin(), KEY, "default").expect("a key");
    let noise = "LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0;
        SET auto_explain.log_nested_statements = on; SET client_min_messages = log;";
    let (mut client, told) = session(&database, "postgres", noise);
    let _ = printed(&told);
    client.batch_execute("SELECT hiems.rotate_master_key()").expect("a new master key");
    let printed = printed(&told);
    assert_eq!(printed.len(), 1, "{printed:#?}");
    assert!(printed[0].contains("rotate_master_key"), "{printed:?}");
}
