//! postgres_changes on the ledger: each subscriber is told of exactly its own rows, a reader of all, and no
//! subscriber's claims are an error for the others.

use std::collections::BTreeSet;

use hiems_tests::{SOON, wait_until};

use super::project::{Project, call, claims, poisoned};
use super::realtime::{Realtime, Subscriber, Told, subscriber};

type Wishes = &'static [(&'static str, &'static str)];

fn user(sub: &str) -> Subscriber {
    subscriber("authenticated", claims(sub))
}

/// Two users, an admin, the service key, anon, and claims that no good client has.
fn everybody() -> Vec<Subscriber> {
    let mut all = vec![user("ada"), user("bea"), user("boss"), user("eve")];
    all.push(subscriber("service_role", "{\"role\": \"service_role\"}".to_owned()));
    all.push(subscriber("anon", claims("ada")));
    all.extend(poisoned().into_iter().map(|claims| subscriber("authenticated", claims)));
    all
}

fn ids(project: &Project, principals: &[&str]) -> BTreeSet<String> {
    project
        .database
        .ledger()
        .iter()
        .filter(|row| principals.iter().any(|principal| row["principal"] == *principal))
        .map(|row| row["id"].as_str().expect("an id").to_owned())
        .collect()
}

fn expected(project: &Project) -> Told {
    let all = ids(project, &["jwt:ada", "jwt:bea", "role:postgres"]);
    Told::from([
        (user("ada"), ids(project, &["jwt:ada"])),
        (user("bea"), ids(project, &["jwt:bea"])),
        (user("boss"), all.clone()),
        (everybody()[4].clone(), all),
    ])
}

#[test]
fn each_is_told_of_exactly_its_own_rows() {
    let project = Project::new();
    let mut admin = project.database.admin();
    admin.batch_execute("SELECT hiems.grant_user_access('boss', 'admin')").expect("a level");
    let mut realtime = Realtime::start(&project.database, everybody());
    let mut client = project.database.connect("authenticator");
    const SETTLED_LATER: Wishes = &[("fake_no_usage", "true"), ("fake_cost", "0.5")];
    const FAILS: Wishes = &[("fake_status", "400")];
    // Whose, what the call is like, and whether it is kept: a rollback's row is the gateway's.
    let calls: [(&str, Wishes, bool); 6] = [
        ("ada", &[], true),
        ("bea", &[], true),
        ("ada", &[], false),
        ("bea", SETTLED_LATER, true),
        ("ada", FAILS, true),
        ("bea", SETTLED_LATER, false),
    ];
    for (sub, wishes, is_kept) in calls {
        let called = project.request(&mut client, "authenticated", &claims(sub), |request| {
            Ok((call(request, wishes).map(drop)?, is_kept))
        });
        assert_eq!(called.is_err(), wishes == FAILS);
    }
    hiems_tests::call(&mut admin, "{}").expect("an answer");
    project.database.wait_until_booked();
    // Seven calls, and the rows with what two of them did cost.
    assert_eq!(project.database.count("hiems.ai_usage_logs"), 9);
    assert_eq!(realtime.poll(), expected(&project));
    assert_eq!(realtime.poll(), Told::new(), "nothing is told twice");
}

/// A level counts from the poll on.
#[test]
fn a_level_that_is_taken_is_taken_here_too() {
    let project = Project::new();
    let mut admin = project.database.admin();
    let mut realtime = Realtime::start(&project.database, vec![user("bea")]);
    for (sql, told) in [
        ("SELECT hiems.grant_user_access('bea', 'reader')", 1),
        ("SELECT hiems.revoke_access('bea')", 0),
        ("SELECT hiems.grant_access('authenticated', 'reader')", 1),
        ("SELECT hiems.revoke_access('authenticated', 'reader')", 0),
        ("SELECT hiems.grant_access('authenticated', 'admin')", 1),
        // Without any it may not even ask.
        ("SELECT hiems.revoke_access('authenticated')", 0),
    ] {
        hiems_tests::call(&mut admin, "{}").expect("an answer");
        project.database.wait_until_booked();
        admin.batch_execute(sql).expect(sql);
        let polled = realtime.poll();
        assert_eq!(polled.get(&user("bea")).map_or(0, BTreeSet::len), told, "{sql}");
    }
}

