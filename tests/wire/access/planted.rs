//! Objects planted in a caller's own schema, named like ours and PostgreSQL's, are never used.

use hiems_tests::{Database, ResultExt};
use postgres::Client;

use super::{call, text, with_two_rows};

/// Operators, functions, tables and types that would change what is seen or booked. Each function that
/// is run leaves a trace.
const PLANTED: &str = r#"
    CREATE SCHEMA evil;
    CREATE SEQUENCE evil.runs;
    CREATE FUNCTION evil.yes(text, text) RETURNS boolean LANGUAGE sql AS
        $$ SELECT nextval('evil.runs') > 0 $$;
    CREATE FUNCTION evil.yes(uuid, uuid) RETURNS boolean LANGUAGE sql AS
        $$ SELECT nextval('evil.runs') > 0 $$;
    CREATE FUNCTION evil.yes(xid8, xid8) RETURNS boolean LANGUAGE sql AS
        $$ SELECT nextval('evil.runs') > 0 $$;
    CREATE FUNCTION evil.double(numeric, numeric) RETURNS numeric LANGUAGE sql AS
        $$ SELECT nextval('evil.runs')::numeric $$;
    CREATE FUNCTION evil.double(bigint, numeric) RETURNS numeric LANGUAGE sql AS
        $$ SELECT nextval('evil.runs')::numeric $$;
    CREATE FUNCTION evil.double(numeric, bigint) RETURNS numeric LANGUAGE sql AS
        $$ SELECT nextval('evil.runs')::numeric $$;
    CREATE FUNCTION evil.join(jsonb, jsonb) RETURNS jsonb LANGUAGE sql AS
        $$ SELECT '{"cost_usd": 0}'::jsonb FROM nextval('evil.runs') $$;
    CREATE OPERATOR evil.=  (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.yes);
    CREATE OPERATOR evil.<> (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.yes);
    CREATE OPERATOR evil.=  (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = evil.yes);
    CREATE OPERATOR evil.=  (LEFTARG = xid8, RIGHTARG = xid8, FUNCTION = evil.yes);
    CREATE OPERATOR evil.*  (LEFTARG = numeric, RIGHTARG = numeric, FUNCTION = evil.double);
    CREATE OPERATOR evil.*  (LEFTARG = bigint, RIGHTARG = numeric, FUNCTION = evil.double);
    CREATE OPERATOR evil.*  (LEFTARG = numeric, RIGHTARG = bigint, FUNCTION = evil.double);
    CREATE OPERATOR evil./  (LEFTARG = numeric, RIGHTARG = bigint, FUNCTION = evil.double);
    CREATE OPERATOR evil.+  (LEFTARG = numeric, RIGHTARG = numeric, FUNCTION = evil.double);
    CREATE OPERATOR evil.|| (LEFTARG = jsonb, RIGHTARG = jsonb, FUNCTION = evil.join);
    CREATE FUNCTION evil.trace(name) RETURNS text LANGUAGE sql AS
        $$ SELECT 'role:postgres' FROM nextval('evil.runs') $$;
    CREATE FUNCTION evil.current_principal() RETURNS text LANGUAGE sql AS
        $$ SELECT 'role:postgres' FROM nextval('evil.runs') $$;
    CREATE FUNCTION evil.has_level(text) RETURNS boolean LANGUAGE sql AS
        $$ SELECT nextval('evil.runs') > 0 $$;
    CREATE FUNCTION evil.count() RETURNS bigint LANGUAGE sql AS $$ SELECT nextval('evil.runs') $$;
    CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE sql AS
        $$ SELECT 'epoch'::timestamptz FROM nextval('evil.runs') $$;
    CREATE FUNCTION evil.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS
        $$ SELECT 'epoch'::timestamptz FROM nextval('evil.runs') $$;
    CREATE FUNCTION evil.pg_current_xact_id() RETURNS xid8 LANGUAGE sql AS
        $$ SELECT '3'::xid8 FROM nextval('evil.runs') $$;
    CREATE FUNCTION evil.pg_notify(text, text) RETURNS void LANGUAGE sql AS
        $$ SELECT nextval('evil.runs') $$;
    CREATE FUNCTION evil.pg_has_role(oid, oid, text) RETURNS boolean LANGUAGE sql AS
        $$ SELECT nextval('evil.runs') > 0 $$;
    CREATE AGGREGATE evil.sum(numeric) (SFUNC = evil.double, STYPE = numeric, INITCOND = 0);
    CREATE AGGREGATE evil.max(numeric) (SFUNC = evil.double, STYPE = numeric, INITCOND = 0);
    CREATE TABLE evil.access (grantee_kind text, grantee text, level text);
    INSERT INTO evil.access SELECT 'role', current_user, 'admin';
    CREATE TABLE evil.pg_roles AS SELECT * FROM pg_catalog.pg_roles;
    CREATE TABLE evil.ai_usage_logs (LIKE hiems.ai_usage_logs);
    CREATE TABLE evil.new_rows (id uuid);
    CREATE TYPE evil.text AS ENUM ('a');
    CREATE TYPE evil.numeric AS ENUM ('a');
    CREATE TYPE evil.jsonb AS ENUM ('a');
    CREATE TEMPORARY TABLE access AS SELECT * FROM evil.access;
    CREATE TEMPORARY TABLE pg_roles AS SELECT * FROM evil.pg_roles;
    CREATE TEMPORARY TABLE ai_usage_logs (id uuid);
    CREATE TEMPORARY TABLE calls (id uuid)"#;

