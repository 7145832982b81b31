//! Which key pays: its name, its kind, what replaces it.

use hiems_tests::{Database, KEY, ResultExt};

use super::{call, paid_by, refused, set_key};

#[test]
fn a_replaced_key_is_used_by_the_next_call() {
    let database = Database::new();
    let mut client = database.admin();
    let mut other = database.admin();
    call(&mut client).expect("an answer");
    assert_eq!(paid_by(&database), KEY);
    let gateways = database.gateways();
    for round in 0..3 {
        let key = format!("sk-or-v1-replaced-{round}");
        set_key(&mut other, &key, "default").expect("a key");
        call(&mut client).expect("an answer");
        assert_eq!(paid_by(&database), key);
    }
    assert_eq!(database.gateways(), gateways);
    let version = database.text("SELECT version::text FROM hiems_private.api_keys", &[]);
    assert_eq!(version.as_deref(), Some("4"));
}

#[test]
fn a_key_that_is_rolled_back_was_never_there() {
    let database = Database::new();
    let mut client = database.admin();
    let mut other = database.admin();
    let mut transaction = other.transaction().expect("a transaction");
    set_key(&mut transaction, "sk-or-v1-rolled-back", "default").expect("a key");
    // Not yet either.
    call(&mut client).expect("an answer");
    assert_eq!(paid_by(&database), KEY);
    transaction.rollback().expect("a rollback");
    call(&mut client).expect("an answer");
    assert_eq!(paid_by(&database), KEY);

    let mut transaction = other.transaction().expect("a transaction");
    transaction.execute("SELECT hiems.drop_api_key()", &[]).expect("a key is dropped");
    transaction.rollback().expect("a rollback");
    call(&mut client).expect("an answer");
    assert_eq!(paid_by(&database), KEY);

    // The version that was rolled back is used again, with another key.
    set_key(&mut other, "sk-or-v1-committed", "default").expect("a key");
    call(&mut client).expect("an answer");
    assert_eq!(paid_by(&database), "sk-or-v1-committed");
}

#[test]
fn two_admins_that_store_at_once_both_succeed() {
    let database = Database::without_key();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let mut client = database.admin();
            scope.spawn(move || {
                set_key(&mut client, &format!("sk-or-v1-{number}"), "default").expect("a key")
            });
        }
    });
    let version = database.text("SELECT version::text FROM hiems_private.api_keys", &[]);
    assert_eq!(version.as_deref(), Some("8"));
    call(&mut database.admin()).expect("the last one opens");
}

#[test]
fn without_a_key_nothing_is_sent() {
    let database = Database::without_key();
    let mut client = database.admin();
    let refusal = refused(&database, &mut client);
    assert_eq!(refusal.message, "no OpenRouter key is stored");
    assert!(refusal.hint.contains("hiems.set_api_key"), "{refusal:?}");
    set_key(&mut client, KEY, "default").expect("a key");
    call(&mut client).expect("an answer");
    client.execute("SELECT hiems.drop_api_key()", &[]).expect("a key is dropped");
    refused(&database, &mut client);
    let again = client.execute("SELECT hiems.drop_api_key()", &[]);
    assert_eq!(again.sqlstate(), "PT404");
    let unknown = client.execute("SELECT hiems.drop_api_key('nobody''s')", &[]);
    assert_eq!(unknown.sqlstate(), "PT404");
    let null = client.execute("SELECT hiems.drop_api_key(NULL)", &[]);
    assert_eq!(null.sqlstate(), "PT404", "NULL is the default, which is gone");
}

