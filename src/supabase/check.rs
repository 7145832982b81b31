//! What is wrong with hiems in a project of Supabase's, and what mends it. Reads only.

use pgrx::spi::SpiResult;

use super::{broadcast, policies};
use crate::error::Error;
use crate::health::{self, Finding};
use crate::pg::spi;
use crate::settings;

/// Every check, and what it says where nothing is wrong.
const CHECKS: [(&str, &str); 8] = [
    ("roles", "anon, authenticated, service_role and authenticator are there"),
    ("levels", "anon has none, authenticated calls, service_role calls for any user"),
    ("tokens", "the claims of authenticator's and Realtime's sessions count"),
    ("privileges", "as hiems grants them"),
    ("api", "the database does not say that PostgREST leaves schema hiems out"),
    ("postgres_changes", "hiems.ai_usage_logs is in supabase_realtime, and can be decoded"),
    ("policies", "each user's own rows, and all for readers"),
    ("broadcast", "on"),
];

const ENABLE: &str = "SELECT * FROM hiems.enable_supabase()";

/// One finding for each check that is well, and one for each thing that is not.
pub fn check() -> Result<Vec<Finding>, Error> {
    let mut problems = Vec::new();
    let trusted: Vec<String> = ["authenticator", "supabase_admin"]
        .into_iter()
        .filter(|role| settings::is_jwt_session_role(role))
        .map(str::to_owned)
        .collect();
    for sql in [ROLES, API, POSTGRES_CHANGES, POLICIES, BROADCAST] {
        problems.extend(read(sql, &[])?);
    }
    problems.extend(read(TOKENS, &[trusted.into()])?);
    let opened = privileges()?;
    if let Some(first) = opened.first() {
        let more = match opened.len() {
            1 => String::new(),
            count => format!(", and {} more", count - 1),
        };
        problems
            .push(("privileges".to_owned(), health::fail("", format!("{first}{more}"), ENABLE)));
    }
    if broadcast::is_given_up() {
        const DETAIL: &str = "nothing is sent: a gateway had to end since realtime.send(), or a trigger on \
                              realtime.messages, could not be cancelled";
        const HINT: &str = "Mend that, then SELECT * FROM hiems.enable_supabase()";
        problems.push(("broadcast".to_owned(), health::fail("", DETAIL.to_owned(), HINT)));
    }
    if let Some(problem) = policies::problem()? {
        problems.push(("broadcast".to_owned(), health::warn("", problem, ENABLE)));
    }
    let mut findings = Vec::new();
    for (name, is_well) in CHECKS {
        let (found, rest): (Vec<_>, Vec<_>) =
            problems.into_iter().partition(|(check, _)| check == name);
        problems = rest;
        if found.is_empty() {
            findings.push(health::ok(name, is_well));
        }
        findings.extend(found.into_iter().map(|(_, finding)| Finding { name, ..finding }));
    }
    Ok(findings)
}

/// Rows of (check, true if it is a failure, detail, hint).
fn read(
    sql: &'static str,
    arguments: &[pgrx::datum::DatumWithOid],
) -> SpiResult<Vec<(String, Finding)>> {
    spi::read(sql, arguments, |row| {
        let text =
            |column| Ok::<_, pgrx::spi::Error>(row.get::<String>(column)?.unwrap_or_default());
        let make = match row.get::<bool>(2)?.unwrap_or_default() {
            true => health::fail,
            false => health::warn,
        };
        Ok((text(1)?, make("", text(3)?, &text(4)?)))
    })
}

