//! What each level may, and may not.

use hiems_tests::{Database, ResultExt, user_message};
use postgres::Client;

use super::{
    HARMLESS, MY_VIEWS, REPORTS, call, calls_of_functions, count, text, users_seen, with_two_rows,
};

/// Statements that only an admin may run, and that work.
fn administration(role: &str) -> [String; 6] {
    [
        "SELECT hiems.set_api_key('sk-or-v1-second', 'second')".to_owned(),
        "SELECT hiems.drop_api_key('second')".to_owned(),
        "SELECT hiems.set_exchange_rate('USD', 10.5, current_date, 'test')".to_owned(),
        format!("SELECT hiems.grant_access('{role}', 'reader')"),
        "SELECT hiems.grant_user_access('a-subject', 'reader')".to_owned(),
        format!("SELECT hiems.revoke_access('{role}')"),
    ]
}

fn assert_administers_nothing(database: &mut Database, client: &mut Client) {
    let other = database.role("other");
    for sql in administration(&other) {
        assert_eq!(client.execute(&sql, &[]).sqlstate(), "42501", "{sql}");
    }
}

fn assert_reads_no_private_table(client: &mut Client) {
    for table in ["access", "api_keys", "calls", "exchange_rates", "installation"] {
        let read = count(client, &format!("hiems_private.{table}"));
        assert_eq!(read.sqlstate(), "42501", "{table}");
    }
}

#[test]
fn a_caller_calls_and_sees_its_own_rows() {
    let (mut database, mut caller) = with_two_rows();
    assert_eq!(users_seen(&mut caller), ["mine"]);
    for view in MY_VIEWS {
        let calls = text(&mut caller, &format!("SELECT sum(calls)::text FROM hiems.{view}"));
        assert_eq!(calls.as_deref(), Some("1"), "{view}");
    }
    // What all cost is for readers; if a caller may look at all, it finds its own.
    for view in REPORTS {
        match caller.query_one(&format!("SELECT sum(calls)::text FROM hiems.{view}"), &[]) {
            Ok(row) => assert_eq!(row.get::<_, String>(0), "1", "{view}"),
            Err(error) => assert_eq!(error.code().map(|c| c.code()), Some("42501"), "{view}"),
        }
    }
    let answer = caller
        .query_one("SELECT hiems.complete('Say hello.', 'openai/gpt-4o-mini')", &[])
        .expect("an answer");
    assert!(answer.get::<_, Option<String>>(0).is_some());
    assert_administers_nothing(&mut database, &mut caller);
    assert_reads_no_private_table(&mut caller);
}

#[test]
fn two_callers_do_not_see_each_other() {
    let (mut database, mut first) = with_two_rows();
    let role = database.role("second");
    database.admin().execute("SELECT hiems.grant_access($1, 'caller')", &[&role]).expect("a level");
    let mut second = database.connect(&role);
    assert!(users_seen(&mut second).is_empty());
    // The label is the caller's to choose; whose row it is goes by the role.
    call(&mut second, ", \"user\" => 'mine'").expect("an answer");
    assert_eq!(users_seen(&mut second), ["mine"]);
    assert_eq!(users_seen(&mut first), ["mine"]);
    let owners = database.text(
        "SELECT string_agg(DISTINCT principal, ' ' ORDER BY principal)
         FROM hiems.ai_usage_logs WHERE user_id = 'mine'",
        &[],
    );
    let name = &database.name;
    assert_eq!(owners, Some(format!("role:{name}_caller role:{name}_second")));
}

#[test]
fn a_reader_sees_all_and_calls_nothing() {
    let (mut database, _) = with_two_rows();
    let role = database.role_with("reader");
    let mut reader = database.connect(&role);
    assert_eq!(users_seen(&mut reader), ["mine", "somebody"]);
    for view in REPORTS {
        let calls = text(&mut reader, &format!("SELECT sum(calls)::text FROM hiems.{view}"));
        assert_eq!(calls.as_deref(), Some("2"), "{view}");
    }
    for view in MY_VIEWS {
        let calls =
            text(&mut reader, &format!("SELECT coalesce(sum(calls), 0)::text FROM hiems.{view}"));
        assert_eq!(calls.as_deref(), Some("0"), "{view}");
    }
    let volatile = format!(
        "(SELECT proname FROM pg_proc WHERE pronamespace = 'hiems'::regnamespace
             AND provolatile <> 'v' UNION SELECT unnest(ARRAY{}))",
        HARMLESS.replace('(', "[").replace(')', "]")
    );
    for sql in calls_of_functions(&mut database.admin(), &["hiems"], &volatile) {
        assert_eq!(reader.query(sql.as_str(), &[]).sqlstate(), "42501", "{sql}");
    }
    assert_eq!(call(&mut reader, "").sqlstate(), "42501");
    assert_administers_nothing(&mut database, &mut reader);
    assert_reads_no_private_table(&mut reader);
    assert_eq!(database.fake.requests().len(), 2);
}

