//! Who may join a private channel, asked as Realtime asks: it inserts a row of the topic, becomes who wants to
//! join, and looks whether it sees the row (lib/realtime/tenants/authorization.ex).

use hiems_tests::ResultExt;
use postgres::Error;

use super::project::{Project, become_one, claims};

/// What one may do on a topic: receive, see presence, send. An error of a policy's would keep it from all.
pub fn may(
    project: &Project,
    role: &str,
    claims: &str,
    topic: &str,
) -> Result<(bool, bool, bool), Error> {
    let mut realtime = project.database.connect("supabase_admin");
    let mut transaction = realtime.transaction()?;
    transaction.execute(
        "INSERT INTO realtime.messages (topic, extension) VALUES ($1, 'broadcast'), ($1, 'presence')",
        &[&topic],
    )?;
    become_one(&mut transaction, role, claims);
    transaction.execute("SELECT set_config('realtime.topic', $1, true)", &[&topic])?;
    let seen = "SELECT extension FROM realtime.messages WHERE topic = $1";
    let seen = transaction.query(seen, &[&topic])?;
    let sees = |extension: &str| seen.iter().any(|row| row.get::<_, &str>(0) == extension);
    let sends = "INSERT INTO realtime.messages (topic, extension) VALUES ($1, 'broadcast')";
    let sent = transaction.execute(sends, &[&topic]);
    let sends = match sent {
        Ok(_) => true,
        Err(error) if error.code().is_some_and(|code| code.code() == "42501") => false,
        Err(error) => return Err(error),
    };
    Ok((sees("broadcast"), sees("presence"), sends))
}

const TOPICS: [&str; 5] =
    ["hiems:usage", "hiems:user:ada", "hiems:user:bea", "hiems:user:", "hiems:other"];

#[track_caller]
fn assert_joins(project: &Project, role: &str, claims: &str, joins: &[&str]) {
    for topic in TOPICS {
        let expected = (joins.contains(&topic), false, false);
        let found = may(project, role, claims, topic).expect("no policy fails");
        assert_eq!(found, expected, "{role} {claims}: {topic}");
    }
}

fn assert_each_joins_its_own(project: &Project) {
    assert_joins(project, "authenticated", &claims("ada"), &["hiems:user:ada"]);
    assert_joins(project, "authenticated", &claims("bea"), &["hiems:user:bea"]);
    assert_joins(project, "authenticated", &claims("boss"), &["hiems:usage"]);
    assert_joins(project, "anon", &claims("ada"), &[]);
    for poisoned in super::project::poisoned() {
        assert_joins(project, "authenticated", &poisoned, &[]);
    }
}

#[test]
fn users_join_their_own_topic_readers_all_and_anon_none() {
    let project = Project::new();
    let level = "SELECT hiems.grant_user_access('boss', 'admin')";
    project.database.admin().batch_execute(level).expect("a level");
    assert_each_joins_its_own(&project);
}

/// The topics of hiems stay closed where a project opens all others, to everybody, and those stay open.
#[test]
fn the_projects_own_policies_open_nothing_of_hiems() {
    let project = Project::new();
    project
        .database
        .admin()
        .batch_execute(
            "SELECT hiems.grant_user_access('boss', 'reader');
             CREATE POLICY all_read ON realtime.messages FOR SELECT USING (true);
             CREATE POLICY all_send ON realtime.messages FOR INSERT WITH CHECK (true)",
        )
        .expect("policies");
    assert_each_joins_its_own(&project);
    for (role, sub) in [("authenticated", "ada"), ("anon", "")] {
        let found = may(&project, role, &claims(sub), "room:1").expect("no policy fails");
        assert_eq!(found, (true, true, true), "{role}");
    }
}

/// A policy that asks what its role may not would keep that role from every private channel of the project.
#[test]
fn who_loses_its_level_joins_other_topics_still() {
    let project = Project::new();
    let open = "CREATE POLICY all_read ON realtime.messages FOR SELECT USING (true)";
    project.database.admin().batch_execute(open).expect("a policy");
    for (sql, joins) in [
        ("SELECT hiems.revoke_access('authenticated')", false),
        ("SELECT hiems.grant_access('authenticated', 'caller')", true),
        ("SELECT * FROM hiems.enable_supabase()", true),
    ] {
        project.database.admin().batch_execute(sql).expect(sql);
        let room =
            may(&project, "authenticated", &claims("ada"), "room:1").expect("no policy fails");
        assert!(room.0, "{sql}");
        let own = may(&project, "authenticated", &claims("ada"), "hiems:user:ada")
            .expect("no policy fails");
        assert_eq!(own.0, joins, "{sql}");
    }
    // Another role that is given a level joins as well, without a further step.
    project
        .database
        .admin()
        .batch_execute(
            "GRANT USAGE ON SCHEMA realtime TO project_owner;
             SELECT hiems.grant_access('supabase_realtime_admin', 'caller')",
        )
        .expect("a level");
    assert_eq!(project.problems().iter().filter(|(name, ..)| name == "broadcast").count(), 0);
}

/// Whoever has the name next of a role that had a level joins nothing.
#[test]
fn a_role_with_a_dropped_one_s_name_joins_nothing() {
    let mut project = Project::new();
    let (boss, other) = (project.database.role("boss"), project.database.role("other"));
    project
        .database
        .admin()
        .batch_execute(&format!(
            "CREATE POLICY all_read ON realtime.messages FOR SELECT USING (true);
             GRANT USAGE ON SCHEMA realtime TO {boss}, {other};
             GRANT SELECT, INSERT ON realtime.messages TO {boss}, {other};
             SELECT hiems.grant_access('{boss}', 'reader')"
        ))
        .expect("a level");
    assert!(may(&project, &boss, "{}", "hiems:usage").expect("no policy fails").0);
    project
        .database
        .admin()
        .batch_execute(&format!(
            "DROP OWNED BY {boss}; DROP ROLE {boss}; ALTER ROLE {other} RENAME TO {boss}"
        ))
        .expect("another boss");
    let joins = may(&project, &boss, "{}", "hiems:usage").expect("no policy fails");
    assert!(!joins.0);
    assert!(may(&project, &boss, "{}", "room:1").expect("no policy fails").0);
}

/// A role's name is no token's subject.
#[test]
fn a_role_called_like_a_user_does_not_join_for_it() {
    let project = Project::new();
    let mut client = project.database.connect("project_owner");
    let mut transaction = client.transaction().expect("a transaction");
    become_one(&mut transaction, "authenticated", &claims("authenticated"));
    let sql = "SELECT set_config('realtime.topic', 'hiems:user:authenticated', true)";
    transaction.execute(sql, &[]).expect("a topic");
    project.database.admin().execute(
        "INSERT INTO realtime.messages (topic, extension) VALUES ('hiems:user:authenticated', 'broadcast')",
        &[],
    ).expect("a message");
    let seen = transaction.query("SELECT FROM realtime.messages", &[]).expect("no policy fails");
    assert_eq!(seen.len(), 0);
    drop(transaction);
    let refused = client.batch_execute("SET ROLE authenticated; CREATE TABLE realtime.x ()");
    assert_eq!(refused.sqlstate(), "42501");
}