#[test]
fn names_kinds_and_keys_are_looked_at() {
    let database = Database::without_key();
    let mut admin = database.admin();
    let long = "n".repeat(64);
    for name in ["", long.as_str(), "a\nb", "tab\t", "\u{7F}"] {
        assert_eq!(set_key(&mut admin, KEY, name).sqlstate(), "22023", "{name:?}");
    }
    for kind in ["", "Inference", "provisioning", " management"] {
        let set = admin.execute("SELECT hiems.set_api_key($1, 'k', $2)", &[&KEY, &kind]);
        assert_eq!(set.sqlstate(), "22023", "{kind:?}");
    }
    let long = "k".repeat(1_001);
    for key in [
        None,
        Some(""),
        Some(" "),
        Some("two words"),
        Some("line\nbreak"),
        Some("sk-or-v1-\u{E5}"),
        Some(long.as_str()),
    ] {
        let set = admin.execute("SELECT hiems.set_api_key($1)", &[&key]);
        assert_eq!(set.sqlstate(), "22023", "{key:?}");
    }
    assert_eq!(database.count("hiems_private.api_keys"), 0);
    for name in ["n", "\u{E5}\u{E4}\u{F6}", "two words", &"n".repeat(63)] {
        set_key(&mut admin, KEY, name).expect(name);
    }
    // NULL is the default of both.
    admin.execute("SELECT hiems.set_api_key($1, NULL, NULL)", &[&KEY]).expect("a key");
    call(&mut admin).expect("an answer");
}

#[test]
fn a_management_key_pays_for_no_call() {
    let database = Database::without_key();
    let mut client = database.admin();
    client
        .execute("SELECT hiems.set_api_key($1, 'default', 'management')", &[&KEY])
        .expect("a key");
    refused(&database, &mut client);
    set_key(&mut client, KEY, "default").expect("a key");
    call(&mut client).expect("an answer");
    // And back: what was open before does not count.
    client
        .execute("SELECT hiems.set_api_key($1, 'default', 'management')", &[&KEY])
        .expect("a key");
    refused(&database, &mut client);
}

#[test]
fn each_role_pays_with_the_key_that_it_was_given() {
    let mut database = Database::new();
    let role = database.role_with("caller");
    let mut admin = database.admin();
    set_key(&mut admin, "sk-or-v1-of-the-role", "its own").expect("a key");
    admin
        .batch_execute(&format!(
            "LOAD 'hiems'; ALTER ROLE {role} SET hiems.api_key_name = 'its own'"
        ))
        .expect("a setting");
    let mut client = database.connect(&role);
    let id = call(&mut client).expect("an answer");
    assert_eq!(paid_by(&database), "sk-or-v1-of-the-role");
    let named =
        database.text("SELECT key_name FROM hiems.ai_usage_logs WHERE generation_id = $1", &[&id]);
    assert_eq!(named.as_deref(), Some("its own"));
    call(&mut admin).expect("an answer");
    assert_eq!(paid_by(&database), KEY);
    admin.execute("SELECT hiems.drop_api_key('its own')", &[]).expect("a key is dropped");
    let refusal = refused(&database, &mut client);
    assert!(refusal.detail.contains("\"its own\""), "{refusal:?}");
}

#[test]
fn no_ordinary_role_chooses_its_key() {
    let mut database = Database::new();
    let role = database.role_with("caller");
    set_key(&mut database.admin(), "sk-or-v1-rich", "rich").expect("a key");
    // Before the library is loaded PostgreSQL lets anybody set any name with a dot; it counts nothing.
    let mut client = database.connect(&role);
    let _ = client.batch_execute("SET hiems.api_key_name = 'rich'");
    call(&mut client).expect("an answer");
    assert_eq!(paid_by(&database), KEY);
    for sql in [
        "SET hiems.api_key_name = 'rich'".to_owned(),
        "SELECT set_config('hiems.api_key_name', 'rich', true)".to_owned(),
        format!("ALTER ROLE {role} SET hiems.api_key_name = 'rich'"),
    ] {
        assert_eq!(client.batch_execute(&sql).sqlstate(), "42501", "{sql}");
    }
    call(&mut client).expect("an answer");
    assert_eq!(paid_by(&database), KEY);
}
