//! DROP EXTENSION takes the ledger with it: not without `hiems.allow_drop`.

use hiems_tests::{Database, ResultExt, call};

#[test]
fn nothing_takes_the_extension_away_by_mistake() {
    let mut database = Database::new();
    call(&mut database.admin(), "{}").expect("an answer");
    let owner = database.role("owner");
    database
        .admin()
        .batch_execute(&format!(
            "CREATE SCHEMA app AUTHORIZATION {owner};
             UPDATE pg_extension SET extnamespace = 'app'::regnamespace WHERE extname = 'hiems';
             INSERT INTO pg_depend
             SELECT 'pg_extension'::regclass, oid, 0, 'pg_namespace'::regclass, 'app'::regnamespace, 0, 'n'
             FROM pg_extension WHERE extname = 'hiems'"
        ))
        .expect("an extension in a schema of an application's, which the control file lets nobody choose");
    for sql in [
        "DROP EXTENSION hiems",
        "DROP EXTENSION hiems CASCADE",
        "DROP EXTENSION IF EXISTS nothing, hiems",
        "DROP EXTENSION plpgsql CASCADE",
        "DROP SCHEMA app CASCADE",
        &format!("DROP OWNED BY {owner} CASCADE"),
        "DO $$ BEGIN DROP EXTENSION hiems; END $$",
    ] {
        // Each time a session that has not used hiems.
        let refusal = database.admin().batch_execute(sql).refusal();
        assert_eq!(refusal.sqlstate, "55000", "{sql}: {refusal:?}");
        assert!(refusal.hint.contains("hiems.allow_drop"), "{refusal:?}");
    }
    assert_eq!(database.count("hiems.ai_usage_logs"), 1);
    // Others' extensions, and everything else, are none of its business.
    database
        .admin()
        .batch_execute("CREATE SCHEMA other; CREATE TABLE other.t (); DROP SCHEMA other CASCADE")
        .expect("a drop");
}

#[test]
fn only_a_superuser_lets_it_go() {
    let mut database = Database::without_key();
    let role = database.role_with("admin");
    let mut client = database.connect(&role);
    client.batch_execute("SELECT hiems.reporting_time_zone()").expect("the library");
    assert_eq!(client.batch_execute("SET hiems.allow_drop = on").sqlstate(), "42501");
    // A value from before the library was loaded does not count either.
    let mut client = database.connect(&role);
    client.batch_execute("SET hiems.allow_drop = on").expect("a placeholder");
    assert_eq!(client.batch_execute("DROP EXTENSION hiems").sqlstate(), "42501");
    let refusal = database
        .admin()
        .batch_execute(
            "SET hiems.allow_drop = on; SET hiems.allow_drop = off; DROP EXTENSION hiems",
        )
        .refusal();
    assert_eq!(refusal.sqlstate, "55000");
    database
        .admin()
        .batch_execute("SET hiems.allow_drop = on; DROP EXTENSION hiems")
        .expect("it is dropped");
}
