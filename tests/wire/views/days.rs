//! Days are those of `hiems.reporting_time_zone`.

use hiems_tests::{Database, ResultExt};
use postgres::Client;

use super::{insert, rows};

const STOCKHOLM: &str = "Europe/Stockholm";

/// One call at each time, the first of 1 USD, the next of 2, then 4: every sum is of one set of calls.
fn at(times: &[&str]) -> Database<'static> {
    let database = Database::without_key();
    for (place, time) in times.iter().enumerate() {
        insert(
            &database,
            "created_at, model, user_id, principal, cost_usd, total_tokens, cost_source, outcome, calls",
            &format!(
                "'{time}', 'm', 'u', 'role:postgres', {}, 10, 'billed', 'committed', 1",
                1 << place
            ),
        );
    }
    database
}

fn days(client: &mut Client, view: &str) -> Vec<String> {
    rows(client, &format!("SELECT day, calls, cost_usd FROM hiems.{view}"))
        .iter()
        .map(|row| {
            let value = |column: &str| row[column].clone().unwrap_or_default();
            format!("{} {} {}", value("day"), value("calls"), value("cost_usd"))
        })
        .collect()
}

#[track_caller]
fn assert_days(database: &Database, zone: &str, expected: &[&str]) {
    let mut client = database.admin();
    client
        .batch_execute(&format!("LOAD 'hiems'; SET hiems.reporting_time_zone = '{zone}'"))
        .expect("a zone");
    for view in ["usage_daily", "my_usage_daily"] {
        assert_eq!(days(&mut client, view), expected, "{view} in {zone}");
        // The client's own TimeZone is for showing times, and moves no call to another day.
        client.batch_execute("SET TimeZone = 'Pacific/Apia'").expect("a zone");
        assert_eq!(days(&mut client, view), expected, "{view} in {zone}");
        client.batch_execute("RESET TimeZone").expect("a zone");
    }
}

#[test]
fn midnight_parts_two_days() {
    let database = at(&[
        "2026-01-15 22:59:59.999999+00",
        "2026-01-15 23:00:00+00",
        "2026-01-15 23:59:59.999999+00",
        "2026-01-16 00:00:00+00",
        "2026-01-16 22:59:59.999999+00",
        "2026-01-16 23:00:00+00",
    ]);
    assert_days(&database, STOCKHOLM, &["2026-01-15 1 1", "2026-01-16 4 30", "2026-01-17 1 32"]);
    assert_days(&database, "UTC", &["2026-01-15 3 7", "2026-01-16 3 56"]);
    assert_days(&database, "Asia/Kathmandu", &["2026-01-16 4 15", "2026-01-17 2 48"]);
    assert_days(&database, "America/St_Johns", &["2026-01-15 4 15", "2026-01-16 2 48"]);
}

/// Clocks go forward on 2026-03-29, a day of 23 hours, and back on 2026-10-25, one of 25.
#[test]
fn the_days_of_the_clock_change_are_whole() {
    let spring = at(&[
        "2026-03-28 22:59:59.999999+00",
        "2026-03-28 23:00:00+00",
        "2026-03-29 21:59:59.999999+00",
        "2026-03-29 22:00:00+00",
    ]);
    assert_days(&spring, STOCKHOLM, &["2026-03-28 1 1", "2026-03-29 2 6", "2026-03-30 1 8"]);
    let autumn = at(&[
        "2026-10-24 21:59:59.999999+00",
        "2026-10-24 22:00:00+00",
        // The hour that is there twice.
        "2026-10-25 00:30:00+00",
        "2026-10-25 01:30:00+00",
        "2026-10-25 22:59:59.999999+00",
        "2026-10-25 23:00:00+00",
    ]);
    assert_days(&autumn, STOCKHOLM, &["2026-10-24 1 1", "2026-10-25 4 30", "2026-10-26 1 32"]);
}

#[test]
fn without_a_setting_it_is_the_database_s_time_zone() {
    let database = at(&["2026-01-15 23:30:00+00"]);
    database
        .admin()
        .batch_execute(&format!("ALTER DATABASE {} SET TimeZone = 'Asia/Tokyo'", database.name))
        .expect("a zone");
    let mut client = database.admin();
    client.batch_execute("SET TimeZone = 'America/New_York'").expect("a zone");
    assert_eq!(days(&mut client, "usage_daily"), ["2026-01-16 1 1"]);
    database.set("hiems.reporting_time_zone", "UTC");
    assert_eq!(days(&mut database.admin(), "usage_daily"), ["2026-01-15 1 1"]);
}

#[test]
fn a_zone_that_is_none_is_said_to_be_so() {
    let database = at(&["2026-01-15 23:30:00+00"]);
    let mut client = database.admin();
    let set =
        client.batch_execute("LOAD 'hiems'; SET hiems.reporting_time_zone = 'Europe/Nowhere'");
    if set.is_ok() {
        let read = client.query("SELECT * FROM hiems.usage_daily", &[]);
        assert_eq!(read.sqlstate(), "22023");
    } else {
        assert_eq!(set.sqlstate(), "22023");
    }
}
