//! What is hidden stays hidden from cheap functions, statistics, copies, kept plans, cursors and parallel
//! workers.

use std::collections::BTreeSet;

use hiems_tests::{Database, ResultExt, postgresql_version, user_message};
use postgres::Client;

use super::tokens::{Site, claims};
use super::{MY_VIEWS, REPORTS, call, count, text, users_seen};

/// Plans every query of this session with a parallel worker that may have one.
pub fn force_parallel(client: &mut Client) {
    let force =
        if postgresql_version() == "15" { "force_parallel_mode" } else { "debug_parallel_query" };
    client
        .batch_execute(&format!(
            "SET {force} = on; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
             SET min_parallel_table_scan_size = 0"
        ))
        .expect("settings");
}

/// A caller that may make a schema, with a row of its own; another row has another's of everything.
fn with_a_secret() -> (Database<'static>, String, Client) {
    let mut database = Database::new();
    let role = database.role_with("caller");
    let name = &database.name;
    let mut admin = database.admin();
    admin
        .batch_execute(&format!("GRANT CREATE, TEMPORARY ON DATABASE {name} TO {role}"))
        .expect("a grant");
    admin
        .execute(
            "SELECT hiems.submit_prompt('anthropic/claude-sonnet-4.5', $1::text::jsonb, 'secret-user',
                 'secret-use', 'secret-session', '{\"secret\": 1}')",
            &[&user_message("a longer question than the other, so that it costs more")],
        )
        .expect("an answer");
    let mut client = database.connect(&role);
    call(&mut client, ", \"user\" => 'mine', use_case => 'mine'").expect("an answer");
    client
        .batch_execute(
            "CREATE SCHEMA mine;
             GRANT USAGE ON SCHEMA mine TO PUBLIC;
             CREATE TABLE mine.seen (value text);
             GRANT INSERT ON mine.seen TO PUBLIC;
             -- Cheaper than anything else, so that the planner runs it as early as it may.
             CREATE FUNCTION mine.leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS
                 $$ BEGIN INSERT INTO mine.seen VALUES ($1); RETURN true; END $$;
             CREATE FUNCTION mine.leak(text, text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS
                 $$ BEGIN INSERT INTO mine.seen VALUES ($1); RETURN true; END $$;
             CREATE OPERATOR mine.~~~ (LEFTARG = text, RIGHTARG = text, FUNCTION = mine.leak,
                 RESTRICT = eqsel, JOIN = eqjoinsel)",
        )
        .expect("a schema");
    (database, role, client)
}

fn values(client: &mut Client, sql: &str) -> BTreeSet<Option<String>> {
    client.query(sql, &[]).expect(sql).iter().map(|row| row.get(0)).collect()
}

#[test]
fn a_cheap_function_is_shown_no_row_of_others() {
    let (database, role, mut client) = with_a_secret();
    let columns: Vec<(String, String)> = database
        .admin()
        .query(
            "SELECT attrelid::regclass::text, attname::text FROM pg_attribute
             WHERE attnum > 0 AND NOT attisdropped
               -- An age is another at each look.
               AND atttypid <> 'interval'::regtype AND attrelid IN (
                 SELECT oid FROM pg_class
                 WHERE relnamespace = 'hiems'::regnamespace AND relkind IN ('r', 'v'))",
            &[],
        )
        .expect("the catalog")
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    assert!(columns.len() > 100, "{columns:?}");
    // What is on its way is hidden like what is booked: one call of another's, one of its own.
    database.wait_until_booked();
    let (mut others, mut own) = (database.admin(), database.connect(&role));
    for session in [&mut others, &mut own] {
        session.batch_execute("BEGIN").expect("a transaction");
        call(session, ", session_id => pg_backend_pid()::text").expect("an answer");
    }
    assert_eq!(database.count("hiems.calls"), 2);
    assert_eq!(count(&mut client, "hiems.calls").expect("its own"), 1);
    for (relation, column) in &columns {
        let value = format!("r.{column}::text");
        let may = values(&mut client, &format!("SELECT {value} FROM {relation} AS r"));
        for sql in [
            format!("SELECT FROM {relation} AS r WHERE mine.leak({value})"),
            format!("SELECT FROM {relation} AS r WHERE {value} OPERATOR(mine.~~~) 'x'"),
            format!("SELECT FROM {relation} AS r WHERE mine.leak({value}) OFFSET 0"),
            format!(
                "SELECT FROM {relation} AS r JOIN (VALUES ('x')) AS v (x)
                 ON {value} OPERATOR(mine.~~~) v.x"
            ),
        ] {
            client.batch_execute(&sql).expect(&sql);
            let seen = values(&mut client, "DELETE FROM mine.seen RETURNING value");
            assert!(seen.is_subset(&may), "{sql}: {seen:?}, {may:?}");
        }
    }
    // That the function does leak: a plain WHERE of a view holds nothing back.
    database
        .admin()
        .batch_execute(
            "CREATE TABLE mine.open AS SELECT * FROM hiems.ai_usage_logs;
             CREATE VIEW mine.leaky AS SELECT * FROM mine.open WHERE principal = current_user::text;
             GRANT SELECT ON mine.leaky TO PUBLIC",
        )
        .expect("a view");
    client.batch_execute("SELECT FROM mine.leaky WHERE mine.leak(user_id)").expect("a leak");
    let seen = values(&mut client, "SELECT value FROM mine.seen");
    assert!(seen.contains(&Some("secret-user".to_owned())), "{seen:?}");
}

