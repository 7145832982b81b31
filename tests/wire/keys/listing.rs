//! The view `hiems.api_keys`: what an admin may know of the stored keys, and nobody else.

use hiems_tests::Database;
use postgres::Client;

use super::set_key;

fn names(client: &mut Client) -> Vec<String> {
    client
        .query("SELECT name FROM hiems.api_keys ORDER BY name", &[])
        .expect("a view raises nothing")
        .iter()
        .map(|row| row.get(0))
        .collect()
}

#[test]
fn an_admin_sees_the_keys_and_no_secret() {
    let mut database = Database::new();
    let role = database.role_with("admin");
    let mut admin = database.connect(&role);
    set_key(&mut admin, "sk-or-v1-second", "second").expect("a key");
    admin
        .execute("SELECT hiems.set_api_key('sk-or-v1-third', 'third', 'management')", &[])
        .expect("a key");
    set_key(&mut admin, "sk-or-v1-second-again", "second").expect("a key");
    assert_eq!(names(&mut admin), ["default", "second", "third"]);
    let row = admin
        .query_one(
            "SELECT v.kind, v.version, v.stored_by, v.fingerprint = t.fingerprint,
                    v.stored_at = t.stored_at AND v.sealed_at = t.sealed_at, v.master_key
             FROM hiems.api_keys AS v,
                  -- As the superuser would read it.
                  (SELECT fingerprint, stored_at, sealed_at FROM hiems.list_api_keys()
                   WHERE name = 'second') AS t
             WHERE v.name = 'second'",
            &[],
        )
        .expect("a row");
    assert_eq!(row.get::<_, String>(0), "inference");
    assert_eq!(row.get::<_, i32>(1), 2);
    assert_eq!(row.get::<_, String>(2), role);
    assert!(row.get::<_, bool>(3) && row.get::<_, bool>(4));
    assert_eq!(row.get::<_, String>(5).len(), 16);
    let columns = database.text(
        "SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute
         WHERE attrelid = 'hiems.api_keys'::regclass AND attnum > 0",
        &[],
    );
    assert_eq!(
        columns.as_deref(),
        Some("name kind fingerprint version stored_at stored_by master_key sealed_at")
    );
    // What it shows is what is stored.
    let same = database
        .text("SELECT count(*)::text FROM hiems.api_keys NATURAL JOIN hiems_private.api_keys", &[]);
    assert_eq!(same.as_deref(), Some("3"));
    // It reads, and no more: on a standby, too.
    let mut read_only = admin.build_transaction().read_only(true).start().expect("READ ONLY");
    let rows = read_only.query("SELECT FROM hiems.api_keys", &[]).expect("rows");
    assert_eq!(rows.len(), 3);
}

#[test]
fn nobody_else_sees_a_row() {
    let mut database = Database::new();
    for level in ["caller", "reader", "service"] {
        let role = database.role_with(level);
        let mut client = database.connect(&role);
        assert!(names(&mut client).is_empty(), "{level}");
        let rows = client.query("SELECT FROM hiems.list_api_keys()", &[]).expect("no rows");
        assert!(rows.is_empty(), "{level}");
    }
    let careless = database.role("careless");
    database.open_by_hand(&careless);
    assert!(names(&mut database.connect(&careless)).is_empty());
    assert_eq!(names(&mut database.admin()), ["default"]);
}
