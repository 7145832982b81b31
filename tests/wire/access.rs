//! Who may do what: nothing without a level, what the level says with one, own rows only.

mod attempts;
mod closed;
mod grants;
mod hostile;
mod injection;
mod levels;
mod maintained;
mod planted;
mod random;
mod renamed;
mod sight;
mod token_grants;
mod tokens;
mod wrappers;

use hiems_tests::{Database, user_message};
use postgres::{Client, Error, GenericClient};

/// What every level may run; nothing in it costs, tells or changes anything.
const HARMLESS: &str =
    "('current_principal', 'current_user_id', 'has_level', 'list_api_keys', 'reporting_time_zone')";
const MY_VIEWS: [&str; 3] = ["my_usage_totals", "my_usage_by_model", "my_usage_daily"];
const REPORTS: [&str; 6] = [
    "usage_totals",
    "usage_by_model",
    "usage_by_use_case",
    "usage_by_user",
    "usage_daily",
    "model_statistics",
];

/// A call; `more` are further arguments of submit_prompt in SQL, such as `, "user" => 'u1'`.
fn call(client: &mut impl GenericClient, more: &str) -> Result<String, Error> {
    let sql =
        format!("SELECT hiems.submit_prompt('openai/gpt-4o-mini', $1::text::jsonb{more}) ->> 'id'");
    Ok(client.query_one(&sql, &[&user_message("hello")])?.get(0))
}

/// One value out of one row.
fn text(client: &mut impl GenericClient, sql: &str) -> Option<String> {
    client.query_one(sql, &[]).expect(sql).get(0)
}

fn count(client: &mut impl GenericClient, from: &str) -> Result<i64, Error> {
    let row = client.query_one(&format!("SELECT count(*) FROM {from}"), &[])?;
    Ok(row.get(0))
}

/// The users of the ledger's rows that this session sees, in order.
fn users_seen(client: &mut impl GenericClient) -> Vec<String> {
    client
        .query("SELECT user_id FROM hiems.ai_usage_logs ORDER BY user_id", &[])
        .expect("the ledger can be read")
        .iter()
        .map(|row| row.get(0))
        .collect()
}

/// A statement for each function of these schemas, that calls it; those named in `but` are left out.
/// From the catalog, so that new functions are tested too.
fn calls_of_functions(admin: &mut Client, schemas: &[&str], but: &str) -> Vec<String> {
    statements(
        admin,
        &format!(
            "SELECT format('%s %s(%s)', CASE prokind WHEN 'p' THEN 'CALL' ELSE 'SELECT' END,
                           p.oid::regproc,
                           (SELECT string_agg(CASE type WHEN 'text'::regtype THEN '''x'''
                                              ELSE 'NULL::' || format_type(type, NULL) END,
                                              ', ' ORDER BY place)
                            FROM unnest(proargtypes::oid[]) WITH ORDINALITY AS a (type, place)))
             FROM pg_proc AS p
             WHERE pronamespace::regnamespace::text = ANY ($1) AND proname NOT IN {but}
             ORDER BY 1"
        ),
        schemas,
    )
}

/// A statement for each table and view of these schemas, that reads it.
fn reads_of_relations(admin: &mut Client, schemas: &[&str]) -> Vec<String> {
    statements(
        admin,
        "SELECT format('SELECT count(*) FROM %s', oid::regclass)
         FROM pg_class
         WHERE relnamespace::regnamespace::text = ANY ($1) AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
         ORDER BY 1",
        schemas,
    )
}

fn statements(admin: &mut Client, sql: &str, schemas: &[&str]) -> Vec<String> {
    let found: Vec<String> =
        admin.query(sql, &[&schemas]).expect("the catalog").iter().map(|row| row.get(0)).collect();
    assert!(found.len() >= 8, "{found:?}");
    found
}

/// A database with a row of the superuser's, a caller and its row.
fn with_two_rows() -> (Database<'static>, Client) {
    let mut database = Database::new();
    call(&mut database.admin(), ", \"user\" => 'somebody'").expect("an answer");
    let role = database.role_with("caller");
    let mut caller = database.connect(&role);
    call(&mut caller, ", \"user\" => 'mine'").expect("an answer");
    database.wait_until_booked();
    (database, caller)
}
