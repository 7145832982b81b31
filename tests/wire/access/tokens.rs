//! Sessions of `hiems.jwt_session_roles`, as PostgREST opens them: the token's subject is the user.

use hiems_tests::{Database, ResultExt};
use postgres::{Client, Transaction};

use super::{call, count, text, users_seen};

/// A database with a login that checks tokens, and a role that it takes.
pub struct Site {
    pub database: Database<'static>,
    pub login: String,
    pub role: String,
}

impl Site {
    pub fn new(level: &str) -> Site {
        let mut database = Database::new();
        let login = database.role("authenticator");
        let role = database.role("authenticated");
        database.set("hiems.jwt_session_roles", &login);
        database
            .admin()
            .batch_execute(&format!(
                "ALTER ROLE {login} NOINHERIT; GRANT {role} TO {login};
                 SELECT hiems.grant_access('{role}', '{level}')"
            ))
            .expect("roles");
        Site { database, login, role }
    }

    pub fn connect(&self) -> Client {
        self.database.connect(&self.login)
    }

    /// One request: the role and the claims are set for a transaction.
    pub fn request<'c>(&self, client: &'c mut Client, claims: &str) -> Transaction<'c> {
        let mut request = client.transaction().expect("a transaction");
        request.batch_execute(&format!("SET LOCAL ROLE {}", self.role)).expect("a role");
        request
            .execute("SELECT set_config('request.jwt.claims', $1, true)", &[&claims])
            .expect("claims");
        request
    }
}

pub fn claims(sub: &str) -> String {
    format!("{{\"sub\": \"{sub}\", \"role\": \"authenticated\"}}")
}

const WHO: &str = "SELECT hiems.current_principal() || ' ' || hiems.current_user_id()";

#[test]
fn the_subject_is_the_user_and_owns_the_row() {
    let site = Site::new("caller");
    let mut client = site.connect();
    let mut request = site.request(&mut client, &claims("ada"));
    assert_eq!(text(&mut request, WHO).as_deref(), Some("jwt:ada ada"));
    let id = call(&mut request, "").expect("an answer");
    // Naming oneself is no other user.
    call(&mut request, ", \"user\" => 'ada'").expect("an answer");
    request.commit().expect("a commit");
    let booked = site.database.text(
        "SELECT principal || ' ' || user_id || ' ' || role_name FROM hiems.ai_usage_logs
         WHERE generation_id = $1",
        &[&id],
    );
    assert_eq!(booked, Some(format!("jwt:ada ada {}", site.role)));
    let sent = &site.database.fake.bill()[0];
    assert_eq!(sent.user.as_deref(), Some("ada"));
}

#[test]
fn two_subjects_of_one_role_see_only_their_own() {
    let site = Site::new("caller");
    call(&mut site.database.admin(), "").expect("an answer");
    let mut client = site.connect();
    for sub in ["ada", "bea", "ada"] {
        let mut request = site.request(&mut client, &claims(sub));
        call(&mut request, "").expect("an answer");
        request.commit().expect("a commit");
    }
    // A prepared statement, run so often that its plan is kept, asks anew each time.
    let seen = client
        .prepare(
            "SELECT coalesce(string_agg(user_id, ' '), ''),
                    (SELECT calls::text FROM hiems.my_usage_totals)
             FROM hiems.ai_usage_logs",
        )
        .expect_err("the login itself has no level");
    assert_eq!(seen.code().map(|code| code.code()), Some("42501"));
    let mut request = site.request(&mut client, &claims("ada"));
    let seen = request
        .prepare(
            "SELECT coalesce(string_agg(user_id, ' '), ''),
                    (SELECT calls::text FROM hiems.my_usage_totals)
             FROM hiems.ai_usage_logs",
        )
        .expect("a statement");
    request.commit().expect("a commit");
    for round in 0..8 {
        for (sub, rows, calls) in [("ada", "ada ada", "2"), ("bea", "bea", "1"), ("eve", "", "0")] {
            let mut request = site.request(&mut client, &claims(sub));
            let row = request.query_one(&seen, &[]).expect("own rows");
            assert_eq!(row.get::<_, String>(0), rows, "{sub}, round {round}");
            assert_eq!(row.get::<_, String>(1), calls, "{sub}, round {round}");
        }
    }
}