// Of PUBLIC and of Supabase's roles: what they have and no level gives, and what a level gives and they have not.
const PRIVILEGES: &str = "
    WITH role AS (
        SELECT r.oid, r.rolname::text AS name, EXISTS (
                   SELECT FROM hiems_private.access AS a
                   WHERE a.grantee_kind = 'role' AND a.grantee = r.rolname AND a.role_oid = r.oid) AS has_level
        FROM pg_roles AS r WHERE r.rolname IN ('anon', 'authenticated', 'service_role')
        UNION ALL SELECT 0, 'PUBLIC', false
    ), given AS (
        SELECT x.grantee, x.privilege_type, 'schema ' || n.nspname AS object,
               n.nspname = 'hiems' AND x.privilege_type = 'USAGE' AS by_level
        FROM pg_namespace AS n, aclexplode(n.nspacl) AS x
        WHERE n.nspname IN ('hiems', 'hiems_private')
        UNION ALL
        SELECT x.grantee, x.privilege_type, format('%I.%I', n.nspname, c.relname),
               x.privilege_type = 'SELECT' AND (n.nspname = 'hiems' OR c.relname IN ('calls', 'queue'))
        FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace,
             aclexplode(c.relacl) AS x
        WHERE n.nspname IN ('hiems', 'hiems_private')
        UNION ALL
        SELECT x.grantee, x.privilege_type, p.oid::regprocedure::text, n.nspname = 'hiems'
        FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace,
             aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS x
        WHERE n.nspname IN ('hiems', 'hiems_private')
    )
    SELECT format('%s has %s on %s', role.name, given.privilege_type, given.object)
    FROM given JOIN role ON role.oid = given.grantee
    WHERE NOT (role.has_level AND given.by_level)
    UNION ALL
    SELECT format('%s has no SELECT on %s', role.name, c.oid::regclass)
    FROM role, pg_class AS c
    WHERE role.has_level AND c.relnamespace = 'hiems'::regnamespace AND c.relkind IN ('r', 'v')
      AND NOT has_table_privilege(role.oid, c.oid, 'SELECT')
    UNION ALL
    SELECT format('%s has no EXECUTE on %s', role.name, p.oid::regprocedure)
    FROM role, pg_proc AS p
    WHERE role.has_level AND p.pronamespace = 'hiems'::regnamespace
      AND NOT has_function_privilege(role.oid, p.oid, 'EXECUTE')
    UNION ALL
    SELECT format('%s has no USAGE on schema hiems', role.name) FROM role
    WHERE role.has_level AND NOT has_schema_privilege(role.oid, 'hiems', 'USAGE')";

/// The privileges of PUBLIC and of Supabase's roles that are not as their levels give them.
pub(super) fn privileges() -> SpiResult<Vec<String>> {
    let rows = spi::read(PRIVILEGES, &[], |row| row.get::<String>(1))?;
    Ok(rows.into_iter().flatten().collect())
}

const ROLES: &str = "
    SELECT 'roles', false, format('there is no role %s', name),
           'In a project of Supabase''s there is: is this its database?'
    FROM unnest('{anon, authenticated, service_role, authenticator}'::text[]) AS name
    WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)
    UNION ALL
    SELECT 'levels', false, format('%s does not have the level %s', r.rolname, level),
           'SELECT * FROM hiems.enable_supabase()'
    FROM (VALUES ('authenticated', 'caller'), ('service_role', 'service')) AS wanted (name, level)
    JOIN pg_roles AS r ON r.rolname = name
    WHERE NOT EXISTS (SELECT FROM hiems_private.access AS a
                      WHERE a.grantee_kind = 'role' AND a.grantee = name AND a.role_oid = r.oid
                        AND a.level = wanted.level)
    UNION ALL
    SELECT 'levels', false, format('anon has the level %s: so has whoever has the public key', level),
           'SELECT hiems.revoke_access(''anon'')'
    FROM hiems_private.access AS a JOIN pg_roles AS r ON r.rolname = a.grantee AND r.oid = a.role_oid
    WHERE a.grantee_kind = 'role' AND a.grantee = 'anon'";

// $1: the roles whose claims count.
const TOKENS: &str = "
    SELECT 'tokens', true, format('hiems.jwt_session_roles does not name %s', rolname),
           'A superuser adds it there: until then its sessions are one user, the role.'
    FROM pg_roles
    WHERE rolname <> ALL ($1)
      AND (rolname = 'authenticator'
           OR rolname = 'supabase_admin' AND to_regnamespace('realtime') IS NOT NULL)";

