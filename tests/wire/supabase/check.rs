//! `hiems.check_supabase()` finds what is wrong, and what it says mends it.

use super::project::Project;

/// Each: what breaks it, the check, its status, words of its detail, and what mends it.
const DAMAGE: [(&str, &str, &str, &str, &str); 15] = [
    (
        "GRANT TRUNCATE ON hiems.ai_usage_logs TO authenticated",
        "privileges",
        "fail",
        "authenticated has TRUNCATE on hiems.ai_usage_logs",
        "",
    ),
    (
        "GRANT EXECUTE ON FUNCTION hiems.health() TO PUBLIC",
        "privileges",
        "fail",
        "PUBLIC has EXECUTE",
        "",
    ),
    (
        "REVOKE SELECT ON hiems.usage_daily FROM authenticated",
        "privileges",
        "fail",
        "no SELECT",
        "",
    ),
    (
        "REVOKE EXECUTE ON FUNCTION hiems.current_principal() FROM authenticated",
        "policies",
        "fail",
        "an error for all subscribers",
        "",
    ),
    (
        "SELECT hiems.grant_access('anon', 'caller')",
        "levels",
        "warn",
        "anon has the level caller",
        "SELECT hiems.revoke_access('anon')",
    ),
    (
        "SELECT hiems.revoke_access('authenticated')",
        "levels",
        "warn",
        "authenticated does not have",
        "",
    ),
    (
        "ALTER PUBLICATION supabase_realtime DROP TABLE hiems.ai_usage_logs",
        "postgres_changes",
        "warn",
        "is not in supabase_realtime",
        "",
    ),
    (
        "DROP PUBLICATION supabase_realtime; CREATE PUBLICATION supabase_realtime FOR ALL TABLES",
        "postgres_changes",
        "warn",
        "FOR ALL TABLES",
        "DROP PUBLICATION supabase_realtime; CREATE PUBLICATION supabase_realtime",
    ),
    (
        "ALTER PUBLICATION supabase_realtime ADD TABLE hiems_private.calls",
        "postgres_changes",
        "fail",
        "hiems_private.calls is in",
        "ALTER PUBLICATION supabase_realtime DROP TABLE hiems_private.calls",
    ),
    (
        "ALTER TABLE hiems.ai_usage_logs DISABLE ROW LEVEL SECURITY",
        "policies",
        "fail",
        "shown all",
        "ALTER TABLE hiems.ai_usage_logs ENABLE ROW LEVEL SECURITY",
    ),
    (
        "CREATE POLICY planted ON hiems.ai_usage_logs FOR SELECT USING (true)",
        "policies",
        "fail",
        "planted",
        "DROP POLICY planted ON hiems.ai_usage_logs",
    ),
    ("DROP POLICY hiems_usage ON realtime.messages", "broadcast", "warn", "is missing", ""),
    (
        "ALTER TABLE realtime.messages DISABLE ROW LEVEL SECURITY",
        "broadcast",
        "fail",
        "joins any topic",
        "ALTER TABLE realtime.messages ENABLE ROW LEVEL SECURITY",
    ),
    (
        "ALTER TABLE realtime.messages RENAME TO away",
        "broadcast",
        "warn",
        "no table realtime.messages",
        "ALTER TABLE realtime.away RENAME TO messages",
    ),
    (
        "REVOKE INSERT ON realtime.messages FROM service_role",
        "broadcast",
        "fail",
        "may not write",
        "GRANT INSERT ON realtime.messages TO service_role",
    ),
];

#[test]
fn what_is_wrong_is_found_and_can_be_mended() {
    let project = Project::new();
    let is_well = project.problems();
    for (damage, name, status, words, mend) in DAMAGE {
        project.database.admin().batch_execute(damage).expect(damage);
        let problems = project.problems();
        let found = problems.iter().any(|(check, found, detail)| {
            check == name && found == status && detail.contains(words)
        });
        assert!(found, "{damage}: {problems:?}");
        project.database.admin().batch_execute(mend).expect(mend);
        project.enable();
        assert_eq!(project.problems(), is_well, "{damage}");
    }
}

#[test]
fn a_missing_day_is_found() {
    let project = Project::new();
    let drop = "SELECT format('DROP TABLE %s', string_agg(inhrelid::regclass::text, ', '))
                FROM pg_inherits WHERE inhparent = 'realtime.messages'::regclass";
    let drop = project.database.text(drop, &[]).expect("a statement");
    project.database.admin().batch_execute(&drop).expect("the days go");
    let problems = project.problems();
    let found = problems.iter().any(|(_, status, detail)| {
        status == "fail" && detail.contains("no partition of realtime.messages is for now")
    });
    assert!(found, "{problems:?}");
}