/// The key of a deleted row goes to every subscriber, and a row that is gone before the poll is
/// told to nobody.
#[test]
fn a_delete_tells_everybody_the_key_and_nothing_else() {
    let project = Project::new();
    let mut realtime = Realtime::start(&project.database, vec![user("ada"), user("bea")]);
    let id = project.call("ada");
    project.database.wait_until_booked();
    assert_eq!(realtime.poll(), Told::from([(user("ada"), BTreeSet::from([id.clone()]))]));
    let delete = |id: &str| {
        project
            .database
            .admin()
            .batch_execute(&format!(
                "BEGIN; ALTER TABLE hiems.ai_usage_logs DISABLE TRIGGER append_only;
                 DELETE FROM hiems.ai_usage_logs WHERE id = '{id}';
                 ALTER TABLE hiems.ai_usage_logs ENABLE ALWAYS TRIGGER append_only; COMMIT"
            ))
            .expect("a superuser deletes");
    };
    delete(&id);
    let key = BTreeSet::from([format!("-{id}")]);
    assert_eq!(realtime.poll(), Told::from([(user("ada"), key.clone()), (user("bea"), key)]));
    let id = project.call("ada");
    project.database.wait_until_booked();
    delete(&id);
    let key = BTreeSet::from([format!("-{id}")]);
    assert_eq!(realtime.poll(), Told::from([(user("ada"), key.clone()), (user("bea"), key)]));
}

/// What `hiems.ledger_retention` deletes, too.
#[test]
fn what_is_deleted_as_old_is_told_to_everybody() {
    let project = Project::new();
    let database = &project.database;
    let insert = "INSERT INTO hiems.ai_usage_logs (id, created_at, cost_usd, cost_source, outcome, attempts, streamed,
                                                   principal, calls)
                  SELECT gen_random_uuid(), now() - interval '2 days', 1, 'billed', 'recorded', 1, false, 'jwt:ada', 1
                  FROM generate_series(1, 3) RETURNING id::text";
    let rows = database.admin().query(insert, &[]).expect("old rows");
    let keys: BTreeSet<String> =
        rows.iter().map(|row| format!("-{}", row.get::<_, &str>(0))).collect();
    let mut realtime = Realtime::start(database, vec![user("ada"), user("bea")]);
    database.set("hiems.ledger_retention", "1d");
    database.end_gateway();
    let id = project.call("ada");
    let all = Told::from([
        (user("ada"), keys.iter().cloned().chain([id]).collect()),
        (user("bea"), keys.clone()),
    ]);
    let mut told = Told::new();
    wait_until("all is told", SOON, || {
        for (subscriber, ids) in realtime.poll() {
            told.entry(subscriber).or_default().extend(ids);
        }
        told == all
    });
}

/// The policies ask once for a statement, not once for each row.
#[test]
fn the_policies_are_asked_once_for_a_statement() {
    let project = Project::new();
    let mut client = project.database.connect("authenticator");
    let plan: String = project
        .request(&mut client, "authenticated", &claims("ada"), |request| {
            let rows =
                request.query("EXPLAIN (COSTS off) SELECT * FROM hiems.ai_usage_logs", &[])?;
            Ok((rows.iter().map(|row| row.get::<_, String>(0) + "\n").collect(), false))
        })
        .expect("a plan");
    let asked = plan.lines().filter(|line| line.trim().starts_with("InitPlan")).count();
    assert_eq!(asked, 2, "{plan}");
    assert!(!plan.contains("SubPlan"), "{plan}");
    let filter = plan.lines().find(|line| line.contains("Filter") || line.contains("Cond"));
    assert!(!filter.expect("a condition").contains("current_principal"), "{plan}");
}
