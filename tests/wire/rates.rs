//! SEK beside USD.

use hiems_tests::{Database, ResultExt, call, directives};
use postgres::Client;
use serde_json::{Value, json};

/// Sets SEK per USD for the day that is `days` after today, as days are reported.
fn set_rate(client: &mut Client, rate: &str, days: i32, source: &str) {
    client
        .execute(
            "SELECT hiems.set_exchange_rate('USD', $1::text::numeric,
                 (now() AT TIME ZONE hiems.reporting_time_zone())::date + $2::integer, $3)",
            &[&rate, &days, &source],
        )
        .expect("a rate");
}

fn cost(token: &str) -> String {
    directives(&[("fake_cost", token)])
}

#[test]
fn what_is_no_rate_is_refused() {
    let database = Database::new();
    let mut client = database.admin();
    let cases = [
        "NULL, 10.45, '2026-11-24', 'x'",
        "'USD', NULL, '2026-11-24', 'x'",
        "'USD', 10.45, NULL, 'x'",
        "'USD', 10.45, '2026-11-24', NULL",
        "'usd', 10.45, '2026-11-24', 'x'",
        "'US', 10.45, '2026-11-24', 'x'",
        "'USDT', 10.45, '2026-11-24', 'x'",
        "'US1', 10.45, '2026-11-24', 'x'",
        "' USD', 10.45, '2026-11-24', 'x'",
        "'', 10.45, '2026-11-24', 'x'",
        "'USD', 0, '2026-11-24', 'x'",
        "'USD', -10.45, '2026-11-24', 'x'",
        "'USD', 'NaN', '2026-11-24', 'x'",
        "'USD', 'Infinity', '2026-11-24', 'x'",
        "'USD', '-Infinity', '2026-11-24', 'x'",
        "'USD', 1000000000, '2026-11-24', 'x'",
        "'USD', 10.45, '2026-11-24', ''",
        "'USD', 10.45, '2026-11-24', '  '",
        "'USD', 10.45, '2026-11-24', repeat('x', 513)",
        "'USD', 10.45, 'infinity', 'x'",
        "'USD', 10.45, '-infinity', 'x'",
        "'SEK', 1, '2026-11-24', 'x'",
    ];
    for arguments in cases {
        let refusal = client
            .query_one(&format!("SELECT hiems.set_exchange_rate({arguments})"), &[])
            .refusal();
        assert_eq!(refusal.sqlstate, "22023", "{arguments}: {refusal:?}");
        assert_ne!(refusal.detail, "", "{arguments}: {refusal:?}");
    }
    assert_eq!(database.count("hiems_private.exchange_rates"), 0);
}

#[test]
fn only_an_admin_sets_rates() {
    let mut database = Database::new();
    let set = "SELECT hiems.set_exchange_rate('USD', 10.45, '2026-11-24', 'Riksbanken')";
    for level in ["caller", "reader", "service"] {
        let role = database.role_with(level);
        let mut client = database.connect(&role);
        assert_eq!(client.query_one(set, &[]).sqlstate(), "42501", "{level}");
        database
            .admin()
            .batch_execute(&format!("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA hiems TO {role}"))
            .expect("a grant");
        assert_eq!(client.query_one(set, &[]).sqlstate(), "42501", "{level}");
        let written = client.execute(
            "INSERT INTO hiems_private.exchange_rates (currency, rate_date, sek_per_unit, source)
             VALUES ('USD', '2026-11-24', 1, 'x')",
            &[],
        );
        assert_eq!(written.sqlstate(), "42501", "{level}");
    }
    assert_eq!(database.count("hiems_private.exchange_rates"), 0);
    let admin = database.role_with("admin");
    database.connect(&admin).query_one(set, &[]).expect("a rate");
    assert_eq!(database.count("hiems_private.exchange_rates"), 1);
}

#[test]
fn the_newest_rate_that_is_not_after_the_day_counts() {
    let database = Database::new();
    let mut client = database.admin();
    set_rate(&mut client, "9.1", -10, "old");
    set_rate(&mut client, "10.4521", -2, "Riksbanken");
    set_rate(&mut client, "9.9", -3, "older");
    set_rate(&mut client, "99", 2, "future");
    client
        .batch_execute("SELECT hiems.set_exchange_rate('EUR', 11.5, current_date - 1, 'euro')")
        .expect("a rate");
    call(&mut client, &cost("0.0076509169000000005")).expect("an answer");
    let row = client
        .query_one(
            "SELECT cost_sek::text, usd_sek_rate::text, rate_source, cost_usd::text,
                    cost_sek = cost_usd * usd_sek_rate,
                    rate_date = (now() AT TIME ZONE hiems.reporting_time_zone())::date - 2
             FROM hiems.ai_usage_logs",
            &[],
        )
        .expect("one ledger row");
    assert_eq!(row.get::<_, &str>(0), "0.07996814853049000522605");
    assert_eq!(row.get::<_, &str>(1), "10.4521");
    assert_eq!(row.get::<_, &str>(2), "Riksbanken");
    assert_eq!(row.get::<_, &str>(3), "0.0076509169000000005");
    assert!(row.get::<_, bool>(4), "the product is exact");
    assert!(row.get::<_, bool>(5), "the rate's day");
    // The day's own rate is not after it.
    set_rate(&mut client, "10.5", 0, "today");
    call(&mut client, &cost("4.2e-7")).expect("an answer");
    let row = database.ledger().remove(1);
    assert_eq!(row["rate_source"], "today");
    assert_eq!(row["cost_sek"].to_string(), "0.000004410");
    let sum = database.text("SELECT cost_sek::text FROM hiems.usage_totals", &[]);
    assert_eq!(sum.as_deref(), Some("0.07997255853049000522605"));
}