/// What is in the way may be anybody's: partitions by something else than time have bounds that are no time.
#[test]
fn partitions_by_anything_are_looked_at() {
    let project = Project::new();
    let key_and_bounds = [
        ("RANGE (topic)", "FROM ('a') TO ('z')", "is not partitioned by time"),
        (
            "RANGE (topic, inserted_at)",
            "FROM ('a', '2020-01-01') TO ('z', '2020-01-01')",
            "by time",
        ),
        ("LIST (topic)", "IN ('a', 'FROM (''x'') TO (''y'')')", "is not partitioned by time"),
        ("HASH (topic)", "WITH (MODULUS 1, REMAINDER 0)", "is not partitioned by time"),
        ("RANGE ((lower(topic)))", "FROM (MINVALUE) TO (MAXVALUE)", "is not partitioned by time"),
        ("RANGE (inserted_at)", "FROM ('2020-01-01') TO ('2020-01-02')", "is for now"),
        ("RANGE (inserted_at)", "FROM ('2020-01-01') TO (MAXVALUE)", ""),
        ("RANGE (inserted_at)", "FROM (MINVALUE) TO ('infinity')", ""),
        ("RANGE (day)", "FROM ('2020-01-01') TO ('infinity')", ""),
        ("RANGE (at)", "FROM ('2020-01-01 00:00+05') TO (MAXVALUE)", ""),
        ("LIST (topic)", "DEFAULT", ""),
    ];
    for (key, bounds, words) in key_and_bounds {
        let bounds = match bounds {
            "DEFAULT" => bounds.to_owned(),
            bounds => format!("FOR VALUES {bounds}"),
        };
        project
            .database
            .admin()
            .batch_execute(&format!(
                "DROP TABLE realtime.messages;
                 CREATE TABLE realtime.messages (
                     topic text, extension text, payload jsonb, private boolean, inserted_at timestamp,
                     at timestamptz, day date) PARTITION BY {key};
                 CREATE TABLE realtime.messages_1 PARTITION OF realtime.messages {bounds};
                 ALTER TABLE realtime.messages ENABLE ROW LEVEL SECURITY;
                 GRANT INSERT ON realtime.messages TO service_role"
            ))
            .expect(key);
        let problems = project.problems();
        let found = problems.iter().any(|(_, _, detail)| detail.contains("partition"));
        let is_found = problems.iter().any(|(_, _, detail)| {
            !words.is_empty() && detail.contains("partition") && detail.contains(words)
        });
        assert_eq!(
            (found, is_found),
            (!words.is_empty(), !words.is_empty()),
            "{key} {bounds}: {problems:?}"
        );
    }
}

/// Roles are the server's, and what a role is set is everybody's: a server of its own.
#[test]
fn what_the_servers_settings_hide_is_found() {
    let cluster = hiems_tests::Cluster::start(&["hiems.jwt_session_roles = 'somebody'"]);
    let database = hiems_tests::Database::on(&cluster, hiems_tests::Config::default());
    let mut admin = database.admin();
    admin
        .batch_execute(
            "CREATE ROLE authenticator; CREATE PUBLICATION supabase_realtime;
             ALTER ROLE authenticator SET pgrst.db_schemas = 'public, hiems_private'",
        )
        .expect("roles");
    let found: Vec<(String, String)> = admin
        .query("SELECT name, detail FROM hiems.check_supabase() WHERE status = 'fail'", &[])
        .expect("the checks")
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    for (name, words) in [
        ("tokens", "does not name authenticator"),
        ("api", "does not have schema hiems"),
        ("api", "has schema hiems_private"),
        ("postgres_changes", "wal_level is replica"),
    ] {
        let is_found = found.iter().any(|(check, detail)| check == name && detail.contains(words));
        assert!(is_found, "{words}: {found:?}");
    }
    let exists = "pg_settings WHERE name = 'output_plugin_libraries'";
    let is_found = found.iter().any(|(_, detail)| detail.contains("wal2json"));
    assert_eq!(is_found, database.count(exists) == 1, "{found:?}");
    admin
        .batch_execute("ALTER ROLE authenticator SET pgrst.db_schemas = 'public,hiems'")
        .expect("a setting");
    let api = "SELECT status FROM hiems.check_supabase() WHERE name = 'api'";
    assert_eq!(database.text(api, &[]).as_deref(), Some("ok"));
}