#[test]
fn statistics_and_copies_show_no_row_of_others() {
    let (database, role, mut client) = with_a_secret();
    database.admin().batch_execute("ANALYZE hiems.ai_usage_logs").expect("statistics");
    let all = database.count("pg_stats WHERE tablename = 'ai_usage_logs'");
    assert!(all > 20, "{all}");
    for view in ["pg_stats", "pg_stats_ext", "pg_stats_ext_exprs"] {
        let sql = format!("SELECT count(*)::text FROM {view} WHERE schemaname LIKE 'hiems%'");
        assert_eq!(text(&mut client, &sql).as_deref(), Some("0"), "{view}");
    }
    let statistic = client.query("SELECT FROM pg_statistic", &[]);
    assert_eq!(statistic.sqlstate(), "42501");
    for sql in [
        "COPY hiems.ai_usage_logs TO STDOUT",
        "COPY (SELECT * FROM hiems.usage_by_user) TO STDOUT",
        "COPY (TABLE hiems.model_statistics) TO STDOUT",
    ] {
        let mut copied = String::new();
        let mut reader = client.copy_out(sql).expect(sql);
        std::io::Read::read_to_string(&mut reader, &mut copied).expect("text");
        drop(reader);
        assert_eq!(copied.lines().count(), 1, "{sql}: {copied}");
        assert!(!copied.contains("secret") && !copied.contains("claude"), "{sql}: {copied}");
    }
    // EXPLAIN counts the rows that it hid, as everywhere in PostgreSQL, and says nothing of what is in them.
    let plan = client
        .query("EXPLAIN (ANALYZE, VERBOSE) SELECT * FROM hiems.ai_usage_logs", &[])
        .expect("a plan");
    let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
    let plan = plan.join("\n");
    assert!(plan.contains("Rows Removed by Filter: 1"), "{plan}");
    assert!(!plan.contains("secret") && !plan.contains("claude"), "{plan}");
    // Asking for no row-level security gives an error and no rows.
    client.batch_execute("SET row_security = off").expect("a setting");
    for relation in REPORTS.iter().chain(&MY_VIEWS).chain(&["ai_usage_logs"]) {
        let read = client.query(&format!("SELECT FROM hiems.{relation}"), &[]);
        assert_eq!(read.sqlstate(), "42501", "{relation}");
    }
    let dumped = client.query("SELECT FROM hiems.ai_usage_logs TABLESAMPLE SYSTEM (100)", &[]);
    assert_eq!(dumped.sqlstate(), "42501", "{role}");
}

/// A plan that was made, and kept, for one role is not another's.
#[test]
fn kept_plans_follow_the_role() {
    let (mut database, first, _) = with_a_secret();
    let second = database.role_with("service");
    let reader = database.role_with("reader");
    for _ in 0..2 {
        call(&mut database.connect(&second), ", \"user\" => 'second'").expect("an answer");
    }
    let mut client = database.admin();
    client
        .batch_execute(
            "SET plan_cache_mode = force_generic_plan;
             CREATE FUNCTION public.rows_seen() RETURNS bigint LANGUAGE plpgsql AS
                 $$ BEGIN RETURN (SELECT count(*) FROM hiems.ai_usage_logs); END $$;
             CREATE FUNCTION public.own_calls() RETURNS bigint LANGUAGE plpgsql AS
                 $$ BEGIN RETURN (SELECT calls FROM hiems.my_usage_totals); END $$",
        )
        .expect("functions");
    let prepared: Vec<_> = [
        "SELECT count(*) FROM hiems.ai_usage_logs",
        "SELECT sum(calls)::bigint FROM hiems.usage_by_user",
        "SELECT calls FROM hiems.usage_totals",
        "SELECT public.rows_seen()",
        "SELECT calls FROM hiems.my_usage_totals",
        "SELECT coalesce(sum(calls), 0)::bigint FROM hiems.my_usage_daily",
        "SELECT public.own_calls()",
    ]
    .iter()
    .map(|sql| (*sql, client.prepare(sql).expect("a statement")))
    .collect();
    // Seen in all, and of one's own.
    let cases = [
        ("postgres", 4, 1),
        (first.as_str(), 1, 1),
        (reader.as_str(), 4, 0),
        (second.as_str(), 2, 2),
        ("postgres", 4, 1),
        (second.as_str(), 2, 2),
        (first.as_str(), 1, 1),
    ];
    for how in ["SET ROLE", "SET SESSION AUTHORIZATION"] {
        for (role, seen, own) in cases {
            client.batch_execute(&format!("{how} {role}")).expect("a superuser may");
            let principal = text(&mut client, "SELECT hiems.current_principal()");
            assert_eq!(principal, Some(format!("role:{role}")), "{how}");
            for (sql, statement) in &prepared {
                let expected = if sql.contains("my_") || sql.contains("own_") { own } else { seen };
                let found: i64 = client.query_one(statement, &[]).expect(sql).get(0);
                assert_eq!(found, expected, "{how} {role}: {sql}");
            }
        }
        client.batch_execute("RESET ROLE; RESET SESSION AUTHORIZATION").expect("a superuser again");
    }
    // Nobody else becomes another session's user, or goes on from one role to the next by force.
    let mut client = database.connect(&first);
    for sql in [
        format!("SET SESSION AUTHORIZATION {reader}"),
        format!("SET ROLE {reader}"),
        format!("SET LOCAL ROLE {reader}"),
        "SET ROLE postgres".to_owned(),
        format!("SELECT set_config('role', '{reader}', false)"),
    ] {
        assert_eq!(client.batch_execute(&sql).sqlstate(), "42501", "{sql}");
    }
}

