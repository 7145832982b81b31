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

/// A trusted extension's script runs with a superuser's rights: whoever may make one could put it anywhere.
#[test]
fn extensions_of_others_are_not_put_into_its_schemas() {
    let mut database = Database::without_key();
    let owner = database.role("owner");
    let name = &database.name;
    let mut admin = database.admin();
    admin.batch_execute(&format!("ALTER DATABASE {name} OWNER TO {owner}")).expect("an owner");
    let mut client = database.connect(&owner);
    for schema in ["hiems", "hiems_private"] {
        for sql in [
            format!("CREATE EXTENSION hstore SCHEMA {schema}"),
            format!("CREATE EXTENSION IF NOT EXISTS cube WITH SCHEMA {schema} CASCADE"),
            format!("DO $$ BEGIN CREATE EXTENSION hstore SCHEMA {schema}; END $$"),
            format!("BEGIN; SAVEPOINT s; CREATE EXTENSION hstore SCHEMA {schema}"),
        ] {
            let refusal = client.batch_execute(&sql).refusal();
            let _ = client.batch_execute("ROLLBACK");
            assert_eq!(refusal.sqlstate, "42501", "{sql}: {refusal:?}");
            assert!(refusal.message.contains("schema of hiems"), "{sql}: {refusal:?}");
        }
    }
    // Elsewhere they are as they were, and not to be moved here.
    client
        .batch_execute("CREATE SCHEMA mine; CREATE EXTENSION hstore SCHEMA mine")
        .expect("hstore");
    let moved = client.batch_execute("ALTER EXTENSION hstore SET SCHEMA hiems_private");
    assert_eq!(moved.sqlstate(), "42501");
    admin
        .batch_execute("SET hiems.allow_drop = on; DROP EXTENSION hiems")
        .expect("it goes without CASCADE");
    // A superuser knows what it does, and is in nobody's way.
    admin
        .batch_execute("CREATE EXTENSION hiems; CREATE EXTENSION citext SCHEMA hiems")
        .expect("citext");
    client.batch_execute("CREATE EXTENSION cube SCHEMA mine").expect("cube");
}