#[test]
fn another_user_is_refused() {
    let site = Site::new("caller");
    let mut client = site.connect();
    let mut request = site.request(&mut client, &claims("ada"));
    let refusal = call(&mut request, ", \"user\" => 'bea'").refusal();
    assert_eq!(refusal.sqlstate, "42501");
    assert_eq!(refusal.hint, "Leave \"user\" out: it comes from the token.");
    drop(request);
    assert_eq!(site.database.fake.requests().len(), 0);
}

#[test]
fn a_service_may_name_another_user() {
    let site = Site::new("service");
    let mut client = site.connect();
    let mut request = site.request(&mut client, &claims("backend"));
    call(&mut request, ", \"user\" => 'bea'").expect("an answer");
    request.commit().expect("a commit");
    let booked =
        site.database.text("SELECT principal || ' ' || user_id FROM hiems.ai_usage_logs", &[]);
    assert_eq!(booked.as_deref(), Some("jwt:backend bea"));
    // The label gives bea no right to it: who called is another.
    let mut request = site.request(&mut client, &claims("bea"));
    assert!(users_seen(&mut request).is_empty());
}

#[test]
fn claims_that_cannot_be_read_own_nothing_and_raise_nothing() {
    let site = Site::new("caller");
    let mut client = site.connect();
    let mut request = site.request(&mut client, &claims("ada"));
    call(&mut request, "").expect("an answer");
    request.commit().expect("a commit");
    let deep = "[".repeat(100_000);
    let deep_sub = format!("{{\"a\": {}{}, \"sub\": 7}}", "[".repeat(500), "]".repeat(500));
    for garbage in [
        "",
        " ",
        "garbage",
        "null",
        "[]",
        "\"ada\"",
        "{}",
        "{\"sub\": null}",
        "{\"sub\": \"\"}",
        "{\"sub\": 7}",
        "{\"sub\": true}",
        "{\"sub\": [\"ada\"]}",
        "{\"sub\": {\"sub\": \"ada\"}}",
        "{\"SUB\": \"ada\"}",
        "{\"sub\": \"ada\\u0000\"}",
        "{\"sub\": \"ada\", \"sub\": \"ada\"}",
        "{\"sub\": \"ada\"",
        "{\"sub\": \"ada\"} x",
        "{'sub': 'ada'}",
        deep.as_str(),
        deep_sub.as_str(),
    ] {
        let about = garbage.chars().take(40).collect::<String>();
        let mut request = site.request(&mut client, garbage);
        assert_eq!(text(&mut request, WHO), None, "{about}");
        assert!(users_seen(&mut request).is_empty(), "{about}");
        let totals = text(&mut request, "SELECT calls::text FROM hiems.my_usage_totals");
        assert_eq!(totals.as_deref(), Some("0"), "{about}");
    }
    // And where nobody has ever set them.
    let mut client = site.connect();
    client.batch_execute(&format!("SET ROLE {}", site.role)).expect("a role");
    assert_eq!(text(&mut client, WHO), None);
    assert!(users_seen(&mut client).is_empty());
}

/// Such as Supabase's `anon`: it calls if it is let, and nobody sees its rows but readers.
#[test]
fn a_call_without_a_subject_is_booked_to_the_role() {
    let site = Site::new("caller");
    let mut client = site.connect();
    for garbage in ["", "{}"] {
        let mut request = site.request(&mut client, garbage);
        let refusal = call(&mut request, ", \"user\" => 'ada'").refusal();
        assert_eq!(refusal.sqlstate, "42501");
        drop(request);
        let mut request = site.request(&mut client, garbage);
        call(&mut request, "").expect("an answer");
        assert!(users_seen(&mut request).is_empty());
        request.commit().expect("a commit");
    }
    let booked = site.database.text(
        "SELECT string_agg(DISTINCT principal || ' ' || user_id, ',') FROM hiems.ai_usage_logs",
        &[],
    );
    assert_eq!(booked, Some(format!("role:{0} {0}", site.role)));
}

