//! A copy of a database does not send again what the original has sent, and does not spend by its keys.

use hiems_tests::{Database, KEY, ResultExt, SOON, call, user_message, wait_until};
use postgres::{Client, GenericClient};

const TOMORROW: &str = "run_at => now() + interval '1 day'";

fn enqueue(client: &mut impl GenericClient, more: &str) -> String {
    let sql =
        format!("SELECT hiems.enqueue_prompt('openai/gpt-4o-mini', $1::text::jsonb, {more})::text");
    client.query_one(&sql, &[&user_message("hello")]).expect("an id").get(0)
}

fn finding(client: &mut Client, name: &str) -> (String, String, String) {
    let sql = "SELECT status, detail, coalesce(hint, '') FROM hiems.health() WHERE name = $1";
    let row = client.query_one(sql, &[&name]).expect("its health");
    (row.get(0), row.get(1), row.get(2))
}

fn number(client: &mut Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).expect(sql).get(0)
}

/// Somebody who owns the database, and may make others.
fn owner(database: &mut Database) -> String {
    let role = database.role_with("admin");
    database
        .admin()
        .batch_execute(&format!(
            "ALTER ROLE {role} CREATEDB; ALTER DATABASE {} OWNER TO {role}",
            database.name
        ))
        .expect("an owner");
    role
}

/// Has the owner run a statement from another database, where nobody is in the way.
fn as_owner(database: &Database, role: &str, sql: &str) {
    let mut client = database.config(role).dbname("postgres").connect(postgres::NoTls);
    let client = client.as_mut().expect("a connection");
    wait_until("the gateway has left", SOON, || client.batch_execute(sql).is_ok());
}

/// The copy's sessions, its gateway's included, reach the original's fake.
fn opened(database: &Database, copy: &str, role: &str) -> Client {
    let mut admin = database.admin();
    let url = database.fake.base_url();
    admin
        .batch_execute(&format!("LOAD 'hiems'; ALTER DATABASE {copy} SET hiems.base_url = '{url}'"))
        .expect("a setting");
    database.config(role).dbname(copy).connect(postgres::NoTls).expect("a connection")
}

#[test]
fn a_copy_sends_nothing_of_the_original_s_and_has_no_key() {
    let mut database = Database::new();
    let role = owner(&mut database);
    let name = database.name.clone();
    let copy = format!("{name}_copy");
    let id = enqueue(&mut database.admin(), TOMORROW);
    as_owner(&database, &role, &format!("CREATE DATABASE {copy} TEMPLATE {name}"));

    let at_once = "UPDATE hiems_private.queue SET run_at = NULL";
    let mut original = database.admin();
    original.batch_execute(at_once).expect("a superuser's impatience");
    let awaited = "SELECT hiems.await_prompt($1::text::uuid, '30 s')";
    original.query_one(awaited, &[&id]).expect("an answer");
    assert_eq!(database.fake.requests().len(), 1);

    let mut superuser = opened(&database, &copy, "postgres");
    superuser.batch_execute(at_once).expect("a superuser's impatience");
    let mut client = opened(&database, &copy, &role);
    wait_until("it is paused", SOON, || finding(&mut client, "queue").1.contains("1 paused"));
    let (status, _, hint) = finding(&mut client, "queue");
    assert!(status == "warn" && hint.contains("copy") && hint.contains("resume_prompts"), "{hint}");
    // Of the owner's own, too: the key is the original's.
    let refusal = call(&mut client, "{}").refusal();
    assert_eq!(refusal.sqlstate, "PT503");
    assert!(refusal.detail.contains(&database.oid()), "{refusal:?}");
    assert!(refusal.hint.contains("hiems.adopt_api_keys()"), "{refusal:?}");
    let (status, detail, hint) = finding(&mut client, "api_keys");
    assert!(status == "fail" && detail.contains(&database.oid()), "{detail}");
    assert!(hint.contains("hiems.adopt_api_keys()"), "{hint}");
    // What an admin may does not change that.
    for sql in [
        "SELECT hiems.adopt_api_keys()",
        "SELECT hiems.rotate_master_key()",
        "SELECT * FROM hiems.verify_api_key()",
    ] {
        let code = if sql.contains("adopt") { "42501" } else { "PT503" };
        assert_eq!(client.batch_execute(sql).sqlstate(), code, "{sql}");
    }
    assert_eq!(
        client.query_one("SELECT hiems.resume_prompts()", &[]).expect("one").get::<_, i64>(0),
        1
    );
    call(&mut client, "{}").refusal();
    assert_eq!(database.fake.requests().len(), 1, "nothing is sent without a key");

    // Nor does a superuser's hand on the row: the seal says whose it is.
    let oid = "(SELECT oid FROM pg_database WHERE datname = current_database())";
    superuser
        .batch_execute(&format!(
            "BEGIN; UPDATE hiems_private.api_keys SET database_oid = {oid}; COMMIT"
        ))
        .expect("a superuser's hand");
    let refusal = call(&mut client, "{}").refusal();
    assert!(refusal.detail.contains("the row was changed"), "{refusal:?}");
    let original_oid = database.oid();
    superuser
        .batch_execute(&format!("UPDATE hiems_private.api_keys SET database_oid = {original_oid}"))
        .expect("a superuser's hand");

    assert_eq!(number(&mut superuser, "SELECT hiems.adopt_api_keys()"), 1);
    assert_eq!(number(&mut superuser, "SELECT hiems.adopt_api_keys()"), 0);
    call(&mut client, "{}").expect("an answer");
    assert_eq!(finding(&mut client, "api_keys").0, "ok");
    // What the original was stored with is still its own.
    call(&mut original, "{}").expect("an answer");
    drop((superuser, client));
    original.batch_execute(&format!("DROP DATABASE {copy} WITH (FORCE)")).expect("its end");
}

