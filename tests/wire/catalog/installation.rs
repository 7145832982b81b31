//! Made, dropped and made again; never over what is somebody else's.

use hiems_tests::{Database, KEY, ResultExt, user_message};

#[test]
fn the_extension_is_dropped_and_made_again() {
    let mut database = Database::new();
    let role = database.role_with("caller");
    let call = |database: &Database| {
        database.admin().query_one(
            "SELECT hiems.submit_prompt('openai/gpt-4o-mini', $1::text::jsonb)::text",
            &[&user_message("hello")],
        )
    };
    call(&database).expect("an answer");
    for _ in 0..3 {
        database
            .admin()
            .batch_execute("SET hiems.allow_drop = on; DROP EXTENSION hiems")
            .expect("it is dropped, with its gateway at work and rights given");
        let left = database
            .text("SELECT count(*)::text FROM pg_namespace WHERE nspname LIKE 'hiems%'", &[]);
        assert_eq!(left.as_deref(), Some("0"));
        database.admin().batch_execute("CREATE EXTENSION hiems").expect("it is made again");
        assert_eq!(database.count("hiems.ai_usage_logs"), 0);
        assert_eq!(call(&database).sqlstate(), "PT503", "the key went with it");
        database.admin().execute("SELECT hiems.set_api_key($1)", &[&KEY]).expect("a key");
        call(&database).expect("an answer");
        database.wait_until_booked();
        assert_eq!(database.count("hiems.ai_usage_logs"), 1);
    }
    // Levels went with it, too.
    let read = database.connect(&role).query("SELECT FROM hiems.ai_usage_logs", &[]);
    assert_eq!(read.sqlstate(), "42501");
}

#[test]
fn somebody_else_s_schema_is_not_taken_over() {
    for schema in ["hiems", "hiems_private"] {
        let mut database = Database::without_key();
        let squatter = database.role("squatter");
        let mut admin = database.admin();
        admin
            .batch_execute(&format!(
                "SET hiems.allow_drop = on; DROP EXTENSION hiems; CREATE SCHEMA {schema} AUTHORIZATION {squatter}"
            ))
            .expect("a schema");
        let refusal = admin.batch_execute("CREATE EXTENSION hiems").refusal();
        assert!(["42P06", "55000"].contains(&refusal.sqlstate.as_str()), "{refusal:?}");
        let left = database.text(
            "SELECT string_agg(nspname || ' ' || nspowner::regrole, ',') FROM pg_namespace
             WHERE nspname LIKE 'hiems%'",
            &[],
        );
        assert_eq!(left, Some(format!("{schema} {squatter}")));
        admin
            .batch_execute(&format!("DROP SCHEMA {schema}; CREATE EXTENSION hiems"))
            .expect("the extension");
    }
}

#[test]
fn only_a_superuser_installs_it() {
    let mut database = Database::without_key();
    let owner = database.role("owner");
    database
        .admin()
        .batch_execute(&format!(
            "SET hiems.allow_drop = on; DROP EXTENSION hiems; ALTER DATABASE {} OWNER TO {owner}",
            database.name
        ))
        .expect("an owner");
    let created = database.connect(&owner).batch_execute("CREATE EXTENSION hiems");
    assert_eq!(created.sqlstate(), "42501");
}
