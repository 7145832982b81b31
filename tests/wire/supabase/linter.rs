//! The rules of Supabase's database linter (https://github.com/supabase/splinter), asked of the catalog: nothing
//! above INFO, with hiems enabled and its schema exposed.

use super::project::Project;

/// Each: the lint's number and name, and a query of what it would find in our schemas.
const LINTS: [(&str, &str); 13] = [
    (
        "0002 auth_users_exposed, 0010 security_definer_view",
        "SELECT c.oid::regclass::text FROM pg_class AS c
         WHERE c.relkind = 'v' AND c.relnamespace::regnamespace::text IN ('hiems', 'hiems_private')
           AND NOT coalesce(c.reloptions, '{}') && ARRAY['security_invoker=true', 'security_invoker=on',
                                                         'security_invoker=1', 'security_invoker=yes']",
    ),
    (
        "0003 auth_rls_initplan",
        "SELECT format('%s on %s', policyname, tablename) FROM pg_policies, concat_ws(' ', qual, with_check) AS text
         WHERE schemaname IN ('hiems', 'hiems_private')
           AND (text ~ 'current_setting\\(|auth\\.(uid|jwt|role|email)\\('
                OR regexp_replace(text, '(?i)\\( *select +hiems\\.', '', 'g') ~ 'hiems\\.\\w+\\(')",
    ),
    (
        "0006 multiple_permissive_policies",
        "SELECT tablename || ' ' || cmd FROM pg_policies
         WHERE schemaname IN ('hiems', 'hiems_private') AND permissive = 'PERMISSIVE'
         GROUP BY schemaname, tablename, roles, cmd HAVING count(*) > 1",
    ),
    (
        "0007 policy_exists_rls_disabled, 0013 rls_disabled_in_public, 0023 sensitive_columns_exposed",
        "SELECT c.oid::regclass::text FROM pg_class AS c
         WHERE c.relkind IN ('r', 'p') AND NOT c.relrowsecurity
           AND c.relnamespace::regnamespace::text IN ('hiems', 'hiems_private')",
    ),
    (
        "0009 duplicate_index",
        "SELECT string_agg(indexname, ', ') FROM pg_indexes
         WHERE schemaname IN ('hiems', 'hiems_private')
         GROUP BY schemaname, tablename, replace(indexdef, indexname, '') HAVING count(*) > 1",
    ),
    (
        "0011 function_search_path_mutable",
        "SELECT p.oid::regprocedure::text FROM pg_proc AS p JOIN pg_language AS l ON l.oid = p.prolang
         WHERE p.pronamespace::regnamespace::text IN ('hiems', 'hiems_private')
           AND NOT EXISTS (SELECT FROM pg_depend AS d
                           WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')",
    ),
    (
        "0014 extension_in_public",
        "SELECT extname FROM pg_extension WHERE extname = 'hiems' AND extnamespace = 'public'::regnamespace",
    ),
    (
        "0015 rls_references_user_metadata",
        "SELECT policyname FROM pg_policies WHERE schemaname IN ('hiems', 'hiems_private', 'realtime')
           AND concat(qual, with_check) ~ 'user_metadata'",
    ),
    (
        "0016 materialized_view_in_api, 0017 foreign_table_in_api",
        "SELECT oid::regclass::text FROM pg_class
         WHERE relkind IN ('m', 'f') AND relnamespace::regnamespace::text IN ('hiems', 'hiems_private')",
    ),
    (
        "0018 unsupported_reg_types",
        "SELECT format('%s.%s', a.attrelid::regclass, a.attname)
         FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
         WHERE c.relnamespace::regnamespace::text IN ('hiems', 'hiems_private') AND a.attnum > 0
           AND a.atttypid::regtype::text IN ('regcollation', 'regconfig', 'regdictionary', 'regnamespace',
                                             'regoper', 'regoperator', 'regproc', 'regprocedure')",
    ),
    (
        "0022 extension_versions_outdated",
        "SELECT name FROM pg_available_extensions
         WHERE name = 'hiems' AND installed_version <> default_version",
    ),
    (
        "0024 rls_policy_always_true",
        "SELECT policyname FROM pg_policies
         WHERE schemaname IN ('hiems', 'hiems_private', 'realtime') AND 'true' IN (qual, with_check)",
    ),
    (
        "0028 anon_security_definer_function_executable, 0029 authenticated",
        "SELECT p.oid::regprocedure::text FROM pg_proc AS p
         WHERE p.prosecdef AND p.pronamespace::regnamespace::text IN ('hiems', 'hiems_private')
           AND (has_function_privilege('anon', p.oid, 'EXECUTE')
                OR has_function_privilege('authenticated', p.oid, 'EXECUTE'))",
    ),
];

#[test]
fn the_linter_has_nothing_to_say() {
    let project = Project::new();
    for (lint, sql) in LINTS {
        assert_eq!(found(&project, sql), Vec::<String>::new(), "{lint}");
    }
}

fn found(project: &Project, sql: &str) -> Vec<String> {
    let mut admin = project.database.admin();
    // As the linter does: then every name is written out.
    admin.batch_execute("SET search_path = ''").expect("a setting");
    admin.query(sql, &[]).expect(sql).iter().map(|row| row.get(0)).collect()
}

/// The rules find what they are for.
#[test]
fn the_rules_find_what_breaks_them() {
    let project = Project::new();
    project
        .database
        .admin()
        .batch_execute(
            "CREATE VIEW hiems.planted AS SELECT 1 AS one;
             CREATE MATERIALIZED VIEW hiems.made AS SELECT 1 AS one;
             CREATE TABLE hiems.open (kind regproc, number integer);
             CREATE INDEX one ON hiems.open (number);
             CREATE INDEX two ON hiems.open (number);
             CREATE POLICY own ON hiems.open FOR SELECT USING (hiems.current_principal() = '');
             CREATE POLICY again ON hiems.open FOR SELECT USING (true);
             CREATE POLICY meta ON hiems.open FOR DELETE
                 USING (current_setting('request.jwt.claims', true)::jsonb ? 'user_metadata');
             CREATE FUNCTION hiems.definer() RETURNS integer LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';
             UPDATE pg_extension SET extversion = '0.0.1' WHERE extname = 'hiems';
             UPDATE pg_extension SET extnamespace = 'public'::regnamespace WHERE extname = 'hiems'",
        )
        .expect("what no linter likes");
    for (lint, sql) in LINTS {
        assert!(!found(&project, sql).is_empty(), "{lint}");
    }
}
