//! Whatever the owner of a database sets for its sessions, the gateway makes every call as ever, and prints nothing of
//! what it holds.

use std::collections::BTreeMap;

use hiems_tests::{
    Cluster, Config, Database, Running, SOON, call, directives, user_message, wait_until,
};
use postgres::{Client, Row};

/// What is set where a text is to be had, and what the worst of it is.
const TEXTS: [(&str, &str); 11] = [
    ("TimeZone", "<X>-99:59"),
    ("DateStyle", "German"),
    ("search_path", "planted, pg_catalog"),
    ("client_encoding", "LATIN1"),
    ("lc_numeric", "POSIX"),
    ("lc_monetary", "POSIX"),
    ("lc_time", "POSIX"),
    ("default_text_search_config", "pg_catalog.german"),
    ("timezone_abbreviations", "India"),
    ("application_name", "nobody"),
    ("plpgsql.extra_errors", "all"),
];

/// Which of the values that a number may have.
#[derive(Clone, Copy, Debug)]
enum Extreme {
    Least,
    Small,
    Most,
}

/// A value that the setting does not have by itself.
fn hostile(setting: &Row, extreme: Extreme) -> Option<String> {
    let (name, kind): (&str, &str) = (setting.get("name"), setting.get("vartype"));
    let boot: Option<&str> = setting.get("boot_val");
    let (least, most): (Option<&str>, Option<&str>) =
        (setting.get("min_val"), setting.get("max_val"));
    match kind {
        "bool" => Some(if boot == Some("on") { "off" } else { "on" }.to_owned()),
        "enum" => {
            let values: Vec<String> = setting.get("enumvals");
            let mut others = values.into_iter().filter(|value| Some(value.as_str()) != boot);
            if matches!(extreme, Extreme::Least) { others.next() } else { others.next_back() }
        }
        "integer" | "real" => Some(
            match extreme {
                Extreme::Least => least?,
                Extreme::Small if least?.parse::<f64>().expect("a number") < 1.0 => "1",
                Extreme::Small => least?,
                Extreme::Most => most?,
            }
            .to_owned(),
        ),
        _ => TEXTS.iter().find(|(text, _)| *text == name).map(|(_, value)| (*value).to_owned()),
    }
}

/// Sets all that the database's owner may set; gives the values by name.
fn set_all(client: &mut Client, name: &str, extreme: Extreme) -> BTreeMap<String, String> {
    let settings = client
        .query(
            "SELECT name, vartype, boot_val, min_val, max_val, enumvals FROM pg_settings
             WHERE context = 'user' AND name NOT LIKE 'hiems.%'",
            &[],
        )
        .expect("pg_settings");
    client.batch_execute("SET ROLE owner").expect("the owner");
    let mut set = BTreeMap::new();
    for setting in &settings {
        let Some(value) = hostile(setting, extreme) else { continue };
        let parameter: &str = setting.get("name");
        let sql = format!("ALTER DATABASE {name} SET {parameter} = '{value}'");
        let sql = if matches!(parameter, "search_path" | "DateStyle") {
            sql.replace('\'', "")
        } else {
            sql
        };
        // Some cannot be set for a database, such as transaction_isolation.
        if client.batch_execute(&sql).is_ok() {
            set.insert(parameter.to_owned(), value);
        }
    }
    client
        .batch_execute(&format!("ALTER DATABASE {name} SET role = 'stranger'; RESET ROLE"))
        .expect("the role");
    set
}

fn id_of(client: &mut Client, sql: &str, wishes: &[(&str, &str)]) -> String {
    let options = directives(wishes);
    client.query_one(sql, &[&user_message("quokka"), &options]).expect(sql).get(0)
}

/// Calls of each form; gives how many generations there are more then.
fn calls_of_each_form(client: &mut Client, other: Client, database: &Database) -> usize {
    call(client, "{}").expect("an answer");
    call(client, &directives(&[("fake_status", "400")])).expect_err("a failure");
    client.batch_execute("BEGIN").expect("a begin");
    call(client, "{}").expect("an answer");
    client.batch_execute("ROLLBACK").expect("a rollback");
    let cancelled =
        Running::in_flight(database, other, &directives(&[("fake_delay_ms", "300")]), 1);
    client.execute("SELECT pg_cancel_backend($1)", &[&cancelled.pid]).expect("a signal");
    cancelled.end().1.expect_err("the cancel");
    client
        .query(
            "SELECT hiems.stream_prompt('openai/gpt-4o-mini', $1::text::jsonb)",
            &[&user_message("quokka")],
        )
        .expect("a stream");
    client
        .query(
            "SELECT * FROM hiems.submit_prompts(jsonb_build_array(
                 jsonb_build_object('model', 'openai/gpt-4o-mini', 'messages', $1::text::jsonb),
                 jsonb_build_object('model', 'openai/gpt-4o-mini', 'messages', $1::text::jsonb)))",
            &[&user_message("quokka")],
        )
        .expect("answers");
    let messages = user_message("quokka");
    client
        .batch_execute(&format!(
            "CALL hiems.submit_prompt_detached('openai/gpt-4o-mini', '{messages}')"
        ))
        .expect("an answer");
    let keyed = "SELECT hiems.submit_prompt('openai/gpt-4o-mini', $1::text::jsonb,
                     options => $2::text::jsonb, metadata => '{\"a\": [null, 1.50]}',
                     idempotency_key => gen_random_uuid()::text)::text";
    id_of(client, keyed, &[]);
    let queued = "SELECT hiems.enqueue_prompt('openai/gpt-4o-mini', $1::text::jsonb,
                      options => $2::text::jsonb, run_at => clock_timestamp() + interval '50 ms')::text";
    let refused = [("fake_429_times", "1"), ("fake_retry_after", "0")];
    for wishes in [&[][..], &refused] {
        let id = id_of(client, queued, wishes);
        client
            .query_one("SELECT hiems.await_prompt($1::text::uuid, '20 s')", &[&id])
            .expect("an answer");
    }
    9
}

