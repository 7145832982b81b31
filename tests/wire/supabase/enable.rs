//! `hiems.enable_supabase()` opens what its users need, can be called again and again, and is undone by
//! `hiems.disable_supabase()`.

use hiems_tests::{Database, ResultExt};

use super::project::{Project, call, claims};

fn statuses(steps: &[(String, String, String)]) -> Vec<String> {
    steps.iter().map(|(step, status, _)| format!("{step} {status}")).collect()
}

#[test]
fn it_opens_hiems_and_a_second_time_keeps_it_open() {
    let project = Project::closed();
    let first = project.enable();
    assert_eq!(
        statuses(&first),
        ["levels done", "privileges kept", "publication done", "broadcast done", "api done"],
        "{first:?}"
    );
    let second = project.enable();
    assert_eq!(
        statuses(&second),
        ["levels kept", "privileges kept", "publication kept", "broadcast kept", "api done"],
        "{second:?}"
    );
    project.call("ada");
    let mut client = project.database.connect("authenticator");
    for (role, may) in [("anon", false), ("authenticated", true), ("service_role", true)] {
        let called = project
            .request(&mut client, role, &claims("ada"), |request| Ok((call(request, &[])?, true)));
        match may {
            true => drop(called.expect(role)),
            false => assert_eq!(called.sqlstate(), "42501", "{role}"),
        }
    }
}

#[test]
fn disabling_takes_it_all_back() {
    let project = Project::new();
    let undone = project.steps("disable_supabase");
    assert_eq!(
        statuses(&undone),
        ["broadcast done", "publication done", "levels done", "api done"],
        "{undone:?}"
    );
    let left = project.database.text(
        "SELECT concat_ws(' ',
             (SELECT count(*) FROM pg_policy WHERE polrelid = 'realtime.messages'::regclass),
             (SELECT count(*) FROM pg_publication_tables WHERE pubname = 'supabase_realtime'),
             (SELECT count(*) FROM hiems_private.access WHERE grantee <> 'project_owner'))",
        &[],
    );
    assert_eq!(left.as_deref(), Some("0 0 0"));
    let again = project.steps("disable_supabase");
    assert_eq!(
        statuses(&again),
        ["broadcast kept", "publication kept", "levels kept", "api done"],
        "{again:?}"
    );
    let mut client = project.database.connect("authenticator");
    let called = project.request(&mut client, "authenticated", &claims("ada"), |request| {
        Ok((call(request, &[])?, true))
    });
    assert_eq!(called.sqlstate(), "42501");
}

#[test]
fn it_is_for_admins() {
    let project = Project::new();
    for function in ["enable_supabase", "disable_supabase", "check_supabase"] {
        for role in ["authenticated", "service_role"] {
            let mut client = project.database.connect("authenticator");
            let asked = project.request(&mut client, role, &claims("ada"), |request| {
                Ok((request.query(&format!("SELECT hiems.{function}()"), &[])?, false))
            });
            assert_eq!(asked.sqlstate(), "42501", "{function} as {role}");
        }
    }
    let mut reader = project.database.connect("project_owner");
    reader.batch_execute("SET default_transaction_read_only = on").expect("a setting");
    assert_eq!(reader.query("SELECT hiems.enable_supabase()", &[]).sqlstate(), "25006");
    assert!(reader.query("SELECT hiems.check_supabase()", &[]).is_ok());
}

#[test]
fn where_supabase_is_absent_it_says_so_and_nothing_breaks() {
    let database = Database::new();
    let mut admin = database.admin();
    let steps = admin.query("SELECT step, status, hint FROM hiems.enable_supabase()", &[]);
    for row in steps.expect("steps") {
        let (step, status): (String, String) = (row.get(0), row.get(1));
        match step.as_str() {
            "privileges" => assert_eq!(status, "kept"),
            "api" => assert_eq!(status, "done"),
            _ => {
                assert_eq!(status, "skipped", "{step}");
                assert!(row.get::<_, Option<String>>(2).is_some(), "{step} has no hint");
            }
        }
    }
    let checks = admin.query("SELECT name, status FROM hiems.check_supabase()", &[]);
    let found: Vec<String> = checks
        .expect("checks")
        .iter()
        .filter(|row| row.get::<_, &str>(1) != "ok")
        .map(|row| row.get(0))
        .collect();
    assert_eq!(
        found,
        ["roles", "roles", "roles", "roles", "postgres_changes", "broadcast", "broadcast"]
    );
    admin.query("SELECT hiems.disable_supabase()", &[]).expect("steps");
    hiems_tests::call(&mut admin, "{}").expect("an answer");
    database.wait_until_booked();
}