// What ALTER ROLE authenticator SET says; PostgREST's own configuration is out of sight.
const API: &str = "
    WITH shown AS (
        SELECT string_to_array(regexp_replace(split_part(s.setting, '=', 2), '\\s', '', 'g'), ',') AS schemas
        FROM pg_db_role_setting AS d JOIN pg_roles AS r ON r.oid = d.setrole, unnest(d.setconfig) AS s (setting)
        WHERE r.rolname = 'authenticator' AND s.setting LIKE 'pgrst.db\\_schemas=%'
          AND d.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
        ORDER BY d.setdatabase DESC LIMIT 1
    )
    SELECT 'api', true, 'pgrst.db_schemas does not have schema hiems',
           format('ALTER ROLE authenticator SET pgrst.db_schemas = %L; NOTIFY pgrst, ''reload config''',
                  array_to_string(schemas || 'hiems'::text, ', '))
    FROM shown WHERE 'hiems' <> ALL (schemas)
    UNION ALL
    SELECT 'api', true, 'pgrst.db_schemas has schema hiems_private', 'Take it out: it is for nobody.'
    FROM shown WHERE 'hiems_private' = ANY (schemas)";

const POSTGRES_CHANGES: &str = "
    WITH publication AS (SELECT * FROM pg_publication WHERE pubname = 'supabase_realtime'),
         published AS (SELECT t.* FROM pg_publication_tables AS t JOIN publication AS p USING (pubname)),
         ledger AS (SELECT * FROM published WHERE schemaname = 'hiems' AND tablename = 'ai_usage_logs')
    SELECT 'postgres_changes', false, 'there is no publication supabase_realtime',
           'CREATE PUBLICATION supabase_realtime; then SELECT * FROM hiems.enable_supabase()'
    WHERE NOT EXISTS (SELECT FROM publication)
    UNION ALL
    SELECT 'postgres_changes', false, 'supabase_realtime is FOR ALL TABLES: every change of each is decoded',
           'Drop it, and create it FOR TABLE with those that are wanted.'
    FROM publication WHERE puballtables
    UNION ALL
    SELECT 'postgres_changes', false, 'hiems.ai_usage_logs is not in supabase_realtime',
           'SELECT * FROM hiems.enable_supabase()'
    FROM publication WHERE NOT EXISTS (SELECT FROM ledger)
    UNION ALL
    SELECT 'postgres_changes', true, 'supabase_realtime does not publish INSERT',
           'ALTER PUBLICATION supabase_realtime SET (publish = ''insert, update, delete, truncate'')'
    FROM publication WHERE NOT pubinsert
    UNION ALL
    SELECT 'postgres_changes', true, format('hiems_private.%s is in supabase_realtime', tablename),
           'ALTER PUBLICATION supabase_realtime DROP ...: it is for nobody.'
    FROM published WHERE schemaname = 'hiems_private'
      AND NOT EXISTS (SELECT FROM publication WHERE puballtables)
    UNION ALL
    SELECT 'postgres_changes', true, format('wal_level is %s', setting), 'Set it to logical, and restart.'
    FROM pg_settings WHERE name = 'wal_level' AND setting <> 'logical' AND EXISTS (SELECT FROM publication)
    UNION ALL
    SELECT 'postgres_changes', true, 'output_plugin_libraries does not have wal2json',
           'A superuser adds it there: without it Realtime cannot read any change.'
    FROM pg_settings
    WHERE name = 'output_plugin_libraries' AND EXISTS (SELECT FROM publication)
      AND 'wal2json' <> ALL (string_to_array(regexp_replace(setting, '[\\s\"]', '', 'g'), ','))";

