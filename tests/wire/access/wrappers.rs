//! An application's own functions and views on top of hiems: whose level counts, and whose rows are seen.

use hiems_tests::{Database, ResultExt, user_message};
use postgres::Client;

use super::tokens::{Site, claims};
use super::{call, count, text};

/// Makes functions and views over hiems in schema `owner`'s name, as `owner`, open to all.
fn wrap(database: &Database, owner: &str) {
    let name = &database.name;
    database
        .admin()
        .batch_execute(&format!("GRANT CREATE ON DATABASE {name} TO {owner}; SET ROLE {owner}; {}",
            format_args!(
                "CREATE SCHEMA {owner};
                 GRANT USAGE ON SCHEMA {owner} TO PUBLIC;
                 CREATE FUNCTION {owner}.definer_calls() RETURNS bigint
                     LANGUAGE sql SECURITY DEFINER AS 'SELECT calls FROM hiems.usage_totals';
                 CREATE FUNCTION {owner}.definer_own() RETURNS bigint
                     LANGUAGE sql SECURITY DEFINER AS 'SELECT calls FROM hiems.my_usage_totals';
                 CREATE FUNCTION {owner}.invoker_calls() RETURNS bigint
                     LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT calls FROM hiems.usage_totals); END';
                 CREATE FUNCTION {owner}.definer_ask(messages jsonb, u text) RETURNS text
                     LANGUAGE sql SECURITY DEFINER AS
                     $$ SELECT hiems.submit_prompt('openai/gpt-4o-mini', messages, u) ->> 'id' $$;
                 CREATE FUNCTION {owner}.invoker_ask(messages jsonb) RETURNS text
                     LANGUAGE plpgsql AS
                     $$ BEGIN RETURN hiems.submit_prompt('openai/gpt-4o-mini', messages) ->> 'id'; END $$;
                 CREATE VIEW {owner}.plain_table AS SELECT user_id FROM hiems.ai_usage_logs;
                 CREATE VIEW {owner}.plain_view AS SELECT user_id FROM hiems.usage_by_user;
                 CREATE VIEW {owner}.invoker_view WITH (security_invoker = true) AS
                     SELECT user_id FROM hiems.usage_by_user;
                 GRANT SELECT ON ALL TABLES IN SCHEMA {owner} TO PUBLIC")
        ))
        .expect("wrappers");
}

/// What a client finds: the number, or the SQLSTATE.
fn found(client: &mut Client, sql: &str) -> String {
    match client.query_one(sql, &[]) {
        Ok(row) => row.get::<_, i64>(0).to_string(),
        Err(error) => error.code().expect("the server's error").code().to_owned(),
    }
}

/// The ledger: two rows of the superuser's, one of the caller's. What each sees through the wrappers
/// of each owner.
#[test]
fn a_definer_function_lends_sight_and_a_view_does_not() {
    let mut database = Database::new();
    for _ in 0..2 {
        call(&mut database.admin(), ", \"user\" => 'hidden'").expect("an answer");
    }
    let caller = database.role_with("caller");
    call(&mut database.connect(&caller), "").expect("an answer");
    let reader = database.role_with("reader");
    let stranger = database.role("stranger");
    // Asks no policy, by an attribute that only a superuser gives.
    let bypass = database.role_with("service");
    database.admin().batch_execute(&format!("ALTER ROLE {bypass} BYPASSRLS")).expect("it");
    for owner in [&caller, &reader, &bypass] {
        wrap(&database, owner);
    }
    let (denied, none) = ("42501", "0");
    // Per owner: the statement, and what stranger, caller and reader find.
    let cases = [
        (&caller, "SELECT o.definer_calls()", ["1", "1", "1"]),
        (&caller, "SELECT o.definer_own()", ["1", "1", "1"]),
        (&caller, "SELECT o.invoker_calls()", [denied, "1", "3"]),
        (&caller, "SELECT count(*) FROM o.plain_table", [denied, "1", "3"]),
        (&caller, "SELECT count(*) FROM o.plain_view", [denied, "1", "2"]),
        (&caller, "SELECT count(*) FROM o.invoker_view", [denied, "1", "2"]),
        (&reader, "SELECT o.definer_calls()", ["3", "3", "3"]),
        (&reader, "SELECT o.definer_own()", [none, none, none]),
        (&reader, "SELECT o.invoker_calls()", [denied, "1", "3"]),
        (&reader, "SELECT count(*) FROM o.plain_table", [denied, "1", "3"]),
        (&reader, "SELECT count(*) FROM o.plain_view", [denied, "1", "2"]),
        (&reader, "SELECT count(*) FROM o.invoker_view", [denied, "1", "2"]),
        // The one view that shows more than its reader may see: over the table, by such an owner.
        (&bypass, "SELECT count(*) FROM o.plain_table", ["3", "3", "3"]),
        (&bypass, "SELECT count(*) FROM o.plain_view", [denied, "1", "2"]),
        (&bypass, "SELECT count(*) FROM o.invoker_view", [denied, "1", "2"]),
    ];
    let mut clients = [&stranger, &caller, &reader].map(|role| database.connect(role));
    for (owner, sql, expected) in cases {
        let sql = sql.replace("o.", &format!("{owner}."));
        let found = clients.each_mut().map(|client| found(client, &sql));
        assert_eq!(found, expected, "{sql}");
    }
}

