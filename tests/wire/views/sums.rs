//! Sums over calls of every kind.

use hiems_tests::Database;

use super::{call, rows};

/// Calls that differ in all that the views tell apart.
fn used() -> Database<'static> {
    // What is not known stays so.
    let database = Database::with("hiems.settlement_timeout", "0");
    let mut client = database.admin();
    let (mini, sonnet) = ("openai/gpt-4o-mini", "anthropic/claude-sonnet-4.5");
    // The first ones are from before there was a rate.
    call(&mut client, mini, "ada", None, &[("fake_cost", "4.2e-7")]);
    call(&mut client, mini, "ada", Some("chat"), &[("fake_cost", "0.1")]);
    client
        .execute("SELECT hiems.set_exchange_rate('USD', 10.4521, current_date - 1, 'test')", &[])
        .expect("a rate");
    call(&mut client, mini, "bea", Some("chat"), &[("fake_cost", "0.2")]);
    call(&mut client, sonnet, "bea", Some("search"), &[("fake_cost", "0.0076509169000000005")]);
    call(&mut client, sonnet, "cia", None, &[]);
    call(&mut client, "acme/thinker-7b", "cia", None, &[("fake_cost", "100")]);
    call(&mut client, mini, "bea", Some("chat"), &[("fake_no_usage", "true")]);
    call(&mut client, mini, "bea", None, &[("fake_byok", "true")]);
    call(&mut client, sonnet, "cia", None, &[("fake_byok", "true")]);
    call(&mut client, sonnet, "cia", None, &[("fake_status", "402")]);
    call(&mut client, sonnet, "ada", Some("chat"), &[("fake_status", "429")]);
    client.batch_execute("BEGIN").expect("a transaction");
    call(&mut client, mini, "dan", Some("undone"), &[("fake_cost", "0.3")]);
    client.batch_execute("ROLLBACK").expect("a rollback");
    database.wait_until_booked();
    database
}

/// What every view of sums must say of the rows of a group, straight from the ledger's rows; in
/// another way than the views say it.
const SUMS: &str = "
    (SELECT count(*) FROM unnest(a) AS l WHERE l.calls = 1)                          AS calls,
    (SELECT sum(l.prompt_tokens)::bigint FROM unnest(a) AS l)                        AS prompt_tokens,
    (SELECT sum(l.completion_tokens)::bigint FROM unnest(a) AS l)                    AS completion_tokens,
    (SELECT sum(l.total_tokens)::bigint FROM unnest(a) AS l)                         AS total_tokens,
    (SELECT sum(l.cost_usd) FROM unnest(a) AS l)                                     AS cost_usd,
    (SELECT sum(l.cost_sek) FROM unnest(a) AS l)                                     AS cost_sek,
    (SELECT count(*) FROM unnest(a) AS l WHERE l.cost_source = 'unknown')            AS calls_without_cost,
    (SELECT count(*) FROM unnest(a) AS l
     WHERE l.cost_source <> 'unknown' AND l.cost_sek IS NULL)                        AS calls_without_rate,
    (SELECT count(*) FROM unnest(a) AS l WHERE l.outcome = 'failed')                 AS failed_calls";

fn grouped(by: &str, more: &str) -> String {
    format!(
        "SELECT {by}, {SUMS}{more}
         FROM (SELECT {by}, array_agg(l) AS a FROM hiems.ai_usage_logs AS l GROUP BY 1) AS g"
    )
}