/// A cursor has the rights of who opened it, and shows of these rows those of who fetches first.
#[test]
fn a_cursor_shows_no_more_than_its_opener_may_see() {
    let (mut database, first, _) = with_a_secret();
    let reader = database.role_with("reader");
    let mut client = database.admin();
    let mut rows = |open_as: &str, fetch_as: &str, options: &str| {
        let mut transaction = client.transaction().expect("a transaction");
        transaction
            .batch_execute(&format!(
                "SET LOCAL ROLE {open_as};
                 DECLARE c CURSOR {options} FOR SELECT user_id FROM hiems.ai_usage_logs;
                 SET LOCAL ROLE {fetch_as}"
            ))
            .expect("a cursor");
        transaction.query("FETCH ALL FROM c", &[]).expect("rows").len()
    };
    assert_eq!(rows(&first, &reader, ""), 2, "the reader fetches, and may see all");
    assert_eq!(rows(&reader, &first, ""), 1, "the caller fetches, and sees its own");
    assert_eq!(rows(&first, &first, "WITH HOLD"), 1);
    // PostgreSQL asks no policy of a superuser's cursor, whoever fetches.
    assert_eq!(rows("postgres", &first, ""), 2);
    // Of a role without privileges nothing is opened.
    let stranger = database.role("stranger");
    let mut client = database.connect(&stranger);
    client.batch_execute("BEGIN").expect("a transaction");
    let opened = client.batch_execute("DECLARE c CURSOR FOR SELECT * FROM hiems.ai_usage_logs");
    assert_eq!(opened.sqlstate(), "42501");
}

#[test]
fn a_parallel_worker_knows_who_asks() {
    let site = Site::new("caller");
    let mut admin = site.database.admin();
    admin
        .batch_execute(
            "CREATE TABLE public.many AS SELECT generate_series(1, 5000) AS x;
             GRANT SELECT ON public.many TO PUBLIC; ANALYZE public.many",
        )
        .expect("a table");
    const WHO: &str = "SELECT DISTINCT hiems.current_principal() || ' ' || hiems.current_user_id()
                           || ' ' || hiems.reporting_time_zone() FROM public.many";
    let assert_parallel = |client: &mut dyn FnMut(&str) -> Vec<Option<String>>, who: &str| {
        let plan = client(&format!("EXPLAIN {WHO}"));
        assert!(plan.iter().flatten().any(|line| line.contains("Gather")), "{plan:?}");
        assert_eq!(client(WHO), [Some(format!("{who} Europe/Stockholm"))]);
    };
    let mut client = site.connect();
    force_parallel(&mut client);
    client.batch_execute("SET hiems.reporting_time_zone = 'Europe/Stockholm'").expect("a setting");
    for sub in ["ada", "bea"] {
        let mut request = site.request(&mut client, &claims(sub));
        let mut ask = |sql: &str| -> Vec<Option<String>> {
            request.query(sql, &[]).expect(sql).iter().map(|row| row.get(0)).collect()
        };
        assert_parallel(&mut ask, &format!("jwt:{sub} {sub}"));
        request.rollback().expect("a rollback");
        let mut request = site.request(&mut client, &claims(sub));
        call_and_commit(&mut request);
        request.commit().expect("a commit");
        let mut request = site.request(&mut client, &claims(sub));
        assert_eq!(users_seen(&mut request), [sub]);
    }
    let role = &site.role;
    force_parallel(&mut admin);
    admin
        .batch_execute(&format!(
            "SET hiems.reporting_time_zone = 'Europe/Stockholm'; SET ROLE {role}"
        ))
        .expect("a role");
    let mut ask = |sql: &str| -> Vec<Option<String>> {
        admin.query(sql, &[]).expect(sql).iter().map(|row| row.get(0)).collect()
    };
    assert_parallel(&mut ask, &format!("role:{role} {role}"));
}

/// Forced parallel queries do not keep a plain call from being made.
fn call_and_commit(request: &mut postgres::Transaction) {
    call(request, "").expect("an answer");
}