/// https://supabase.com/docs/guides/api/using-custom-schemas, which opens all there is.
#[test]
fn a_careless_grant_is_closed_again() {
    let project = Project::new();
    let mut admin = project.database.admin();
    admin
        .batch_execute(
            "GRANT USAGE ON SCHEMA hiems TO anon, authenticated, service_role;
             GRANT ALL ON ALL TABLES IN SCHEMA hiems, hiems_private TO anon, authenticated, service_role;
             GRANT ALL ON ALL ROUTINES IN SCHEMA hiems, hiems_private TO anon, authenticated, service_role;
             GRANT EXECUTE ON ALL ROUTINES IN SCHEMA hiems TO PUBLIC;
             ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA hiems
                 GRANT ALL ON TABLES TO anon, authenticated;
             ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA hiems GRANT ALL ON ROUTINES TO anon",
        )
        .expect("the recipe");
    let problems = project.problems();
    let found =
        |name: &str| problems.iter().any(|(check, status, _)| check == name && status == "fail");
    assert!(found("privileges"), "{problems:?}");
    let steps = project.enable();
    assert_eq!(statuses(&steps)[1], "privileges done", "{steps:?}");
    assert!(!steps[1].2.contains("left"), "{steps:?}");
    assert!(project.problems().iter().all(|(name, ..)| name != "privileges"));
    let defaults = project.database.count(
        "pg_default_acl AS d JOIN pg_namespace AS n
        ON n.oid = d.defaclnamespace, aclexplode(d.defaclacl) AS x
        WHERE n.nspname = 'hiems' AND x.grantee <> d.defaclrole",
    );
    assert_eq!(defaults, 0);
    project.call("ada");
    let mut client = project.database.connect("authenticator");
    for (role, sql) in [
        ("anon", "SELECT FROM hiems.ai_usage_logs"),
        ("anon", "SELECT hiems.has_level('caller')"),
        ("authenticated", "SELECT FROM hiems_private.api_keys"),
        ("authenticated", "TRUNCATE hiems.ai_usage_logs"),
    ] {
        let asked = project.request(&mut client, role, &claims("ada"), |request| {
            Ok((request.execute(sql, &[])?, false))
        });
        assert_eq!(asked.sqlstate(), "42501", "{role}: {sql}");
    }
}

/// What no dump brings back.
#[test]
fn after_a_restore_one_call_opens_it_again() {
    let project = Project::new();
    let id = project.call("ada");
    project.database.wait_until_booked();
    let dump = hiems_tests::logical_cluster()
        .program("pg_dump")
        .args(["--format=plain", &project.database.name])
        .output()
        .expect("pg_dump runs");
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let copy = format!("{}_copy", project.database.name);
    let mut server = project.database.admin();
    server.batch_execute(&format!("CREATE DATABASE {copy}")).expect("a database");
    let mut psql = hiems_tests::logical_cluster()
        .program("psql")
        .args(["--quiet", "--set=ON_ERROR_STOP=1", "--output=/dev/null", "--dbname", &copy])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("psql runs");
    std::io::Write::write_all(&mut psql.stdin.take().expect("a pipe"), &dump.stdout)
        .expect("it reads");
    assert!(psql.wait().expect("it ends").success());
    let mut restored = hiems_tests::logical_cluster().connect(&copy, "project_owner");
    let steps: Vec<(String, String)> = restored
        .query("SELECT step, status FROM hiems.enable_supabase()", &[])
        .expect("the steps")
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    // pg_dump 15 leaves the publication's member out, 18 has it; neither switches the broadcast on.
    let broadcast = ("broadcast".to_owned(), "done".to_owned());
    assert!(steps.contains(&broadcast), "{steps:?}");
    let problems = restored
        .query("SELECT name, detail FROM hiems.check_supabase() WHERE status <> 'ok'", &[])
        .expect("the checks");
    assert_eq!(problems.len(), 0, "{problems:?}");
    let kept = "SELECT FROM hiems.ai_usage_logs WHERE id::text = $1 AND principal = 'jwt:ada'";
    let mut reader = hiems_tests::logical_cluster().connect(&copy, "postgres");
    assert_eq!(reader.query(kept, &[&id]).expect("the ledger").len(), 1);
    drop((restored, reader));
    server.batch_execute(&format!("DROP DATABASE {copy} WITH (FORCE)")).expect("it goes");
}
