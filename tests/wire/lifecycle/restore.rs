//! pg_dump and restore: ledger, sealed keys, levels, rates, and what was not booked yet, come back.

use std::io::Write;
use std::process::{Command, Stdio};

use hiems_tests::{Cluster, Config, Database, KEY, ResultExt, SOON, call, directives, wait_until};
use postgres::Client;

fn all(client: &mut Client, sql: &str) -> Vec<String> {
    client.query(sql, &[]).expect(sql).iter().map(|row| row.get(0)).collect()
}

/// The ledger, but for the transaction that wrote each row.
const LEDGER: &str = "
    SELECT (to_jsonb(l) - 'booked_xid')::text FROM hiems.ai_usage_logs AS l ORDER BY created_at, id";
const REST: [&str; 3] = [
    "SELECT to_jsonb(k)::text FROM hiems_private.api_keys AS k ORDER BY name",
    "SELECT (to_jsonb(a) - 'role_oid')::text FROM hiems_private.access AS a ORDER BY grantee, level",
    "SELECT to_jsonb(r)::text FROM hiems_private.exchange_rates AS r ORDER BY rate_date",
];

#[test]
fn a_dump_brings_everything_back_elsewhere() {
    let home = Cluster::start(&[]);
    let database = Database::on(&home, Config::default());
    let mut admin = database.admin();
    admin.execute("SELECT hiems.set_api_key($1)", &[&KEY]).expect("a key");
    admin
        .batch_execute(
            "CREATE ROLE app LOGIN;
             SELECT hiems.grant_access('app', 'caller'), hiems.grant_user_access('u1', 'reader');
             SELECT hiems.set_exchange_rate('USD', 10.4521, current_date - 1, 'Riksbanken')",
        )
        .expect("levels and a rate");
    call(&mut admin, &directives(&[("fake_cost", "0.0076509169000000005")])).expect("an answer");
    call(&mut admin, &directives(&[("fake_status", "400")])).expect_err("a failure");
    admin.batch_execute("BEGIN").expect("a begin");
    call(&mut admin, "{}").expect("an answer");
    admin.batch_execute("ROLLBACK").expect("a rollback");
    database.wait_until_booked();
    // One that is answered, and whose caller has not ended; one that is in flight.
    admin.batch_execute("BEGIN").expect("a begin");
    call(&mut admin, &directives(&[("fake_cost", "4.2e-7")])).expect("an answer");
    let slow = directives(&[("fake_delay_ms", "60000")]);
    let running =
        hiems_tests::Running::in_flight(&database, database.connect("postgres"), &slow, 1);

    wait_until("the answer is in the journal", SOON, || {
        database.count("hiems.calls WHERE state = 'answered'") == 1
    });

    let dump = home.program("pg_dump").arg(&database.name).output().expect("pg_dump runs");
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    assert_eq!(String::from_utf8_lossy(&dump.stderr), "", "no warnings");
    let mut reader = database.admin();
    let ledger = all(&mut reader, LEDGER);
    assert_eq!(ledger.len(), 3);
    let rest: Vec<_> = REST.iter().map(|sql| all(&mut reader, sql)).collect();

    // Another server, with the master key brought along.
    let away = Cluster::start_unlike_others(&[], &[]);
    let mut elsewhere = away.connect("postgres", "postgres");
    for sql in ["CREATE ROLE app LOGIN", "CREATE DATABASE restored OID 70000"] {
        elsewhere.batch_execute(sql).expect(sql);
    }
    restore(&away, &dump.stdout);
    let mut restored = away.connect("restored", "postgres");
    assert_eq!(all(&mut restored, LEDGER), ledger);
    for (sql, rows) in REST.iter().zip(&rest) {
        assert_eq!(&all(&mut restored, sql), rows, "{sql}");
    }
    assert_eq!(
        all(&mut restored, "SELECT state FROM hiems_private.calls ORDER BY created_at"),
        ["answered", "sent"]
    );
    let key = std::fs::read(home.data().join("hiems_master.key")).expect("the master key");
    away.write("hiems_master.key", &key, 0o600);
    restored
        .batch_execute(&format!(
            "LOAD 'hiems'; ALTER DATABASE restored SET hiems.base_url = '{}';
             ALTER DATABASE restored SET hiems.settlement_timeout = '1s'",
            database.fake.base_url()
        ))
        .expect("a setting");
    let mut app = away.connect("restored", "app");
    let refusal = call(&mut app, "{}").refusal();
    assert_eq!(refusal.sqlstate, "PT503");
    assert!(refusal.hint.contains("hiems.adopt_api_keys()"), "{refusal:?}");
    assert_eq!(all(&mut restored, "SELECT hiems.adopt_api_keys()::text"), ["1"]);
    call(&mut app, "{}").expect("an answer: key and level are back");
    // The callers of what was on its way are gone: they never were here.
    wait_until("what was on its way is booked", SOON, || {
        all(&mut restored, "SELECT count(*)::text FROM hiems_private.calls") == ["0"]
    });
    assert_eq!(
        all(
            &mut restored,
            "SELECT concat_ws(' ', outcome, cost_usd) FROM hiems.ai_usage_logs
             ORDER BY created_at OFFSET 3 LIMIT 2"
        ),
        ["rolled_back 0.00000042", "unknown"]
    );
    // Nothing of it disturbed the original.
    admin.batch_execute("COMMIT").expect("a commit");
    assert_eq!(all(&mut reader, LEDGER).len(), 4);
    reader.execute("SELECT pg_cancel_backend($1)", &[&running.pid]).expect("a signal");
    running.end().1.expect_err("the cancel");
}

