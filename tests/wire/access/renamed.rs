//! A role's levels and rows are its own: not those of whoever has its name next.

use hiems_tests::{Database, ResultExt, SOON, user_message, wait_until};
use postgres::Client;

use super::{call, count, text, users_seen};

fn principal(client: &mut Client) -> String {
    text(client, "SELECT hiems.current_principal()").expect("a principal")
}

fn has_level(client: &mut Client, level: &str) -> bool {
    let row = client.query_one("SELECT hiems.has_level($1)", &[&level]).expect("a level or not");
    row.get(0)
}

/// A call under the same idempotency key each time; its id.
fn once(client: &mut Client) -> String {
    let sql = "SELECT hiems.submit_prompt('openai/gpt-4o-mini', $1::text::jsonb,
                   idempotency_key => 'one') ->> 'id'";
    client.query_one(sql, &[&user_message("hello")]).expect("an answer").get(0)
}

/// A role with the level admin and a row, that is dropped again; its name, and the row's id.
fn with_a_dropped_boss() -> (Database<'static>, String, String) {
    let mut database = Database::new();
    let boss = database.role_with("admin");
    once(&mut database.connect(&boss));
    database.wait_until_booked();
    let booked = format!("role:{boss}");
    let id = "SELECT id::text FROM hiems.ai_usage_logs WHERE principal = $1";
    let id = database.text(id, &[&booked]).expect("its row");
    let drop = format!("DROP OWNED BY {boss}; DROP ROLE {boss}");
    database.admin().batch_execute(&drop).expect("no boss");
    (database, boss, id)
}

fn assert_sees_nothing_of(client: &mut Client, boss: &str, id: &str) {
    assert_eq!(principal(client), format!("role#2:{boss}"));
    for level in ["admin", "reader", "service"] {
        assert!(!has_level(client, level), "{level}");
    }
    assert!(users_seen(client).is_empty());
    assert_eq!(count(client, "hiems.calls").expect("none"), 0);
    for view in super::MY_VIEWS {
        let calls = format!("SELECT coalesce(sum(calls), 0)::text FROM hiems.{view}");
        assert_eq!(text(client, &calls).as_deref(), Some("0"), "{view}");
    }
    for function in ["await_prompt", "raw_answer", "cancel_prompt"] {
        let asked = client.query(&format!("SELECT hiems.{function}('{id}')"), &[]).sqlstate();
        assert!(["42501", "PT404"].contains(&asked.as_str()), "{function}: {asked}");
    }
}

#[test]
fn a_renamed_role_has_nothing_of_a_dropped_ones() {
    let (mut database, boss, id) = with_a_dropped_boss();
    let caller = database.role_with("caller");
    call(&mut database.connect(&caller), "").expect("an answer");
    database.wait_until_booked();
    let mut admin = database.admin();
    admin.batch_execute(&format!("ALTER ROLE {caller} RENAME TO {boss}")).expect("a name");
    let mut client = database.connect(&boss);
    assert_sees_nothing_of(&mut client, &boss, &id);
    // It has to be granted anew itself, and has what is granted then, and its own rows.
    assert_eq!(call(&mut client, "").sqlstate(), "42501");
    admin.execute("SELECT hiems.grant_access($1, 'caller')", &[&boss]).expect("a level");
    assert_sees_nothing_of(&mut client, &boss, &id);
    once(&mut client);
    assert_eq!(database.fake.requests().len(), 3, "not the boss's answer");
    assert_eq!(users_seen(&mut client).len(), 1);
    // By its old name it has its old rows, and not the level that it was given by the other.
    admin.batch_execute(&format!("ALTER ROLE {boss} RENAME TO {caller}")).expect("a name");
    let mut client = database.connect(&caller);
    assert_eq!(principal(&mut client), format!("role:{caller}"));
    assert_eq!(users_seen(&mut client), [caller.as_str()]);
    assert!(!has_level(&mut client, "caller"));
}

