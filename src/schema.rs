//! The install script's order: each file of `sql/` requires the one before; functions come from the
//! Rust code between them.

use pgrx::extension_sql_file;

extension_sql_file!("../sql/00_schemas.sql", name = "00_schemas", bootstrap);
extension_sql_file!("../sql/10_access.sql", name = "10_access", requires = ["00_schemas"]);
extension_sql_file!("../sql/20_keys.sql", name = "20_keys", requires = ["10_access"]);
extension_sql_file!("../sql/30_calls.sql", name = "30_calls", requires = ["20_keys"]);
extension_sql_file!("../sql/35_queue.sql", name = "35_queue", requires = ["30_calls"]);
extension_sql_file!(
    "../sql/40_ledger.sql",
    name = "40_ledger",
    requires = ["35_queue", api::access::current_principal, api::access::has_level]
);
extension_sql_file!("../sql/50_rates.sql", name = "50_rates", requires = ["40_ledger"]);
extension_sql_file!("../sql/60_supabase.sql", name = "60_supabase", requires = ["50_rates"]);
extension_sql_file!(
    "../sql/80_views.sql",
    name = "80_views",
    requires = ["60_supabase", api::rates::reporting_time_zone, api::keys::list_api_keys]
);
extension_sql_file!("../sql/82_procedures.sql", name = "82_procedures", requires = ["80_views"]);
extension_sql_file!(
    "../sql/83_timeouts.sql",
    name = "83_timeouts",
    requires = [
        "82_procedures",
        api::prompt::submit_prompt,
        api::prompt::complete,
        api::extract::extract,
        api::batch::submit_prompts,
        api::stream::stream_prompt,
        api::answers::await_prompt,
        api::key_check::verify_api_key,
        api::settle::settle_now
    ]
);
extension_sql_file!("../sql/85_realtime.sql", name = "85_realtime", requires = ["83_timeouts"]);
extension_sql_file!("../sql/86_guards.sql", name = "86_guards", requires = ["85_realtime"]);
extension_sql_file!("../sql/87_comments.sql", name = "87_comments", requires = ["86_guards"]);
extension_sql_file!("../sql/90_grants_comments.sql", name = "90_grants_comments", finalize);

// pgrx wants to know the schemas that functions name; `00_schemas.sql` has made them by then.
#[pgrx::pg_schema]
mod hiems {}
#[pgrx::pg_schema]
mod hiems_private {}