#[test]
fn forged_claims_change_nothing_elsewhere() {
    let mut site = Site::new("caller");
    let mut client = site.connect();
    let mut request = site.request(&mut client, &claims("ada"));
    call(&mut request, "").expect("an answer");
    request.commit().expect("a commit");

    let forger = site.database.role("forger");
    let (login, role) = (site.login.clone(), site.role.clone());
    let mut admin = site.database.admin();
    admin
        .batch_execute(&format!(
            "GRANT {login} TO {forger}; GRANT {role} TO {forger};
             SELECT hiems.grant_user_access('boss', 'reader');
             SELECT hiems.grant_user_access('boss', 'service')"
        ))
        .expect("grants");
    for become_ in [forger.as_str(), role.as_str(), login.as_str()] {
        for sub in ["ada", "boss"] {
            let mut client = site.database.connect(&forger);
            client
                .batch_execute(&format!(
                    "SET ROLE {become_};
                     SET request.jwt.claims = '{}';
                     SET request.jwt.claim.sub = '{sub}'",
                    claims(sub)
                ))
                .expect("anybody may set them");
            if become_ == login {
                // It has no level itself.
                assert_eq!(count(&mut client, "hiems.ai_usage_logs").sqlstate(), "42501");
                continue;
            }
            let who = text(&mut client, "SELECT hiems.current_principal()");
            assert_eq!(who, Some(format!("role:{become_}")));
            assert!(users_seen(&mut client).is_empty(), "{become_} {sub}");
        }
    }
}

#[test]
fn nobody_makes_itself_a_login_that_checks_tokens() {
    let mut site = Site::new("caller");
    let forger = site.database.role("forger");
    site.database
        .admin()
        .batch_execute(&format!(
            "SELECT hiems.grant_access('{forger}', 'caller');
             SELECT hiems.grant_user_access('boss', 'reader')"
        ))
        .expect("grants");
    call(&mut site.database.admin(), "").expect("an answer");
    let set = format!("SET hiems.jwt_session_roles = '{forger}'");
    // Before the library is loaded PostgreSQL lets anybody set any name with a dot; it counts nothing.
    let mut client = site.database.connect(&forger);
    let _ = client.batch_execute(&set);
    client
        .batch_execute(&format!("SET request.jwt.claims = '{}'", claims("boss")))
        .expect("anybody may set them");
    let who = text(&mut client, "SELECT hiems.current_principal()");
    assert_eq!(who, Some(format!("role:{forger}")));
    assert!(users_seen(&mut client).is_empty());
    // Now it is.
    assert_eq!(client.batch_execute(&set).sqlstate(), "42501");
    // Nor with the connection, or in a function.
    let mut config = site.database.config(&forger);
    let mut client = config
        .options(&format!(
            "-c hiems.jwt_session_roles={forger} -c request.jwt.claims={{\"sub\":\"boss\"}}"
        ))
        .connect(postgres::NoTls)
        .expect("a connection");
    assert_eq!(
        text(&mut client, "SELECT hiems.current_principal()"),
        Some(format!("role:{forger}"))
    );
    assert!(users_seen(&mut client).is_empty());
    let function = format!(
        "CREATE FUNCTION pg_temp.f() RETURNS text LANGUAGE sql SET hiems.jwt_session_roles = '{forger}'
             AS 'SELECT hiems.current_principal()'; SELECT pg_temp.f()"
    );
    assert_eq!(client.batch_execute(&function).sqlstate(), "42501");
    let own = format!("ALTER ROLE {forger} SET hiems.jwt_session_roles = '{forger}'");
    assert_eq!(client.batch_execute(&own).sqlstate(), "42501");
    let mut fresh = site.database.connect(&forger);
    assert_eq!(fresh.batch_execute(&own).sqlstate(), "42501");
}