#[test]
fn a_key_that_is_stored_in_a_copy_is_its_own() {
    let mut database = Database::new();
    let role = owner(&mut database);
    let name = database.name.clone();
    let copy = format!("{name}_copy");
    as_owner(&database, &role, &format!("CREATE DATABASE {copy} TEMPLATE {name}"));
    let mut client = opened(&database, &copy, &role);
    call(&mut client, "{}").refusal();
    client.execute("SELECT hiems.set_api_key($1)", &[&KEY]).expect("a key");
    call(&mut client, "{}").expect("an answer");
    drop(client);
    database.admin().batch_execute(&format!("DROP DATABASE {copy} WITH (FORCE)")).expect("its end");
}

#[test]
fn a_new_name_changes_nothing() {
    let mut database = Database::new();
    let role = owner(&mut database);
    let name = database.name.clone();
    let renamed = format!("{name}_renamed");
    let id = enqueue(&mut database.admin(), "run_at => clock_timestamp() + interval '1 s'");
    as_owner(&database, &role, &format!("ALTER DATABASE {name} RENAME TO {renamed}"));
    let mut client = opened_renamed(&database, &renamed);
    let awaited = "SELECT hiems.await_prompt($1::text::uuid, '30 s')";
    client.query_one(awaited, &[&id]).expect("an answer");
    call(&mut client, "{}").expect("an answer");
    drop(client);
    as_owner(&database, &role, &format!("ALTER DATABASE {renamed} RENAME TO {name}"));
}

fn opened_renamed(database: &Database, name: &str) -> Client {
    database.config("postgres").dbname(name).connect(postgres::NoTls).expect("a connection")
}

/// CREATE DATABASE takes the OID of one that was dropped: a copy from before would have all that the original had.
#[test]
fn a_copy_that_takes_the_original_s_oid_sends_nothing_of_its_either() {
    let mut database = Database::new();
    let role = owner(&mut database);
    let name = database.name.clone();
    let (first, second) = (format!("{name}_first"), format!("{name}_second"));
    let id = enqueue(&mut database.admin(), TOMORROW);
    let oid = database.oid();
    as_owner(&database, &role, &format!("CREATE DATABASE {first} TEMPLATE {name}"));
    let mut original = database.admin();
    original.batch_execute("UPDATE hiems_private.queue SET run_at = NULL").expect("a change");
    let awaited = "SELECT hiems.await_prompt($1::text::uuid, '30 s')";
    original.query_one(awaited, &[&id]).expect("an answer");
    drop(original);
    as_owner(&database, &role, &format!("DROP DATABASE {name}"));
    as_owner(&database, &role, &format!("CREATE DATABASE {second} TEMPLATE {first} OID {oid}"));
    as_owner(&database, &role, &format!("ALTER DATABASE {second} RENAME TO {name}"));
    let mut superuser = opened(&database, &name, "postgres");
    assert_eq!(database.oid(), oid);
    superuser
        .batch_execute("UPDATE hiems_private.queue SET run_at = NULL")
        .expect("a superuser's impatience");
    wait_until("it is paused", SOON, || finding(&mut superuser, "queue").1.contains("1 paused"));
    assert_eq!(database.fake.requests().len(), 1);
    as_owner(&database, &role, &format!("DROP DATABASE {first}"));
}