#[test]
fn a_reader_may_call_nothing_even_with_privileges_by_hand() {
    let (mut database, _) = with_two_rows();
    let role = database.role_with("reader");
    database
        .admin()
        .batch_execute(&format!("GRANT ALL ON ALL ROUTINES IN SCHEMA hiems TO {role}"))
        .expect("a grant");
    let mut reader = database.connect(&role);
    assert_eq!(call(&mut reader, "").sqlstate(), "42501");
    assert_administers_nothing(&mut database, &mut reader);
    assert_eq!(database.fake.requests().len(), 2);
}

#[test]
fn an_admin_reads_calls_and_administers() {
    let (mut database, _) = with_two_rows();
    let role = database.role_with("admin");
    let mut admin = database.connect(&role);
    assert_eq!(users_seen(&mut admin), ["mine", "somebody"]);
    call(&mut admin, "").expect("an answer");
    for view in REPORTS {
        let calls = text(&mut admin, &format!("SELECT sum(calls)::text FROM hiems.{view}"));
        assert_eq!(calls.as_deref(), Some("3"), "{view}");
    }
    let other = database.role("other");
    for sql in administration(&other) {
        admin.execute(&sql, &[]).expect(&sql);
    }
    let granted_by = database
        .text("SELECT granted_by FROM hiems_private.access WHERE grantee = 'a-subject'", &[]);
    assert_eq!(granted_by, Some(role));
    assert_reads_no_private_table(&mut admin);
}

#[test]
fn a_service_names_any_user_and_administers_nothing() {
    let (mut database, _) = with_two_rows();
    let role = database.role_with("service");
    let mut service = database.connect(&role);
    call(&mut service, ", \"user\" => 'u1'").expect("an answer");
    call(&mut service, ", \"user\" => 'u2'").expect("an answer");
    call(&mut service, "").expect("an answer");
    assert_eq!(users_seen(&mut service), [role.as_str(), "u1", "u2"]);
    for view in MY_VIEWS {
        let calls = text(&mut service, &format!("SELECT sum(calls)::text FROM hiems.{view}"));
        assert_eq!(calls.as_deref(), Some("3"), "{view}");
    }
    assert_administers_nothing(&mut database, &mut service);
    assert_reads_no_private_table(&mut service);
}

/// Inside a SECURITY DEFINER function its owner calls, as everywhere in PostgreSQL.
#[test]
fn a_definer_function_lends_its_owner_s_level() {
    let (mut database, _) = with_two_rows();
    let stranger = database.role("stranger");
    let name = &database.name;
    database
        .admin()
        .batch_execute(&format!(
            "CREATE SCHEMA app AUTHORIZATION {name}_caller;
             GRANT USAGE ON SCHEMA app TO {stranger};
             SET ROLE {name}_caller;
             CREATE FUNCTION app.ask(messages jsonb) RETURNS text LANGUAGE sql SECURITY DEFINER
                 BEGIN ATOMIC
                     SELECT hiems.submit_prompt('openai/gpt-4o-mini', messages) ->> 'id';
                 END"
        ))
        .expect("a wrapper");
    let mut client = database.connect(&stranger);
    client
        .query_one("SELECT app.ask($1::text::jsonb)", &[&user_message("hello")])
        .expect("an answer");
    let booked = database.text(
        "SELECT principal || ' ' || role_name || ' ' || user_id FROM hiems.ai_usage_logs
         ORDER BY created_at DESC LIMIT 1",
        &[],
    );
    let owner = format!("{name}_caller");
    assert_eq!(booked, Some(format!("role:{owner} {owner} {owner}")));
    assert_eq!(call(&mut client, "").sqlstate(), "42501");
}
