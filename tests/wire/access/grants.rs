//! Giving levels and taking them.

use hiems_tests::{Database, ResultExt, postgresql_version};
use postgres::Client;

use super::{call, count, users_seen, with_two_rows};

fn grant(client: &mut Client, role: &str, level: &str) {
    client.execute("SELECT hiems.grant_access($1, $2)", &[&role, &level]).expect("a level");
}

fn revoke(client: &mut Client, grantee: Option<&str>, level: Option<&str>) -> bool {
    client
        .query_one("SELECT hiems.revoke_access($1, $2)", &[&grantee, &level])
        .expect("taken or not there")
        .get(0)
}

/// What stands in the catalog for a role, in both schemas.
fn privileges(database: &Database, role: &str) -> i64 {
    database
        .admin()
        .query_one(
            "SELECT count(*) FROM (
                 SELECT (aclexplode(nspacl)).grantee FROM pg_namespace
                 UNION ALL SELECT (aclexplode(relacl)).grantee FROM pg_class
                 UNION ALL SELECT (aclexplode(proacl)).grantee FROM pg_proc) AS a
             WHERE grantee = (SELECT oid FROM pg_roles WHERE rolname = $1)",
            &[&role],
        )
        .expect("the catalog")
        .get(0)
}

#[test]
fn a_grant_is_taken_back_whole() {
    let mut database = Database::new();
    let role = database.role("r");
    let mut admin = database.admin();
    for level in ["caller", "reader", "admin", "service"] {
        grant(&mut admin, &role, level);
        // Twice is once.
        grant(&mut admin, &role, level);
        let mut client = database.connect(&role);
        assert!(users_seen(&mut client).is_empty(), "{level}");
        assert!(revoke(&mut admin, Some(&role), Some(level)), "{level}");
        assert!(!revoke(&mut admin, Some(&role), Some(level)), "{level}");
        assert_eq!(call(&mut client, "").sqlstate(), "42501", "{level}");
        assert_eq!(count(&mut client, "hiems.ai_usage_logs").sqlstate(), "42501", "{level}");
        assert_eq!(privileges(&database, &role), 0, "{level}");
    }
    assert_eq!(database.count("hiems_private.access"), 0);
}

#[test]
fn taking_one_level_leaves_the_other() {
    let (mut database, _) = with_two_rows();
    let role = database.role("r");
    let mut admin = database.admin();
    grant(&mut admin, &role, "caller");
    grant(&mut admin, &role, "reader");
    let mut client = database.connect(&role);
    call(&mut client, "").expect("an answer");
    assert_eq!(users_seen(&mut client).len(), 3);

    assert!(revoke(&mut admin, Some(&role), Some("reader")));
    call(&mut client, "").expect("an answer");
    assert_eq!(users_seen(&mut client), [role.as_str(), role.as_str()]);
    // What is not its own is out of sight in the reports, too.
    let calls = client.query_one("SELECT calls FROM hiems.usage_totals", &[]).expect("a row");
    assert_eq!(calls.get::<_, i64>(0), 2);

    grant(&mut admin, &role, "reader");
    assert!(revoke(&mut admin, Some(&role), Some("caller")));
    assert_eq!(call(&mut client, "").sqlstate(), "42501");
    assert_eq!(users_seen(&mut client).len(), 4);
    assert_eq!(count(&mut client, "hiems.usage_totals").expect("a row"), 1);
}

#[test]
fn taking_null_takes_all() {
    let (mut database, _) = with_two_rows();
    let role = database.role("r");
    let mut admin = database.admin();
    for level in ["caller", "reader", "admin", "service"] {
        grant(&mut admin, &role, level);
    }
    assert!(revoke(&mut admin, Some(&role), None));
    assert!(!revoke(&mut admin, Some(&role), None));
    assert_eq!(privileges(&database, &role), 0);
    let left = database
        .text("SELECT count(*)::text FROM hiems_private.access WHERE grantee = $1", &[&role]);
    assert_eq!(left.as_deref(), Some("0"));
}

