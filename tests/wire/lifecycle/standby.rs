//! A standby shows the ledger and calls nobody; once promoted it works.

use hiems_tests::{Cluster, Config, Database, KEY, ResultExt, SOON, call, wait_until};

#[test]
fn a_standby_refuses_calls_until_it_is_promoted() {
    let cluster = Cluster::start(&[]);
    let database = Database::on(&cluster, Config::default());
    database.admin().execute("SELECT hiems.set_api_key($1)", &[&KEY]).expect("a key");
    call(&mut database.admin(), "{}").expect("an answer");
    database.wait_until_booked();
    let standby = cluster.standby();
    let mut client = standby.connect(&database.name, "postgres");
    let count = |client: &mut postgres::Client, from: &str| -> i64 {
        client.query_one(&format!("SELECT count(*) FROM {from}"), &[]).expect(from).get(0)
    };
    wait_until("the ledger is there", SOON, || count(&mut client, "hiems.ai_usage_logs") == 1);

    for sql in [
        "SELECT hiems.submit_prompt('openai/gpt-4o-mini', '[{\"role\": \"user\", \"content\": \"x\"}]')",
        "SELECT hiems.complete('x', 'openai/gpt-4o-mini')",
    ] {
        let refusal = client.query(sql, &[]).refusal();
        assert_eq!(refusal.sqlstate, "0A000", "{sql}");
        assert!(refusal.hint.contains("primary"), "{refusal:?}");
    }
    // What writes is refused, too, and starts no gateway.
    for sql in [
        "SELECT hiems.set_api_key('sk-or-v1-x1234567')",
        "SELECT hiems.drop_api_key('default')",
        "SELECT hiems.grant_access('postgres', 'caller')",
        "SELECT hiems.set_exchange_rate('USD', 10, current_date, 'x')",
        "SELECT hiems.rotate_master_key()",
        "SELECT hiems.adopt_api_keys()",
        "SELECT * FROM hiems.verify_api_key()",
    ] {
        let refusal = client.query(sql, &[]).refusal();
        assert!(["25006", "0A000"].contains(&&*refusal.sqlstate), "{sql}: {refusal:?}");
    }
    for view in ["usage_totals", "usage_by_model", "my_usage_daily", "calls"] {
        client.query(&format!("SELECT * FROM hiems.{view}"), &[]).expect(view);
    }
    let health = client
        .query_one("SELECT status, detail FROM hiems.health() WHERE name = 'gateway'", &[])
        .expect("health");
    assert_eq!(health.get::<_, &str>(0), "ok");
    assert!(health.get::<_, &str>(1).contains("standby"));
    let gateways = "pg_stat_activity WHERE backend_type = 'hiems gateway'";
    assert_eq!(count(&mut client, gateways), 0);

    client.execute("SELECT pg_promote()", &[]).expect("a promotion");
    call(&mut client, "{}").expect("an answer of the new primary");
    assert_eq!(count(&mut client, gateways), 1);
    assert_eq!(count(&mut client, "hiems.ai_usage_logs"), 2);
    assert_eq!(database.fake.requests().len(), 2);
}