#[test]
fn nothing_that_an_owner_may_set_changes_what_the_gateway_does() {
    let cluster = Cluster::start(&["autovacuum = off"]);
    let database = Database::on(&cluster, Config::default());
    let name = &database.name;
    database.set("hiems.notify", "coalesced");
    database.store_key();
    let mut client = database.admin();
    client
        .batch_execute(&format!(
            "CREATE ROLE owner LOGIN; CREATE ROLE stranger; ALTER DATABASE {name} OWNER TO owner;
             GRANT stranger TO owner;
             CREATE SCHEMA planted;
             CREATE FUNCTION planted.now() RETURNS timestamptz
                 LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''planted''; END';
             SELECT hiems.set_exchange_rate('USD', 10.5, current_date - 1, 'x')"
        ))
        .expect("an owner");
    let mut generations = 0;
    for extreme in [Extreme::Least, Extreme::Small, Extreme::Most] {
        // Sessions that were there before, as clients have them that set their own.
        let other = database.admin();
        let mut looker = database.admin();
        database.end_gateway();
        let set = set_all(&mut client, name, extreme);
        assert!(set.len() > 100, "{extreme:?}: {set:?}");
        generations += calls_of_each_form(&mut client, other, &database);
        wait_until("every call is booked", SOON, || {
            looker
                .query_one(
                    "SELECT NOT EXISTS (SELECT FROM hiems_private.calls)
                        AND NOT EXISTS (SELECT FROM hiems_private.queue)",
                    &[],
                )
                .is_ok_and(|row| row.get(0))
        });
        let bill: BTreeMap<String, String> =
            database.fake.bill().into_iter().map(|of| (of.id, of.cost)).collect();
        let rows = looker
            .query(
                "SELECT generation_id, cost_usd::text FROM hiems.ai_usage_logs
                 WHERE cost_source = 'billed' AND cost_sek = cost_usd * 10.5
                   AND created_at BETWEEN now() - interval '5 min' AND now()",
                &[],
            )
            .expect("the ledger");
        let booked: BTreeMap<String, String> =
            rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        assert_eq!(booked, bill, "{extreme:?}");
        assert!(bill.len() >= generations, "{extreme:?}");
        let findings = looker
            .query("SELECT name || ': ' || detail FROM hiems.health() WHERE status <> 'ok'", &[])
            .expect("its health");
        let findings: Vec<String> = findings.iter().map(|row| row.get(0)).collect();
        assert!(findings.iter().all(|finding| finding.starts_with("master_key")), "{findings:?}");
        client.batch_execute(&format!("ALTER DATABASE {name} RESET ALL")).expect("a reset");
        database.set("hiems.base_url", &database.fake.base_url());
        database.set("hiems.notify", "coalesced");
    }
    let log = cluster.log();
    let bytes: Vec<String> = "quokka".bytes().map(|byte| byte.to_string()).collect();
    for trace in ["quokka", &bytes.join(" "), "PLANNEDSTMT", "hiems_private.queue"] {
        let line = log.lines().find(|line| line.contains(trace));
        assert_eq!(line, None, "{trace} is in the log");
    }
}

/// The last three are a superuser's, or of libraries that a superuser loads.
#[test]
fn the_gateway_logs_no_prompt_whatever_is_to_be_logged() {
    let cluster = Cluster::start(&[
        "shared_preload_libraries = auto_explain",
        "auto_explain.log_min_duration = 0",
        "auto_explain.log_nested_statements = on",
        "log_statement = all",
        "log_min_duration_statement = 0",
        "log_executor_stats = on",
        "debug_print_plan = on",
        "debug_print_parse = on",
        "debug_print_rewritten = on",
    ]);
    let database = Database::on(&cluster, Config::default());
    database.set("hiems.log_content", "on");
    let silent = "-c debug_print_plan=off -c debug_print_parse=off -c debug_print_rewritten=off \
                  -c auto_explain.log_min_duration=-1 -c log_statement=none \
                  -c log_executor_stats=off -c log_min_duration_statement=-1";
    let mut config = database.config("postgres");
    let mut client = config.options(silent).connect(postgres::NoTls).expect("a connection");
    client.execute("SELECT hiems.set_api_key($1)", &[&hiems_tests::KEY]).expect("a key");
    let before = cluster.log().len();
    let other = config.connect(postgres::NoTls).expect("a connection");
    calls_of_each_form(&mut client, other, &database);
    let logged = "SELECT count(*) FROM hiems_private.content_logs WHERE request LIKE '%quokka%'";
    wait_until("what was asked is kept", SOON, || {
        client.query_one(logged, &[]).is_ok_and(|row| row.get::<_, i64>(0) >= 5)
    });
    let log = cluster.log().split_off(before);
    let bytes: Vec<String> = "quokka".bytes().map(|byte| byte.to_string()).collect();
    for trace in ["quokka", &bytes.join(" "), "PLANNEDSTMT", "{QUERY", "hiems_private.", "EXECUTOR"]
    {
        let line = log.lines().find(|line| line.contains(trace));
        assert_eq!(line, None, "{trace} is in the log");
    }
}
