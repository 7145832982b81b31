//! Names and texts that try to be SQL.

use hiems_tests::{Database, KEY, ResultExt, SOON, wait_until};

use super::{call, users_seen};

/// Each ends a literal, an identifier or a statement early.
const INJECTIONS: [&str; 6] = [
    "'; DROP TABLE hiems.ai_usage_logs; --",
    "\"; DROP TABLE hiems.ai_usage_logs; --",
    "x') ON CONFLICT DO NOTHING; DROP TABLE hiems.ai_usage_logs; --",
    "$$; DROP TABLE hiems.ai_usage_logs; --",
    "\\'; DROP TABLE hiems.ai_usage_logs; --",
    "%s%n $1 {0} \u{1F980}",
];

#[test]
fn every_text_of_a_call_is_only_text() {
    let mut database = Database::new();
    let role = database.role_with("caller");
    let mut client = database.connect(&role);
    for text in INJECTIONS {
        let row = client
            .query_one(
                "SELECT hiems.submit_prompt('openai/gpt-4o-mini',
                     jsonb_build_array(jsonb_build_object('role', 'user', 'content', $1::text)),
                     $1, $1, $1, jsonb_build_object($1::text, $1::text)) ->> 'id'",
                &[&text],
            )
            .expect("an answer");
        let id: String = row.get(0);
        let booked = client
            .query_one(
                "SELECT user_id = $2 AND use_case = $2 AND session_id = $2
                        AND metadata = jsonb_build_object($2::text, $2::text)
                 FROM hiems.ai_usage_logs WHERE generation_id = $1",
                &[&id, &text],
            )
            .expect("a row");
        assert!(booked.get::<_, bool>(0), "{text}");
        client
            .query_one("SELECT hiems.complete($1, 'openai/gpt-4o-mini', $1, $1)", &[&text])
            .expect("an answer");
        // No model is called so; what it says is an error, and no SQL.
        let refused = client.query_one("SELECT hiems.complete('hello', $1)", &[&text]);
        assert!(refused.is_err(), "{text}");
    }
    // What was refused is booked soon after.
    database.wait_until_booked();
    assert_eq!(users_seen(&mut client).len(), 3 * INJECTIONS.len());
}

#[test]
fn every_text_of_the_administration_is_only_text() {
    let database = Database::without_key();
    let mut admin = database.admin();
    for text in INJECTIONS {
        for (sql, sqlstate) in [
            ("SELECT hiems.grant_access($1, 'caller')", "22023"),
            ("SELECT hiems.grant_access('postgres', $1)", "22023"),
            ("SELECT hiems.grant_user_access('u', $1)", "22023"),
            ("SELECT hiems.revoke_access('postgres', $1)", "22023"),
            ("SELECT hiems.set_api_key($1)", "22023"),
            ("SELECT hiems.set_api_key('sk-or-v1-x', 'k', $1)", "22023"),
            ("SELECT hiems.drop_api_key($1)", "PT404"),
            ("SELECT hiems.set_exchange_rate($1, 10, current_date, 's')", "22023"),
        ] {
            assert_eq!(admin.execute(sql, &[&text]).sqlstate(), sqlstate, "{sql} {text}");
        }
        for sql in [
            "SELECT hiems.grant_user_access($1, 'caller')",
            "SELECT hiems.revoke_access($1)",
            "SELECT hiems.set_api_key('sk-or-v1-x', $1)",
            "SELECT hiems.drop_api_key($1)",
            "SELECT hiems.set_exchange_rate('USD', 10, current_date, $1)",
        ] {
            admin.execute(sql, &[&text]).expect(sql);
        }
    }
    assert_eq!(database.count("hiems.ai_usage_logs"), 0);
    assert_eq!(database.count("hiems_private.access"), 0);
    assert_eq!(database.count("hiems_private.api_keys"), 0);
}

#[test]
fn a_role_with_an_odd_name_is_a_role() {
    let database = Database::new();
    let mut admin = database.admin();
    for (place, odd) in [
        "we\"ird role",
        "semi;colon--",
        "apos'trophe",
        "UPPER",
        "$1",
        "current_user",
        "\u{E5}\u{E4}\u{F6} \u{1F980}",
        "back\\slash",
    ]
    .into_iter()
    .enumerate()
    {
        let role = format!("{}_{place} {odd}", database.name);
        let quoted = role.replace('"', "\"\"");
        admin.batch_execute(&format!("CREATE ROLE \"{quoted}\" LOGIN")).expect("a role");
        let mut client = database.connect(&role);
        for level in ["caller", "reader", "admin"] {
            admin.execute("SELECT hiems.grant_access($1, $2)", &[&role, &level]).expect("a level");
        }
        call(&mut client, "").expect("an answer");
        let own = client
            .query_one(
                "SELECT count(*) FROM hiems.ai_usage_logs
                 WHERE user_id = $1 AND role_name = $1 AND principal = 'role:' || $1",
                &[&role],
            )
            .expect("the ledger");
        assert_eq!(own.get::<_, i64>(0), 1, "{role}");
        client.execute("SELECT hiems.set_api_key($1, 'odd')", &[&KEY]).expect("a key");
        let taken: bool = admin
            .query_one("SELECT hiems.revoke_access($1)", &[&role])
            .expect("a level is taken")
            .get(0);
        assert!(taken, "{role}");
        assert_eq!(call(&mut client, "").sqlstate(), "42501", "{role}");
        admin.batch_execute(&format!("DROP ROLE \"{quoted}\"")).expect("nothing of it is left");
    }
}

