//! The stored rows: bound to their name, version and installation, and each sealed anew.

use hiems_tests::{Database, KEY, ResultExt};

use super::{call, paid_by, refused, set_key};

#[test]
fn two_seals_of_one_key_have_nothing_in_common() {
    let database = Database::without_key();
    let mut admin = database.admin();
    for name in ["a", "b", "c", "d"] {
        set_key(&mut admin, KEY, name).expect("a key");
    }
    let different = database.text(
        "SELECT count(DISTINCT nonce) || ' ' || count(DISTINCT ciphertext) || ' '
                || count(DISTINCT substr(ciphertext, 1, 4)) || ' ' || min(length(nonce))
         FROM hiems_private.api_keys",
        &[],
    );
    assert_eq!(different.as_deref(), Some("4 4 4 12"));
    // Stored again, it is sealed again.
    let nonce =
        database.text("SELECT nonce::text FROM hiems_private.api_keys WHERE name = 'a'", &[]);
    set_key(&mut admin, KEY, "a").expect("a key");
    let again =
        database.text("SELECT nonce::text FROM hiems_private.api_keys WHERE name = 'a'", &[]);
    assert_ne!(nonce, again);
}

#[test]
fn a_row_that_was_changed_does_not_open() {
    let database = Database::without_key();
    let mut admin = database.admin();
    let damages = [
        "UPDATE hiems_private.api_keys SET ciphertext = set_byte(ciphertext, 0,
             get_byte(ciphertext, 0) # 1)",
        "UPDATE hiems_private.api_keys SET ciphertext = set_bit(ciphertext,
             8 * length(ciphertext) - 1, 1 - get_bit(ciphertext, 8 * length(ciphertext) - 1))",
        "UPDATE hiems_private.api_keys SET ciphertext = ''",
        "UPDATE hiems_private.api_keys SET ciphertext = substr(ciphertext, 1, length(ciphertext) - 1)",
        "UPDATE hiems_private.api_keys SET nonce = set_byte(nonce, 0, get_byte(nonce, 0) # 1)",
        "UPDATE hiems_private.api_keys SET nonce = ''",
        "UPDATE hiems_private.api_keys SET nonce = nonce || '\\x00'",
        "UPDATE hiems_private.api_keys SET version = version + 1",
        "UPDATE hiems_private.installation SET id = gen_random_uuid()",
    ];
    for damage in damages {
        database.end_gateway();
        set_key(&mut admin, KEY, "default").expect("a key");
        admin.batch_execute(damage).expect(damage);
        let refusal = refused(&database, &mut admin);
        assert_eq!(refusal.message, "the stored OpenRouter key cannot be opened", "{damage}");
        assert!(refusal.detail.contains("the row was changed"), "{refusal:?}");
    }
    set_key(&mut admin, KEY, "default").expect("a key");
    call(&mut admin).expect("an answer");
}

#[test]
fn a_row_copied_over_another_does_not_open() {
    let database = Database::new();
    let mut admin = database.admin();
    set_key(&mut admin, "sk-or-v1-rich", "rich").expect("a key");
    call(&mut admin).expect("an answer");
    admin
        .batch_execute(
            "UPDATE hiems_private.api_keys AS d SET nonce = r.nonce, ciphertext = r.ciphertext,
                 version = r.version
             FROM hiems_private.api_keys AS r WHERE d.name = 'default' AND r.name = 'rich'",
        )
        .expect("a copy");
    refused(&database, &mut admin);
    admin
        .batch_execute(
            "DELETE FROM hiems_private.api_keys WHERE name = 'default';
             UPDATE hiems_private.api_keys SET name = 'default'",
        )
        .expect("another name");
    refused(&database, &mut admin);
    set_key(&mut admin, KEY, "default").expect("a key");
    call(&mut admin).expect("an answer");
    assert_eq!(paid_by(&database), KEY);
}

#[test]
fn an_old_row_put_back_does_not_open_under_the_new_version() {
    let database = Database::new();
    let mut admin = database.admin();
    admin
        .batch_execute("CREATE TABLE old AS SELECT * FROM hiems_private.api_keys")
        .expect("a copy");
    set_key(&mut admin, "sk-or-v1-new", "default").expect("a key");
    admin
        .batch_execute(
            "UPDATE hiems_private.api_keys SET nonce = old.nonce, ciphertext = old.ciphertext
             FROM old",
        )
        .expect("the old seal");
    refused(&database, &mut admin);
}

#[test]
fn the_constraints_hold_for_a_superuser_too() {
    let database = Database::new();
    let mut admin = database.admin();
    for (sql, sqlstate) in [
        ("UPDATE hiems_private.api_keys SET name = ''", "23514"),
        ("UPDATE hiems_private.api_keys SET kind = 'other'", "23514"),
        ("INSERT INTO hiems_private.installation SELECT gen_random_uuid()", "23505"),
    ] {
        assert_eq!(admin.execute(sql, &[]).sqlstate(), sqlstate, "{sql}");
    }
}