const PATHS: [&str; 3] =
    ["evil, pg_catalog, hiems, hiems_private, pg_temp", "pg_temp, evil, pg_catalog, hiems", "evil"];

fn plant(database: &Database, client: &mut Client) {
    let role = text(client, "SELECT current_user::text").expect("a role");
    database
        .admin()
        .batch_execute(&format!("GRANT CREATE, TEMPORARY ON DATABASE {} TO {role}", database.name))
        .expect("a grant");
    client.batch_execute(PLANTED).expect("planted objects");
}

fn runs(database: &Database) -> Option<String> {
    database.text("SELECT last_value::text || is_called FROM evil.runs", &[])
}

#[test]
fn planted_objects_change_nothing() {
    let (database, mut caller) = with_two_rows();
    plant(&database, &mut caller);
    for path in PATHS {
        caller.batch_execute(&format!("SET search_path = {path}")).expect("a path");
        let id = call_plainly(&mut caller);
        // Seen: its own rows, which are all but one.
        let seen = seen_by(&mut caller);
        let all = database.count("hiems.ai_usage_logs");
        assert_eq!(seen, (all - 1).to_string(), "{path}");
        // Booked: what the bill says.
        let bill = database.fake.generation(&id).expect("a generation");
        let booked = database.text(
            "SELECT cost_usd::text FROM hiems.ai_usage_logs WHERE generation_id = $1",
            &[&id],
        );
        let billed = database.text("SELECT $1::text::numeric::text", &[&bill.cost]);
        assert_eq!(booked, billed, "{path}");
        let odd = database.text(
            "SELECT count(*)::text FROM hiems.ai_usage_logs
             WHERE created_at < '2020-01-01' OR booked_at < '2020-01-01' OR booked_xid = '3'",
            &[],
        );
        assert_eq!(odd.as_deref(), Some("0"), "{path}");
        let totals = caller
            .query_one(
                "SELECT calls::pg_catalog.text, cost_usd::pg_catalog.text
                 FROM hiems.my_usage_totals",
                &[],
            )
            .expect("own totals");
        let expected = database.text(
            "SELECT sum(cost_usd)::text FROM hiems.ai_usage_logs WHERE user_id <> 'somebody'",
            &[],
        );
        assert_eq!(totals.get::<_, String>(0), seen, "{path}");
        assert_eq!(totals.get::<_, Option<String>>(1), expected, "{path}");
    }
    assert_eq!(runs(&database).as_deref(), Some("1false"), "something planted was run");
}

#[test]
fn planted_levels_give_nothing() {
    let (mut database, mut caller) = with_two_rows();
    plant(&database, &mut caller);
    let other = database.role("other");
    caller.batch_execute("SET search_path = pg_temp, evil, pg_catalog, hiems").expect("a path");
    for sql in [
        format!("SELECT hiems.grant_access('{other}', 'reader')"),
        "SELECT hiems.drop_api_key('default')".to_owned(),
        "SELECT hiems.set_exchange_rate('USD', 1, pg_catalog.now()::date, 'me')".to_owned(),
    ] {
        let error = caller.batch_execute(&sql).expect_err("refused");
        assert_eq!(error.code().map(|code| code.code()), Some("42501"), "{sql}");
    }
    assert_eq!(runs(&database).as_deref(), Some("1false"), "something planted was run");
}

/// On a PostgreSQL whose `public` anybody may write to, they may be there before hiems is.
#[test]
fn objects_planted_before_the_installation_change_nothing() {
    let mut database = Database::new();
    let role = database.role("planter");
    let name = &database.name;
    let mut admin = database.admin();
    admin
        .batch_execute(&format!(
            "SET hiems.allow_drop = on; DROP EXTENSION hiems;
             GRANT ALL ON SCHEMA public TO {role};
             GRANT CREATE ON DATABASE {name} TO {role}"
        ))
        .expect("no extension");
    let planted: String = PLANTED
        .replace("CREATE SCHEMA evil;", "")
        .replace("(LIKE hiems.ai_usage_logs)", "(id uuid)")
        .replace("evil.", "public.");
    // Better matches than PostgreSQL's own for what the views compute.
    let better = "
        CREATE FUNCTION public.double(integer, numeric) RETURNS numeric LANGUAGE sql AS
            $$ SELECT nextval('public.runs')::numeric $$;
        CREATE FUNCTION public.double(integer, bigint) RETURNS bigint LANGUAGE sql AS
            $$ SELECT nextval('public.runs') $$;
        CREATE OPERATOR public.* (LEFTARG = integer, RIGHTARG = numeric, FUNCTION = public.double);
        CREATE OPERATOR public.* (LEFTARG = integer, RIGHTARG = bigint, FUNCTION = public.double)";
    let mut planter = database.connect(&role);
    planter
        .batch_execute(&format!("SET search_path = pg_catalog, public; {planted}; {better}"))
        .expect("planted objects");
    admin.batch_execute("SET search_path = public; CREATE EXTENSION hiems").expect("the extension");
    let used = database.text(
        "SELECT string_agg(pg_describe_object(refclassid, refobjid, 0), ', ')
         FROM pg_depend AS d
         JOIN pg_rewrite AS r ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
         JOIN pg_class AS v ON v.oid = r.ev_class AND v.relnamespace = 'hiems'::regnamespace
         WHERE refclassid IN ('pg_operator'::regclass, 'pg_proc'::regclass)
           AND refobjid NOT IN (SELECT oid FROM pg_proc
                                WHERE pronamespace IN ('hiems'::regnamespace,
                                                       'hiems_private'::regnamespace))",
        &[],
    );
    assert_eq!(used, None, "views use what was planted");
    assert_eq!(
        database.text("SELECT last_value::text || is_called FROM public.runs", &[]),
        Some("1false".to_owned()),
        "something planted was run"
    );
}

