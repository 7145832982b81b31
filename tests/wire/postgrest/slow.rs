//! Calls that take long: what cuts them, what does not, and what they cost others.

use hiems_tests::{ResultExt, SOON, wait_until};
use postgres::NoTls;
use serde_json::json;

use super::site::{Site, prompt};

/// With the role's own timeout cut down, so that nothing here lasts 8 s.
fn hurried() -> Site {
    let site = Site::new();
    let role = &site.roles.authenticated;
    site.database
        .admin()
        .batch_execute(&format!(
            "ALTER ROLE {role} SET statement_timeout = '300ms';
             CREATE FUNCTION public.nap() RETURNS text LANGUAGE sql VOLATILE
                 AS $$SELECT pg_sleep(60)::text$$;
             NOTIFY pgrst, 'reload config';
             NOTIFY pgrst, 'reload schema'"
        ))
        .expect("settings");
    let bearer = format!("Bearer {}", site.user("ada"));
    wait_until("PostgREST knows of them", SOON, || {
        let headers = [("Authorization", bearer.as_str())];
        let cut = site.server.say("POST", "/rpc/nap", &headers, "{}");
        cut.status == 500 && cut.text("code") == "57014"
    });
    site
}

#[test]
fn a_call_outlives_the_timeout_of_its_role() {
    let site = hurried();
    let ada = site.user("ada");
    let wishes = [("fake_header_delay_ms", "1000")];
    let answer = site.rpc(&ada, "submit_prompt", &prompt(&wishes));
    assert_eq!(answer.status, 200, "{answer:?}");
    let id = site.rpc(&ada, "enqueue_prompt", &prompt(&wishes)).body;
    let answer = site.rpc(&ada, "await_prompt", &json!({"id": id, "timeout": "50 s"}));
    assert_eq!(answer.status, 200, "{answer:?}");
    // Many calls of one request, and their rows come to an end.
    let one = json!({"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}],
                     "options": {"metadata": {"fake_header_delay_ms": "500"}}});
    let many = json!({"requests": [one, one, one], "max_concurrency": 1});
    let answer = site.rpc(&ada, "submit_prompts", &many);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.body.as_array().map(Vec::len), Some(3), "{answer:?}");
}

/// PostgreSQL looks at the setting when a statement begins: what a function sets for itself neither
/// shortens nor lengthens the statement that it is in.
#[test]
fn in_plain_sql_the_callers_own_timeout_counts() {
    let site = Site::new();
    let mut client = site.database.admin();
    let ask = "SELECT hiems.submit_prompt('openai/gpt-4o-mini',
                   '[{\"role\": \"user\", \"content\": \"x\"}]',
                   options => '{\"metadata\": {\"fake_header_delay_ms\": \"30000\"}}')::text";
    client.batch_execute("SET statement_timeout = '300ms'").expect("a setting");
    let refusal = client.query_one(ask, &[]).refusal();
    assert_eq!(refusal.sqlstate, "57014");
    assert!(refusal.message.contains("statement timeout"), "{refusal:?}");
    let own: String = client.query_one("SHOW statement_timeout", &[]).expect("a setting").get(0);
    assert_eq!(own, "300ms");
    client.batch_execute("RESET statement_timeout").expect("a setting");
    let (mut other, pid) = (site.database.admin(), client);
    let mut pid = pid;
    let backend: i32 = pid.query_one("SELECT pg_backend_pid()", &[]).expect("a session").get(0);
    let (token, asked) =
        (pid.cancel_token(), std::thread::spawn(move || pid.query_one(ask, &[]).sqlstate()));
    wait_until("both are in flight", SOON, || site.database.fake.in_flight() == 2);
    let waits: bool = other
        .query_one("SELECT state = 'active' FROM pg_stat_activity WHERE pid = $1", &[&backend])
        .expect("a session")
        .get(0);
    assert!(waits);
    token.cancel_query(NoTls).expect("a cancel");
    assert_eq!(asked.join().expect("a thread"), "57014");
}

/// Every function that waits for OpenRouter has the timeout that PostgREST sets, within the 60 s of
/// Supabase's API gateway, and no function has a setting of its own but that and a search_path.
#[test]
fn the_functions_that_wait_have_the_timeout() {
    let site = hiems_tests::Database::without_key();
    let with = "SELECT string_agg(proname, ' ' ORDER BY proname) FROM pg_proc
                WHERE pronamespace = 'hiems'::regnamespace
                  AND 'statement_timeout=55s' = ANY (proconfig)";
    assert_eq!(
        site.text(with, &[]).as_deref(),
        Some(
            "await_prompt complete extract settle_now stream_prompt submit_prompt submit_prompts \
             verify_api_key"
        )
    );
    assert_eq!(
        site.count(
            "pg_proc WHERE pronamespace = 'hiems'::regnamespace
                AND NOT proconfig <@ ARRAY['statement_timeout=55s', 'search_path=pg_catalog, pg_temp']"
        ),
        0
    );
}

/// PostgREST does not cancel what a client no longer waits for: it was sent, is finished, and booked.
#[test]
fn a_client_that_goes_away_has_its_call_finished_and_booked() {
    let site = Site::new();
    let connection =
        site.send(&site.user("ada"), "submit_prompt", &prompt(&[("fake_header_delay_ms", "1000")]));
    wait_until("the call is in flight", SOON, || site.database.fake.in_flight() == 1);
    drop(connection);
    wait_until("it is booked", SOON, || site.database.count("hiems.ai_usage_logs") == 1);
    let row = &site.database.ledger()[0];
    assert_eq!(row["outcome"], "committed");
    assert_eq!(row["cost_usd"].to_string(), site.database.fake.bill()[0].cost);
}

#[test]
fn slow_calls_fill_the_pool_and_the_queue_does_not() {
    let pool = [("PGRST_DB_POOL", "2"), ("PGRST_DB_POOL_ACQUISITION_TIMEOUT", "5")];
    let slow = prompt(&[("fake_header_delay_ms", "50000")]);

    let site = Site::with(&pool);
    let ada = site.user("ada");
    let waiting =
        [site.send(&ada, "submit_prompt", &slow), site.send(&ada, "submit_prompt", &slow)];
    wait_until("two calls are in flight", SOON, || site.database.fake.in_flight() == 2);
    let other = site.get(&site.user("bea"), "/my_usage_totals");
    assert_eq!((other.status, other.text("code")), (504, "PGRST003"), "{other:?}");
    drop(waiting);
    drop(site);

    let site = Site::with(&pool);
    let ada = site.user("ada");
    let ids: Vec<_> = (0..4).map(|_| site.rpc(&ada, "enqueue_prompt", &slow).body).collect();
    wait_until("four calls are in flight", SOON, || site.database.fake.in_flight() == 4);
    for id in &ids {
        // With no time to wait nothing is held.
        let early = site.rpc(&ada, "await_prompt", &json!({"id": id, "timeout": "0 s"}));
        assert_eq!((early.status, early.text("code")), (408, "PT408"), "{early:?}");
        let other = site.get(&site.user("bea"), "/my_usage_totals");
        assert_eq!(other.status, 200, "{other:?}");
    }
    assert_eq!(site.database.fake.in_flight(), 4);
}
