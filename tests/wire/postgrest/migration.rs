//! The SQL of docs/migration.md brings old rows in, to the last digit, and each user sees its own.

use hiems_tests::ResultExt;
use serde_json::json;

use super::site::{Site, prompt};
use crate::readme::{blocks, statements};

const ADA: &str = "5b6c1a52-0b0e-4d0c-9d5c-0c5f0f3a1e11";

const OLD_ROWS: &str = "
    INSERT INTO public.ai_usage_logs (created_at, user_id, model, feature, prompt_tokens,
        completion_tokens, total_tokens, cost, status, error)
    SELECT '2025-03-01'::timestamptz + i * interval '1 hour',
           CASE i % 3 WHEN 0 THEN '5b6c1a52-0b0e-4d0c-9d5c-0c5f0f3a1e11'::uuid
                      WHEN 1 THEN '00000000-0000-4000-8000-000000000001' END,
           'openai/gpt-4o', 'chat', i, 2 * i, CASE i % 2 WHEN 0 THEN 3 * i END,
           CASE i % 5 WHEN 0 THEN NULL ELSE i * 0.0000123 END,
           CASE i % 7 WHEN 0 THEN 'failed' ELSE 'ok' END, CASE i % 7 WHEN 0 THEN 'no credits' END
    FROM generate_series(1, 300) AS i";

#[test]
fn old_rows_come_in_once_and_are_their_users() {
    let site = Site::new();
    let mut admin = site.database.admin();
    let blocks = blocks(include_str!("../../../docs/migration.md"));
    assert_eq!(blocks.len(), 5);
    let mut run = |block: usize| {
        for statement in statements(&blocks[block].sql) {
            admin.simple_query(statement).unwrap_or_else(|e| panic!("{statement}: {e:?}"));
        }
    };
    run(0);
    site.database.admin().batch_execute(OLD_ROWS).expect("old rows");
    run(1);
    // A second time brings nothing in.
    run(1);
    let compared = site.database.text(
        &format!(
            "SELECT concat_ws(' ', old_rows, new_rows, old_cost = new_cost) FROM ({}) AS q",
            statements(&blocks[2].sql)[0].trim_end_matches(';')
        ),
        &[],
    );
    assert_eq!(compared.as_deref(), Some("300 300 t"));
    let totals = "SELECT concat_ws(' ', calls, total_tokens, calls_without_cost, cost_usd)
                  FROM hiems.usage_totals";
    let expected = site.database.text(
        "SELECT concat_ws(' ', 300, sum(3 * i), 60, sum(i * 0.0000123) FILTER (WHERE i % 5 <> 0))
         FROM generate_series(1, 300) AS i",
        &[],
    );
    assert_eq!(site.database.text(totals, &[]), expected);
    // Each user sees its own, by the view of the old name too, and what it does next beside them.
    let ada = site.user(ADA);
    let own = site.get(&ada, "/my_usage_totals?select=calls");
    assert_eq!(own.body[0]["calls"], json!(100), "{own:?}");
    run(3);
    run(4);
    let authenticated = &site.roles.authenticated;
    site.database
        .admin()
        .batch_execute(&format!(
            "GRANT SELECT ON public.ai_usage_logs TO {authenticated};
             NOTIFY pgrst, 'reload schema'"
        ))
        .expect("a grant");
    assert_eq!(site.rpc(&ada, "submit_prompt", &prompt(&[])).status, 200);
    site.database.wait_until_booked();
    let mut client = site.database.connect(&site.roles.authenticator);
    let mut seen = |sub: &str| -> i64 {
        let mut request = client.transaction().expect("a transaction");
        request.batch_execute(&format!("SET LOCAL ROLE {authenticated}")).expect("a role");
        let claims = json!({"sub": sub}).to_string();
        request
            .execute("SELECT set_config('request.jwt.claims', $1, true)", &[&claims])
            .expect("claims");
        request.query_one("SELECT count(*) FROM public.ai_usage_logs", &[]).expect("rows").get(0)
    };
    // The correcting row was made for the oldest, which is the other user's.
    assert_eq!(seen(ADA), 101);
    assert_eq!(seen("00000000-0000-4000-8000-000000000001"), 101);
    assert_eq!(seen("eve"), 0);
    let all = site.database.count("public.ai_usage_logs");
    assert_eq!(all, 302);
}

/// Nobody but a superuser brings rows in.
#[test]
fn a_user_brings_no_rows_in() {
    let mut site = Site::new();
    let admin = site.database.role_with("admin");
    let mut client = site.database.connect(&admin);
    let insert = "INSERT INTO hiems.ai_usage_logs (id, created_at, principal, cost_usd, cost_source,
                      outcome, attempts, streamed, calls)
                  VALUES (gen_random_uuid(), now(), 'jwt:ada', 0, 'billed', 'recorded', 1, false, 1)";
    assert_eq!(client.execute(insert, &[]).sqlstate(), "42501");
    let service = site.service();
    let bearer = format!("Bearer {service}");
    let headers = [("Authorization", bearer.as_str()), ("Content-Profile", "hiems")];
    let answer = site.server.say("POST", "/ai_usage_logs", &headers, r#"{"principal": "jwt:ada"}"#);
    assert_eq!((answer.status, answer.text("code")), (403, "42501"), "{answer:?}");
    assert_eq!(site.database.count("hiems.ai_usage_logs"), 0);
}