// An error in the check of one subscriber ends the poll for all.
const POLICIES: &str = "
    SELECT 'policies', true, 'row-level security of hiems.ai_usage_logs is off: everybody is shown all',
           'ALTER TABLE hiems.ai_usage_logs ENABLE ROW LEVEL SECURITY'
    FROM pg_class WHERE oid = 'hiems.ai_usage_logs'::regclass AND NOT relrowsecurity
    UNION ALL
    SELECT 'policies', true, format('policy %I on hiems.ai_usage_logs is not of hiems', polname),
           format('DROP POLICY %I ON hiems.ai_usage_logs', polname)
    FROM pg_policy
    WHERE polrelid = 'hiems.ai_usage_logs'::regclass AND polname <> 'own_rows_and_readers'
    UNION ALL
    SELECT 'policies', true,
           format('%s may read hiems.ai_usage_logs, and not ask whose a row is: an error for all subscribers', rolname),
           'SELECT * FROM hiems.enable_supabase()'
    FROM pg_roles AS r
    WHERE NOT r.rolsuper AND r.rolname IN ('anon', 'authenticated', 'service_role')
      AND has_any_column_privilege(r.oid, 'hiems.ai_usage_logs', 'SELECT')
      AND NOT (has_schema_privilege(r.oid, 'hiems', 'USAGE')
               AND has_function_privilege(r.oid, 'hiems.current_principal()', 'EXECUTE')
               AND has_function_privilege(r.oid, 'hiems.has_level(text)', 'EXECUTE'))";

const BROADCAST: &str = "
    WITH messages AS (SELECT * FROM pg_class WHERE oid = to_regclass('realtime.messages'))
    SELECT 'broadcast', false, 'there is no table realtime.messages, or no function realtime.send',
           'Realtime makes them when it starts; then SELECT * FROM hiems.enable_supabase()'
    WHERE NOT EXISTS (SELECT FROM messages)
       OR to_regprocedure('realtime.send(jsonb, text, text, boolean)') IS NULL
    UNION ALL
    SELECT 'broadcast', true, 'row-level security of realtime.messages is off: whoever wants joins any topic',
           'ALTER TABLE realtime.messages ENABLE ROW LEVEL SECURITY'
    FROM messages WHERE NOT relrowsecurity
    UNION ALL
    SELECT 'broadcast', true,
           CASE WHEN is_by_time THEN 'no partition of realtime.messages is for now: what is broadcast is lost'
                ELSE 'realtime.messages is not partitioned by time: there may be no partition for what is broadcast' END,
           'Realtime makes one a day while clients are connected, and when the next one connects.'
    FROM messages AS m JOIN pg_partitioned_table AS p ON p.partrelid = m.oid
         LEFT JOIN pg_attribute AS a ON a.attrelid = m.oid AND a.attnum = p.partattrs[0],
         -- Bounds of other types cannot be read as points in time.
         coalesce(p.partstrat = 'r' AND p.partnatts = 1
                  AND a.atttypid IN ('timestamp'::regtype, 'timestamptz'::regtype, 'date'::regtype), false) AS is_by_time
    WHERE NOT EXISTS (
        SELECT FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid,
             pg_get_expr(c.relpartbound, c.oid) AS bound,
             regexp_match(bound, 'FROM \\((?:MINVALUE|''([^'']+)'')\\) TO \\((?:MAXVALUE|''([^'']+)'')\\)') AS ends
        WHERE i.inhparent = m.oid
          AND CASE WHEN bound = 'DEFAULT' THEN true
                   WHEN NOT is_by_time OR ends IS NULL THEN false
                   WHEN a.atttypid = 'timestamptz'::regtype
                   THEN now() >= coalesce(ends[1], '-infinity')::timestamptz
                        AND now() < coalesce(ends[2], 'infinity')::timestamptz
                   ELSE localtimestamp >= coalesce(ends[1], '-infinity')::timestamp
                        AND localtimestamp < coalesce(ends[2], 'infinity')::timestamp END)
    UNION ALL
    SELECT 'broadcast', true, 'service_role, as which hiems sends, may not write to realtime.messages',
           'GRANT USAGE ON SCHEMA realtime, and INSERT ON realtime.messages, TO service_role.'
    FROM messages AS m JOIN pg_roles AS r ON r.rolname = 'service_role'
    WHERE NOT (has_table_privilege(r.oid, m.oid, 'INSERT') AND has_schema_privilege(r.oid, m.relnamespace, 'USAGE'))";
