//! What the server's log and its statistics of statements have of the key.

use hiems_tests::{Cluster, Config, Database, ResultExt};
use postgres::Client;

use super::{call, set_key};

const SECRET: &str = "sk-or-v1-not-in-the-log-5ec2e7c0ffee";

/// Stores the key, and fails to, as the parameter of a statement.
fn store_and_fail(admin: &mut Client) {
    set_key(admin, SECRET, "default").expect("a key");
    call(admin).expect("an answer");
    for (key, name, kind) in [
        (format!("{SECRET} "), "default", "inference"),
        (SECRET.to_owned(), "", "inference"),
        (SECRET.to_owned(), "default", "another"),
    ] {
        let stored = admin.execute("SELECT hiems.set_api_key($1, $2, $3)", &[&key, &name, &kind]);
        assert_eq!(stored.sqlstate(), "22023");
    }
}

/// Fails to, and stores it, written into the statement.
fn fail_and_store_a_literal(admin: &mut Client) {
    for arguments in ["'default', 'another'", "''"] {
        let sql = format!("SELECT hiems.set_api_key('{SECRET}', {arguments})");
        assert_eq!(admin.batch_execute(&sql).sqlstate(), "22023");
    }
    let sql = format!("SELECT hiems.set_api_key('{SECRET} ')");
    assert_eq!(admin.batch_execute(&sql).sqlstate(), "22023");
    admin.batch_execute(&format!("SELECT hiems.set_api_key('{SECRET}')")).expect("a key");
}

/// The log of all that the server can be made to say, parameters excepted.
#[test]
fn as_a_parameter_it_is_not_in_the_log() {
    let cluster = Cluster::start(&[
        "log_min_messages = debug5",
        "log_error_verbosity = verbose",
        "log_statement = all",
        "log_min_duration_statement = 0",
        "log_parameter_max_length = 0",
    ]);
    let database = Database::on(&cluster, Config::default());
    store_and_fail(&mut database.admin());
    let log = cluster.log();
    assert!(log.contains("hiems.set_api_key($1"), "the statements are logged");
    assert!(log.contains("DEBUG:"));
    assert!(!log.contains(SECRET), "the key is in the log");
    assert!(!has_bytes(&log), "the key is in the log, byte by byte");
}

/// True if the key stands there as a value does in a printed plan: `[ -96 0 0 0 115 107 45 ... ]`, with
/// a line's end after any digit.
fn has_bytes(log: &str) -> bool {
    let digits: String = log.split_ascii_whitespace().collect();
    let bytes: String = SECRET.bytes().map(|byte| byte.to_string()).collect();
    digits.contains(&bytes)
}

/// A plan is made for the values of its parameters.
#[test]
fn where_plans_are_logged_it_is_there() {
    let cluster = Cluster::start(&["debug_print_plan = on"]);
    let database = Database::on(&cluster, Config::default());
    store_and_fail(&mut database.admin());
    assert!(has_bytes(&cluster.log()), "SECURITY.md warns of what is not so");
}

/// PostgreSQL logs parameters with slow statements where it is told to.
#[test]
fn where_parameters_are_logged_it_is_there() {
    let cluster = Cluster::start(&["log_min_duration_statement = 0"]);
    let database = Database::on(&cluster, Config::default());
    store_and_fail(&mut database.admin());
    assert!(cluster.log().contains(SECRET), "SECURITY.md warns of what is not so");
}

/// An error is logged with its statement: here with another one, also where PostgreSQL itself ends it.
#[test]
fn an_error_does_not_log_a_literal() {
    let cluster = Cluster::start(&["log_error_verbosity = verbose"]);
    let database = Database::on(&cluster, Config::default());
    let mut admin = database.admin();
    fail_and_store_a_literal(&mut admin);
    let mut holder = database.admin();
    let mut lock = holder.transaction().expect("BEGIN");
    lock.batch_execute("LOCK TABLE hiems_private.api_keys").expect("a lock");
    let sql = format!("SET statement_timeout = 200; SELECT hiems.set_api_key('{SECRET}')");
    assert_eq!(admin.batch_execute(&sql).sqlstate(), "57014");
    lock.rollback().expect("ROLLBACK");
    admin.batch_execute("RESET statement_timeout").expect("a setting");
    assert_eq!(admin.batch_execute("SELECT hiems.drop_api_key('nobody''s')").sqlstate(), "PT404");
    let log = cluster.log();
    assert!(log.contains("unknown kind of key"), "errors are logged");
    assert!(log.contains("statement timeout"), "PostgreSQL's own, too");
    assert!(log.contains("STATEMENT:  SELECT hiems.set_api_key(...)"));
    assert!(log.contains("STATEMENT:  SELECT hiems.drop_api_key"), "with their statements");
    assert!(!log.contains(SECRET), "the key is in the log");
}

#[test]
fn where_statements_are_logged_a_literal_is_there() {
    let cluster = Cluster::start(&["log_statement = all"]);
    let database = Database::on(&cluster, Config::default());
    fail_and_store_a_literal(&mut database.admin());
    assert!(cluster.log().contains(SECRET), "SECURITY.md warns of what is not so");
}

/// It keeps statements with their constants taken out.
#[test]
fn pg_stat_statements_does_not_have_it() {
    let cluster = Cluster::start(&[
        "shared_preload_libraries = 'pg_stat_statements'",
        "pg_stat_statements.track = all",
    ]);
    let database = Database::on(&cluster, Config::default());
    let mut admin = database.admin();
    admin
        .batch_execute("CREATE EXTENSION pg_stat_statements")
        .expect("pg_stat_statements is part of this PostgreSQL (Debian: postgresql-contrib)");
    store_and_fail(&mut admin);
    fail_and_store_a_literal(&mut admin);
    let statements: Vec<String> = admin
        .query("SELECT query FROM pg_stat_statements", &[])
        .expect("statements")
        .iter()
        .map(|row| row.get(0))
        .collect();
    let stores = statements.iter().filter(|query| query.contains("hiems.set_api_key($1"));
    assert!(stores.count() >= 1, "{statements:?}");
    for query in &statements {
        assert!(!query.contains(SECRET), "the key is in {query}");
    }
}