#[test]
fn an_unknown_role_or_level_is_refused() {
    let mut database = Database::new();
    let role = database.role("r");
    let mut admin = database.admin();
    let nobody = format!("{}_nobody", database.name);
    for (grantee, level) in [
        (Some(nobody.as_str()), Some("caller")),
        (Some("public"), Some("caller")),
        (Some(""), Some("caller")),
        (None, Some("caller")),
        (Some(role.as_str()), Some("owner")),
        (Some(role.as_str()), Some("CALLER")),
        (Some(role.as_str()), Some(" caller")),
        (Some(role.as_str()), Some("")),
        (Some(role.as_str()), None),
        (None, None),
    ] {
        let granted = admin.execute("SELECT hiems.grant_access($1, $2)", &[&grantee, &level]);
        assert_eq!(granted.sqlstate(), "22023", "{grantee:?} {level:?}");
    }
    for (user, level) in [
        (Some(""), Some("caller")),
        (None, Some("caller")),
        (Some("u"), Some("owner")),
        (Some("u"), None),
    ] {
        let granted = admin.execute("SELECT hiems.grant_user_access($1, $2)", &[&user, &level]);
        assert_eq!(granted.sqlstate(), "22023", "{user:?} {level:?}");
    }
    let taken = admin.execute("SELECT hiems.revoke_access($1, 'owner')", &[&role]);
    assert_eq!(taken.sqlstate(), "22023");
    assert!(!revoke(&mut admin, Some(&nobody), None));
    assert!(!revoke(&mut admin, None, None));
    assert_eq!(database.count("hiems_private.access"), 0);
}

#[test]
fn a_rolled_back_grant_gives_nothing() {
    let mut database = Database::new();
    let role = database.role("r");
    let mut admin = database.admin();
    admin
        .batch_execute(&format!("BEGIN; SELECT hiems.grant_access('{role}', 'admin'); ROLLBACK"))
        .expect("a transaction");
    assert_eq!(call(&mut database.connect(&role), "").sqlstate(), "42501");
    assert_eq!(privileges(&database, &role), 0);
}

#[test]
fn a_member_has_what_its_group_has() {
    let (mut database, _) = with_two_rows();
    let (group, member, apart) =
        (database.role("group"), database.role("member"), database.role("apart"));
    let mut admin = database.admin();
    grant(&mut admin, &group, "caller");
    admin
        .batch_execute(&format!(
            "GRANT {group} TO {member};
             ALTER ROLE {apart} NOINHERIT;
             GRANT {group} TO {apart}"
        ))
        .expect("memberships");
    let mut client = database.connect(&member);
    call(&mut client, "").expect("an answer");
    // It calls as itself, not as the group.
    assert_eq!(users_seen(&mut client), [member.as_str()]);
    client.batch_execute(&format!("SET ROLE {group}")).expect("a member may");
    assert!(users_seen(&mut client).is_empty());
    call(&mut client, "").expect("an answer");
    assert_eq!(users_seen(&mut client), [group.as_str()]);

    // PostgreSQL 16 fixes inheritance when the membership is granted: after NOINHERIT, as here.
    let mut client = database.connect(&apart);
    assert_eq!(call(&mut client, "").sqlstate(), "42501");
    client.batch_execute(&format!("SET ROLE {group}")).expect("a member may");
    call(&mut client, "").expect("an answer");
}

#[test]
fn who_lost_the_membership_has_lost_the_level() {
    let mut database = Database::new();
    let (group, member) = (database.role("group"), database.role("member"));
    let mut admin = database.admin();
    grant(&mut admin, &group, "caller");
    admin.batch_execute(&format!("GRANT {group} TO {member}")).expect("a membership");
    let mut client = database.connect(&member);
    call(&mut client, "").expect("an answer");
    admin.batch_execute(&format!("REVOKE {group} FROM {member}")).expect("no membership");
    assert_eq!(call(&mut client, "").sqlstate(), "42501");
}

/// From PostgreSQL 16 on each membership says for itself what it passes on.
#[test]
fn a_membership_passes_on_what_it_says() {
    if postgresql_version() == "15" {
        return;
    }
    let (mut database, _) = with_two_rows();
    let (group, member) = (database.role("group"), database.role("member"));
    let mut admin = database.admin();
    grant(&mut admin, &group, "admin");
    let mut client = database.connect(&member);
    for (options, has, may_set) in [
        ("INHERIT FALSE, SET FALSE", false, false),
        ("INHERIT FALSE, SET TRUE", false, true),
        ("INHERIT TRUE, SET FALSE", true, false),
        // To give the membership on is not to have it.
        ("ADMIN TRUE, INHERIT FALSE, SET FALSE", false, false),
    ] {
        admin.batch_execute(&format!("GRANT {group} TO {member} WITH {options}")).expect(options);
        assert_eq!(call(&mut client, "").is_ok(), has, "{options}");
        assert_eq!(count(&mut client, "hiems.ai_usage_logs").is_ok(), has, "{options}");
        let set = client.batch_execute(&format!("SET ROLE {group}"));
        assert_eq!(set.is_ok(), may_set, "{options}");
        if may_set {
            call(&mut client, "").expect("the group's level");
            client.batch_execute("RESET ROLE").expect("oneself");
        }
        admin.batch_execute(&format!("REVOKE {group} FROM {member}")).expect("no membership");
    }
}