/// Elsewhere roles have other OIDs: whoever has the name there is meant, as by every GRANT of the dump, but not by
/// what roles had that were dropped by then.
#[test]
fn levels_and_principals_of_roles_come_back_by_name() {
    let home = Cluster::start(&[]);
    let database = Database::on(&home, Config::default());
    let mut admin = database.admin();
    admin.execute("SELECT hiems.set_api_key($1)", &[&KEY]).expect("a key");
    for role in ["app", "gone", "unknown", "late"] {
        let sql = format!("CREATE ROLE {role} LOGIN; SELECT hiems.grant_access('{role}', 'admin')");
        admin.batch_execute(&sql).expect("a role");
        call(&mut database.connect(role), "{}").expect("an answer");
    }
    database.wait_until_booked();
    for role in ["gone", "unknown"] {
        let sql = format!("DROP OWNED BY {role}; DROP ROLE {role}");
        admin.batch_execute(&sql).expect("no role");
    }
    // Its privileges would be looked for in the restore.
    admin.batch_execute("DROP OWNED BY late").expect("no privileges");
    let dump = home.program("pg_dump").arg(&database.name).output().expect("pg_dump runs");
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));

    let away = Cluster::start(&[]);
    let mut elsewhere = away.connect("postgres", "postgres");
    // Not in the order of home: app's OID is that of home's gone.
    for role in ["other", "app", "gone"] {
        elsewhere.batch_execute(&format!("CREATE ROLE {role} LOGIN")).expect("a role");
    }
    elsewhere.batch_execute("CREATE DATABASE restored").expect("a database");
    restore(&away, &dump.stdout);
    let mut restored = away.connect("restored", "postgres");
    restored
        .batch_execute(
            "SELECT hiems.grant_access('gone', 'caller'), hiems.grant_access('other', 'caller')",
        )
        .expect("levels");
    let who = "SELECT concat_ws(' ', hiems.current_principal(), hiems.has_level('admin'),
                                (SELECT calls FROM hiems.my_usage_totals))";
    for (role, found) in
        [("app", "role:app t 1"), ("gone", "role#2:gone f 0"), ("other", "role:other f 0")]
    {
        assert_eq!(all(&mut away.connect("restored", role), who), [found]);
    }
    elsewhere.batch_execute("ALTER ROLE other RENAME TO unknown").expect("a name");
    restored.batch_execute("SELECT hiems.grant_access('unknown', 'caller')").expect("a level");
    assert_eq!(all(&mut away.connect("restored", "unknown"), who), ["role#2:unknown f 0"]);
    // One that is made after the restore is not meant, until a superuser says so.
    elsewhere.batch_execute("CREATE ROLE late LOGIN").expect("a role");
    restored.batch_execute("SELECT hiems.grant_access('late', 'caller')").expect("a level");
    assert_eq!(all(&mut away.connect("restored", "late"), who), ["role#2:late f 0"]);
    restored
        .batch_execute(
            "UPDATE hiems_private.principal_roles SET role_oid = 'late'::regrole
             WHERE principal = 'role:late'",
        )
        .expect("a superuser may");
    assert_eq!(all(&mut away.connect("restored", "late"), who), ["role:late f 1"]);
}

fn restore(away: &Cluster, dump: &[u8]) {
    let mut psql: Command = away.program("psql");
    let mut psql = psql
        .args(["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "restored"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("psql runs");
    psql.stdin.take().expect("its input").write_all(dump).expect("the dump goes in");
    let done = psql.wait_with_output().expect("its end");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(String::from_utf8_lossy(&done.stderr), "", "no warnings");
}