#[test]
fn without_a_rate_there_is_no_sek_and_it_is_counted() {
    let database = Database::new();
    let mut client = database.admin();
    set_rate(&mut client, "99", 2, "future");
    call(&mut client, &cost("0.25")).expect("an answer");
    let row = database.ledger().remove(0);
    assert_eq!(row["cost_usd"].to_string(), "0.25");
    for unknown in ["cost_sek", "usd_sek_rate", "rate_date", "rate_source"] {
        assert_eq!(row[unknown], Value::Null, "{unknown}");
    }
    let totals = "
        SELECT concat_ws(' ', calls, cost_usd, coalesce(cost_sek::text, 'NULL'),
                         calls_without_rate, calls_without_cost)
        FROM hiems.usage_totals";
    assert_eq!(database.text(totals, &[]).as_deref(), Some("1 0.25 NULL 1 0"));
    set_rate(&mut client, "10", -1, "Riksbanken");
    call(&mut client, &cost("0.75")).expect("an answer");
    assert_eq!(database.text(totals, &[]).as_deref(), Some("2 1.00 7.50 1 0"));
    // What has no cost lacks no rate.
    call(&mut client, &directives(&[("fake_no_usage", "true")])).expect("an answer");
    assert_eq!(database.text(totals, &[]).as_deref(), Some("3 1.00 7.50 1 1"));
}

#[test]
fn a_new_rate_for_a_day_leaves_booked_rows_alone() {
    let database = Database::new();
    let mut client = database.admin();
    set_rate(&mut client, "10", -1, "first");
    call(&mut client, &cost("0.5")).expect("an answer");
    set_rate(&mut client, "11", -1, "second");
    call(&mut client, &cost("0.5")).expect("an answer");
    let rows: Vec<_> = database
        .ledger()
        .iter()
        .map(|row| {
            let text = |column: &str| row[column].to_string();
            [text("usd_sek_rate"), text("cost_sek"), text("rate_source")]
        })
        .collect();
    assert_eq!(rows[0], ["10", "5.0", "\"first\""]);
    assert_eq!(rows[1], ["11", "5.5", "\"second\""]);
    assert_eq!(database.count("hiems_private.exchange_rates"), 1);
}

#[test]
fn every_row_has_its_rate_whatever_became_of_the_call() {
    let database = Database::new();
    let mut client = database.admin();
    set_rate(&mut client, "10.4521", -1, "Riksbanken");
    client.batch_execute("BEGIN").expect("a begin");
    call(&mut client, &cost("0.5")).expect("an answer");
    client.batch_execute("ROLLBACK").expect("a rollback");
    let failed = call(&mut client, &directives(&[("fake_status", "402")]));
    assert_eq!(failed.sqlstate(), "PT402");
    database.wait_until_booked();
    let rows = database.ledger();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0]["outcome"], "rolled_back");
    assert_eq!(rows[0]["cost_sek"].to_string(), "5.22605");
    assert_eq!(rows[1]["outcome"], "failed");
    assert_eq!(rows[1]["cost_sek"].to_string(), "0.0000");
    for row in &rows {
        assert_eq!(row["usd_sek_rate"].to_string(), "10.4521");
        assert_eq!(row["rate_source"], json!("Riksbanken"));
    }
}

// At any moment it is another day 14 hours east of Greenwich than 12 hours west of it.
#[test]
fn the_day_is_the_reporting_time_zones() {
    for (zone, rate) in [("Etc/GMT-14", json!(10)), ("Etc/GMT+12", Value::Null)] {
        let database = Database::without_key();
        database.set("hiems.reporting_time_zone", zone);
        let mut client = database.admin();
        client
            .batch_execute(
                "SELECT hiems.set_api_key('sk-or-v1-x');
                 SELECT hiems.set_exchange_rate(
                     'USD', 10, (now() AT TIME ZONE 'Etc/GMT-14')::date, 'Riksbanken')",
            )
            .expect("a rate");
        call(&mut client, &cost("0.5")).expect("an answer");
        assert_eq!(database.ledger()[0]["usd_sek_rate"], rate, "{zone}");
    }
}