#[test]
fn each_view_of_sums_is_the_ledger_s_sum() {
    let database = used();
    let mut client = database.admin();
    for (view, sum) in [
        (
            "usage_by_model",
            grouped("model", "").replace(
                "(SELECT model,",
                "(SELECT CASE WHEN l.model IS NULL THEN l.model_requested ELSE l.model END AS model,",
            ),
        ),
        (
            "usage_by_use_case",
            grouped("use_case", "").replace(
                "(SELECT use_case,",
                "(SELECT CASE WHEN l.use_case IS NULL THEN 'unspecified' ELSE l.use_case END
                     AS use_case,",
            ),
        ),
        ("usage_by_user", grouped("user_id", "")),
    ] {
        let seen = rows(&mut client, &format!("SELECT * FROM hiems.{view}"));
        assert_eq!(seen, rows(&mut client, &sum), "{view}");
        assert!(seen.len() >= 3, "{view}");
    }
    let totals = grouped(
        "1",
        ", (SELECT sum(l.cached_tokens)::bigint FROM unnest(a) AS l)               AS cached_tokens,
           (SELECT sum(l.cache_write_tokens)::bigint FROM unnest(a) AS l)          AS cache_write_tokens,
           (SELECT sum(l.reasoning_tokens)::bigint FROM unnest(a) AS l)            AS reasoning_tokens,
           (SELECT sum(CASE WHEN l.is_byok THEN l.upstream_cost_usd END) FROM unnest(a) AS l)
                                                                                   AS byok_upstream_cost_usd,
           (SELECT l.created_at FROM unnest(a) AS l ORDER BY 1 LIMIT 1)            AS first_call_at,
           (SELECT l.created_at FROM unnest(a) AS l ORDER BY 1 DESC LIMIT 1)       AS last_call_at",
    )
    .replace("SELECT 1, \n", "SELECT \n");
    let mut expected = rows(&mut client, &totals);
    expected[0].remove("?column?");
    assert_eq!(rows(&mut client, "SELECT * FROM hiems.usage_totals"), expected);
}

/// And the ledger's sum is the bill: each literal token, added up exactly.
#[test]
fn the_totals_are_the_bill() {
    let database = used();
    let bill = database.fake.bill();
    let costs: Vec<&str> = bill
        .iter()
        // Billed, and never said: the ledger cannot know.
        .filter(|generation| {
            !(generation.user.as_deref() == Some("bea") && is_unsaid(&database, generation))
        })
        .map(|generation| generation.cost.as_str())
        .collect();
    assert_eq!(costs.len(), bill.len() - 1);
    let seen = database
        .admin()
        .query_one(
            "SELECT cost_usd::text, calls::text, calls_without_cost::text, calls_without_rate::text,
                    failed_calls::text, byok_upstream_cost_usd::text
             FROM hiems.usage_totals",
            &[],
        )
        .expect("totals");
    let sum = |tokens: &[&str]| {
        database
            .admin()
            .query_one("SELECT sum(t::numeric)::text FROM unnest($1::text[]) AS t", &[&tokens])
            .expect("a sum")
            .get::<_, String>(0)
    };
    assert_eq!(seen.get::<_, String>(0), sum(&costs));
    assert!(seen.get::<_, String>(0).len() > 20, "exact to the last digit");
    // 10 that were answered, and 2 refusals.
    assert_eq!(seen.get::<_, String>(1), "12");
    assert_eq!(seen.get::<_, String>(2), "1");
    assert_eq!(seen.get::<_, String>(3), "2");
    assert_eq!(seen.get::<_, String>(4), "2");
    let upstream: Vec<&str> = bill
        .iter()
        .filter(|generation| generation.is_byok)
        .filter_map(|generation| generation.upstream_cost.as_deref())
        .collect();
    assert_eq!(upstream.len(), 2);
    assert_eq!(seen.get::<_, String>(5), sum(&upstream));

    let sek = database.text(
        "SELECT (SELECT cost_sek FROM hiems.usage_totals)::text || ' ' ||
                (SELECT sum(cost_usd * 10.4521) FROM hiems.ai_usage_logs
                 WHERE usd_sek_rate IS NOT NULL)::text",
        &[],
    );
    let sek = sek.expect("sums");
    let (view, own) = sek.split_once(' ').expect("two");
    assert_eq!(view, own);
}

fn is_unsaid(database: &Database, generation: &hiems_tests::Generation) -> bool {
    database
        .text(
            "SELECT cost_usd::text FROM hiems.ai_usage_logs WHERE generation_id = $1",
            &[&generation.id],
        )
        .is_none()
}