#[test]
fn a_role_made_anew_has_nothing_of_the_dropped_ones() {
    let (mut database, boss, id) = with_a_dropped_boss();
    // Also as a member of a role that has what a level comes with.
    let group = database.role_with("caller");
    let mut admin = database.admin();
    admin.batch_execute(&format!("CREATE ROLE {boss} LOGIN IN ROLE {group}")).expect("a role");
    let mut client = database.connect(&boss);
    assert_sees_nothing_of(&mut client, &boss, &id);
    call(&mut client, "").expect("its group's level");
    assert_eq!(users_seen(&mut client), [boss.as_str()]);
    // What it is granted brings nothing of the other's back, and forgets that.
    admin.execute("SELECT hiems.grant_access($1, 'caller')", &[&boss]).expect("a level");
    assert!(!has_level(&mut client, "admin"));
    assert_eq!(database.count(&format!("hiems_private.access WHERE grantee = '{boss}'")), 1);
    assert_eq!(principal(&mut client), format!("role#2:{boss}"));
    assert_eq!(users_seen(&mut client).len(), 1);
    admin.batch_execute(&format!("DROP OWNED BY {boss}; DROP ROLE {boss}")).expect("no role");
}

#[test]
fn a_renamed_role_s_levels_are_taken_by_its_new_name() {
    let mut database = Database::new();
    let role = database.role_with("caller");
    let other = format!("{role}_x");
    let mut admin = database.admin();
    admin.batch_execute(&format!("ALTER ROLE {role} RENAME TO {other}")).expect("a name");
    assert!(!has_level(&mut database.connect(&other), "caller"));
    let revoked = admin.query_one("SELECT hiems.revoke_access($1)", &[&other]).expect("taken");
    assert!(revoked.get::<_, bool>(0));
    admin.batch_execute(&format!("ALTER ROLE {other} RENAME TO {role}")).expect("a name");
    assert_eq!(call(&mut database.connect(&role), "").sqlstate(), "42501");
    assert_eq!(database.count("hiems_private.access"), 0);
}

/// Whose a call is is written down before it is sent, and is not undone with its caller's transaction.
#[test]
fn the_first_call_s_principal_outlives_its_transaction() {
    let mut database = Database::new();
    let role = database.role_with("caller");
    let mut client = database.connect(&role);
    let mine = format!("role:{role}");
    assert_eq!(principal(&mut client), mine);
    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").expect("a snapshot");
    call(&mut client, "").expect("an answer");
    assert_eq!(users_seen(&mut client), [role.as_str()]);
    client.batch_execute("ROLLBACK").expect("a rollback");
    database.wait_until_booked();
    let mut second = database.connect(&role);
    wait_until("it is booked", SOON, || users_seen(&mut second) == [role.as_str()]);
    call(&mut second, "").expect("an answer");
    assert_eq!(principal(&mut second), mine);
    assert_eq!(users_seen(&mut second).len(), 2);
}

#[test]
fn many_first_calls_at_once_have_one_principal() {
    let mut database = Database::new();
    let role = database.role_with("caller");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            let mut client = database.connect(&role);
            scope.spawn(move || call(&mut client, "").expect("an answer"));
        }
    });
    assert_eq!(users_seen(&mut database.connect(&role)).len(), 8);
    assert_eq!(database.count("hiems_private.principals"), 1);
}

/// A lock there holds up nobody whose principal is known; another's first call is refused, and not sent.
#[test]
fn a_locked_list_of_principals_holds_up_no_gateway() {
    let mut database = Database::new();
    let (known, new) = (database.role_with("caller"), database.role_with("service"));
    let mut client = database.connect(&known);
    call(&mut client, "").expect("an answer");
    let mut holder = database.admin();
    let lock = "BEGIN; LOCK TABLE hiems_private.principals IN SHARE MODE";
    holder.batch_execute(lock).expect("the lock");
    let mut first = database.connect(&new);
    let refusal = call(&mut first, "").refusal();
    assert_eq!(refusal.sqlstate, "PT503", "{refusal:?}");
    assert!(refusal.hint.contains("pg_locks"), "{refusal:?}");
    call(&mut client, "").expect("an answer");
    assert_eq!(database.fake.requests().len(), 2);
    holder.batch_execute("COMMIT").expect("no lock");
    call(&mut first, "").expect("an answer");
}