/// [`super::call`] and the sight of the ledger, written so that no name in the test's own statement is
/// looked up in the hostile path.
fn call_plainly(client: &mut Client) -> String {
    client
        .query_one(
            "SELECT hiems.submit_prompt('openai/gpt-4o-mini'::pg_catalog.text,
                 '[{\"role\": \"user\", \"content\": \"hello\"}]'::pg_catalog.jsonb)
                 OPERATOR(pg_catalog.->>) 'id'::pg_catalog.text",
            &[],
        )
        .expect("an answer")
        .get(0)
}

fn seen_by(client: &mut Client) -> String {
    client
        .query_one("SELECT pg_catalog.count(*)::pg_catalog.text FROM hiems.ai_usage_logs", &[])
        .expect("own rows")
        .get(0)
}

/// That the plants are alive: an own statement in the hostile path does use them.
#[test]
fn the_plants_work() {
    let (database, mut caller) = with_two_rows();
    plant(&database, &mut caller);
    caller
        .batch_execute("SET search_path = evil, pg_catalog; SELECT now()")
        .expect("a planted function");
    assert_ne!(runs(&database).as_deref(), Some("1false"));
    call(&mut database.admin(), "").expect("an answer");
}

/// What the owner of a database, who is no superuser, plants for one.
const FOR_A_SUPERUSER: &str = "
    CREATE SCHEMA e2;
    CREATE SEQUENCE e2.runs;
    CREATE FUNCTION e2.ran(pg_catalog.text) RETURNS boolean LANGUAGE sql
        AS $$ SELECT nextval('e2.runs') > 0 $$;
    CREATE FUNCTION e2.equal(pg_catalog.text, pg_catalog.text) RETURNS boolean LANGUAGE sql
        AS $$ SELECT nextval('e2.runs') > 0 $$;
    CREATE DOMAIN e2.text AS pg_catalog.text CHECK (e2.ran(VALUE));
    CREATE OPERATOR e2.= (LEFTARG = pg_catalog.text, RIGHTARG = pg_catalog.text, FUNCTION = e2.equal);
    CREATE OPERATOR e2.<> (LEFTARG = pg_catalog.text, RIGHTARG = pg_catalog.text, FUNCTION = e2.equal)";

/// hiems itself says that a superuser corrects a figure by a row, in a session of the database's own path.
#[test]
fn the_database_s_path_runs_nothing_as_a_superuser() {
    let mut database = Database::new();
    let owner = database.role("owner");
    call(&mut database.admin(), "").expect("an answer");
    let name = database.name.clone();
    let set = format!("ALTER DATABASE {name} OWNER TO {owner}");
    database.admin().batch_execute(&set).expect("an owner");
    let mut planter = database.connect(&owner);
    planter.batch_execute(FOR_A_SUPERUSER).expect("plants");
    let set = format!("ALTER DATABASE {name} SET search_path = e2, pg_catalog");
    planter.batch_execute(&set).expect("the owner may");
    let mut admin = database.admin();
    admin
        .batch_execute(
            "INSERT INTO hiems.ai_usage_logs (id, created_at, cost_usd, cost_source, outcome, attempts,
                 streamed, principal, adjusts, calls)
             SELECT pg_catalog.gen_random_uuid(), pg_catalog.now(), -0.1, 'settled', 'recorded', 0, false,
                    l.principal, l.id, 0 FROM hiems.ai_usage_logs AS l",
        )
        .expect("a correcting row");
    for sql in ["DELETE FROM hiems.ai_usage_logs", "TRUNCATE hiems.ai_usage_logs"] {
        assert_eq!(admin.batch_execute(sql).sqlstate(), "42501", "{sql}");
    }
    let grant = format!("SELECT hiems.grant_access('{owner}', 'caller')");
    admin.batch_execute(&grant).expect("a level");
    let runs = "SELECT last_value::pg_catalog.text || is_called FROM e2.runs";
    let ran = admin.query_one(runs, &[]).expect("a sequence").get::<_, String>(0);
    assert_eq!(ran, "1false", "something planted was run");
}
