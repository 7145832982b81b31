//! ALTER DATABASE and ALTER ROLE reach the gateway's session, too: none of it weakens it.

use std::time::Duration;

use hiems_tests::{Cluster, Config, Database, KEY, SOON, call, postgresql_version, wait_until};

/// What would lose rows, hold up calls, or run somebody else's code.
const HOSTILE: [(&str, &str); 16] = [
    ("synchronous_commit", "remote_apply"),
    ("default_transaction_read_only", "on"),
    ("default_transaction_isolation", "serializable"),
    ("default_transaction_deferrable", "on"),
    ("statement_timeout", "'1ms'"),
    ("lock_timeout", "'1ms'"),
    ("idle_in_transaction_session_timeout", "'1ms'"),
    ("idle_session_timeout", "'1ms'"),
    ("session_replication_role", "replica"),
    ("search_path", "planted, pg_catalog"),
    ("row_security", "off"),
    ("exit_on_error", "on"),
    ("standard_conforming_strings", "off"),
    ("transform_null_equals", "on"),
    ("DateStyle", "German"),
    ("log_min_error_statement", "debug5"),
];

#[test]
fn settings_of_a_database_or_role_do_not_weaken_the_gateway() {
    // A synchronous standby that does not exist: commits that wait for it wait for ever.
    let cluster =
        Cluster::start(&["synchronous_standby_names = 'nobody'", "synchronous_commit = local"]);
    let database = Database::on(&cluster, Config::default());
    let name = &database.name;
    let mut admin = database.admin();
    admin
        .batch_execute(
            "CREATE SCHEMA planted;
             CREATE FUNCTION planted.jsonb_populate_record(anyelement, jsonb) RETURNS anyelement
                 LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''planted''; END';
             CREATE FUNCTION planted.now() RETURNS timestamptz
                 LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''planted''; END'",
        )
        .expect("plants");
    let mut hostile = HOSTILE.to_vec();
    if postgresql_version().parse::<u32>().expect("a number") >= 17 {
        hostile.push(("transaction_timeout", "'1ms'"));
    }
    for (setting, value) in &hostile {
        for of in [format!("DATABASE {name}"), "ROLE postgres".to_owned()] {
            admin.batch_execute(&format!("ALTER {of} SET {setting} = {value}")).expect(setting);
        }
    }
    // A client with a session of its own choice.
    let mut config = cluster.config(name, "postgres");
    let sane: Vec<String> = hostile
        .iter()
        .map(|(setting, _)| {
            let value = match *setting {
                "synchronous_commit" => "local",
                "default_transaction_isolation" => "read\\ committed",
                "session_replication_role" => "origin",
                "search_path" => "public",
                "row_security" | "standard_conforming_strings" => "on",
                "DateStyle" => "ISO",
                "log_min_error_statement" => "error",
                name if name.ends_with("timeout") => "0",
                _ => "off",
            };
            format!("-c {setting}={value}")
        })
        .collect();
    config.options(&sane.join(" "));
    let mut client = config.connect(postgres::NoTls).expect("a connection");
    let mut listener = config.connect(postgres::NoTls).expect("a connection");
    listener.batch_execute("LISTEN hiems_usage").expect("a listener");

    client.execute("SELECT hiems.set_api_key($1)", &[&KEY]).expect("a key");
    client
        .execute("SELECT hiems.set_exchange_rate('USD', 10.5, current_date - 1, 'x')", &[])
        .expect("a rate");
    call(&mut client, "{}").expect("an answer");
    client.batch_execute("BEGIN").expect("a begin");
    call(&mut client, "{}").expect("an answer");
    client.batch_execute("ROLLBACK").expect("a rollback");
    wait_until("both are booked", SOON, || {
        client
            .query_one("SELECT count(*) = 2 FROM hiems.ai_usage_logs", &[])
            .is_ok_and(|row| row.get(0))
    });
    let rows = client
        .query(
            "SELECT outcome, cost_usd::text, cost_sek = cost_usd * 10.5, booked_xid IS NOT NULL
             FROM hiems.ai_usage_logs ORDER BY created_at",
            &[],
        )
        .expect("the ledger");
    let bill = database.fake.bill();
    for (row, (outcome, generation)) in
        rows.iter().zip(["committed", "rolled_back"].iter().zip(&bill))
    {
        assert_eq!(row.get::<_, String>(0), *outcome);
        assert_eq!(row.get::<_, String>(1), generation.cost);
        assert!(row.get::<_, bool>(2), "the rate applies");
        assert!(row.get::<_, bool>(3), "the trigger has run");
    }
    // session_replication_role = replica would have kept the gateway's rows silent.
    let mut heard = 0;
    wait_until("both rows were told of", SOON, || {
        use postgres::fallible_iterator::FallibleIterator;
        let mut notifications = listener.notifications();
        let mut messages = notifications.timeout_iter(Duration::from_millis(100));
        while let Ok(Some(_)) = messages.next() {
            heard += 1;
        }
        heard == 2
    });
}