/// The level is the owner's; whose row it is goes by the token, as everywhere in its session.
#[test]
fn in_a_token_s_session_a_definer_function_lends_its_level_and_not_its_name() {
    let mut site = Site::new("reader");
    let (caller, service) = (site.database.role_with("caller"), site.database.role_with("service"));
    for owner in [&caller, &service] {
        wrap(&site.database, owner);
    }
    let mut client = site.connect();
    let mut ask = |owner: &str, function: &str, more: &str| {
        let mut request = site.request(&mut client, &claims("ada"));
        let sql = format!("SELECT {owner}.{function}($1::text::jsonb{more})");
        let asked = request.execute(&sql, &[&user_message("hello")]).map(|_| ());
        if asked.is_ok() {
            request.commit().expect("a commit");
        }
        asked
    };
    ask(&caller, "definer_ask", ", NULL").expect("the owner's level");
    ask(&caller, "definer_ask", ", 'ada'").expect("oneself");
    assert_eq!(ask(&caller, "definer_ask", ", 'bea'").sqlstate(), "42501");
    ask(&service, "definer_ask", ", 'bea'").expect("a service names any user");
    assert_eq!(ask(&caller, "invoker_ask", "").sqlstate(), "42501", "its own level is reader");
    let booked = site.database.text(
        "SELECT string_agg(concat_ws(' ', principal, user_id, role_name), ', ' ORDER BY created_at)
         FROM hiems.ai_usage_logs",
        &[],
    );
    let expected = format!("jwt:ada ada {caller}, jwt:ada ada {caller}, jwt:ada bea {service}");
    assert_eq!(booked, Some(expected));
    // The same for what it sees: in the owner's function the token's rows are "my" rows.
    let mut request = site.request(&mut client, &claims("ada"));
    let own = text(&mut request, &format!("SELECT {caller}.definer_own()::text"));
    assert_eq!(own.as_deref(), Some("3"));
    request.rollback().expect("a rollback");
    let mut request = site.request(&mut client, &claims("eve"));
    let own = text(&mut request, &format!("SELECT {caller}.definer_calls()::text"));
    assert_eq!(own.as_deref(), Some("0"), "a caller's function shows eve no row of ada's");
}

/// As Supabase Realtime looks: a superuser's login, one role and one token after the other.
#[test]
fn a_superuser_s_login_that_takes_a_role_sees_as_the_token_does() {
    let site = Site::new("caller");
    let mut client = site.connect();
    for sub in ["ada", "bea"] {
        let mut request = site.request(&mut client, &claims(sub));
        call(&mut request, "").expect("an answer");
        request.commit().expect("a commit");
    }
    site.database.set("hiems.jwt_session_roles", &format!("{}, postgres", site.login));
    let mut realtime = site.database.admin();
    let seen = |client: &mut Client, sub: &str| {
        let mut request = site.request(client, &claims(sub));
        let seen = count(&mut request, "hiems.ai_usage_logs").expect("rows");
        request.rollback().expect("a rollback");
        seen
    };
    assert_eq!(seen(&mut realtime, "ada"), 1);
    assert_eq!(seen(&mut realtime, "bea"), 1);
    assert_eq!(seen(&mut realtime, "eve"), 0);
    assert_eq!(count(&mut realtime, "hiems.ai_usage_logs").expect("a superuser sees all"), 2);
}