/// What a caller sets in its session is for its own statements.
#[test]
fn no_setting_of_a_session_changes_what_is_booked() {
    let mut database = Database::new();
    let role = database.role_with("caller");
    let admin_role = database.role_with("admin");
    for setting in [
        "DateStyle = 'German'",
        "DateStyle = 'SQL, DMY'",
        "TimeZone = 'Pacific/Apia'",
        "IntervalStyle = 'sql_standard'",
        "bytea_output = 'escape'",
        "extra_float_digits = -15",
        "standard_conforming_strings = off",
        "transform_null_equals = on",
        "quote_all_identifiers = on",
        "array_nulls = off",
        "row_security = off",
        "plan_cache_mode = 'force_generic_plan'",
        "plpgsql.extra_errors = 'all'",
        "enable_seqscan = off",
        "synchronous_commit = off",
        "default_transaction_isolation = 'serializable'",
        "hiems.reporting_time_zone = 'Pacific/Apia'",
    ] {
        let mut client = database.connect(&role);
        client.batch_execute(&format!("SET {setting}")).expect(setting);
        let id = call(&mut client, "").expect(setting);
        let bill = database.fake.generation(&id).expect("a generation");
        let booked = database.text(
            "SELECT concat_ws(' ', cost_usd = $2::text::numeric, prompt_tokens = $3,
                              completion_tokens = $4, principal, outcome, streamed,
                              created_at BETWEEN now() - interval '1 hour' AND now(),
                              booked_at BETWEEN created_at AND now())
             FROM hiems.ai_usage_logs WHERE generation_id = $1",
            &[&id, &bill.cost, &(bill.prompt_tokens as i64), &(bill.completion_tokens as i64)],
        );
        assert_eq!(booked, Some(format!("t t t role:{role} committed f t t")), "{setting}");
        let mut client = database.connect(&admin_role);
        client.batch_execute(&format!("SET {setting}")).expect(setting);
        client
            .batch_execute(
                "SELECT hiems.set_api_key('sk-or-v1-set-under-it');
                 SELECT hiems.set_exchange_rate('USD', 10.5, '2026-01-31', 'test')",
            )
            .expect(setting);
        call(&mut client, "").expect(setting);
    }
}

/// ALTER DATABASE reaches the gateway, too, and the database's owner need not be a superuser.
#[test]
fn no_setting_of_the_database_s_owner_changes_what_is_booked() {
    let mut database = Database::without_key();
    let (owner, role) = (database.role("owner"), database.role_with("caller"));
    let name = database.name.clone();
    let mut admin = database.admin();
    admin.batch_execute(&format!("ALTER DATABASE {name} OWNER TO {owner}")).expect("an owner");
    let mut client = database.connect(&owner);
    for setting in [
        format!("role = '{owner}'"),
        "search_path = 'public'".to_owned(),
        "DateStyle = 'German'".to_owned(),
        "IntervalStyle = 'sql_standard'".to_owned(),
        "TimeZone = 'Pacific/Apia'".to_owned(),
        "bytea_output = 'escape'".to_owned(),
        "extra_float_digits = -15".to_owned(),
        "standard_conforming_strings = off".to_owned(),
        "transform_null_equals = on".to_owned(),
        "array_nulls = off".to_owned(),
        "row_security = off".to_owned(),
        "client_encoding = 'LATIN1'".to_owned(),
        "synchronous_commit = off".to_owned(),
        "default_transaction_isolation = 'serializable'".to_owned(),
        "default_transaction_deferrable = on".to_owned(),
        "idle_in_transaction_session_timeout = 1".to_owned(),
        "lock_timeout = 1".to_owned(),
    ] {
        let set = format!("ALTER DATABASE {name} SET {setting}");
        client.batch_execute(&set).unwrap_or_else(|error| panic!("{setting}: {error:?}"));
    }
    // Where the key goes, and whose claims count, is not the owner's to say.
    for setting in ["base_url", "jwt_session_roles", "api_key_name", "master_key_file", "ca_file"] {
        let set = format!("ALTER DATABASE {name} SET hiems.{setting} = 'x'");
        assert_eq!(client.batch_execute(&set).sqlstate(), "42501", "{setting}");
    }
    admin.execute("SELECT hiems.set_api_key($1)", &[&KEY]).expect("a key");
    let mut client = database.connect(&role);
    client.batch_execute("RESET ROLE; SET ROLE NONE; SET row_security = on").expect("oneself");
    // This session would be ended, too, by what the owner says of idle transactions.
    client
        .batch_execute("SET idle_in_transaction_session_timeout = 0; SET lock_timeout = 0")
        .expect("time to think");
    let mut transaction = client.transaction().expect("a transaction");
    let id = call(&mut transaction, ", \"user\" => '\u{E5}'").expect("an answer");
    transaction.rollback().expect("a rollback");
    let committed = call(&mut client, "").expect("an answer");
    // A new session of the superuser's would be the owner's, too.
    wait_until("both calls are booked", SOON, || {
        let left = admin.query_one("SELECT count(*) FROM hiems_private.calls", &[]);
        left.expect("the journal").get::<_, i64>(0) == 0
    });
    for (id, outcome) in [(&id, "rolled_back"), (&committed, "committed")] {
        let bill = database.fake.generation(id).expect("a generation");
        let booked = admin
            .query_one(
                "SELECT concat_ws(' ', cost_usd = $2::text::numeric, principal, outcome,
                                  created_at BETWEEN now() - interval '1 hour' AND now())
                 FROM hiems.ai_usage_logs WHERE generation_id = $1",
                &[id, &bill.cost],
            )
            .expect("a row");
        assert_eq!(booked.get::<_, String>(0), format!("t role:{role} {outcome} t"));
    }
}
