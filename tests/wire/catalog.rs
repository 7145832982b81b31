//! What stands in PostgreSQL's catalog: comments, no rights for all, row-level security, no definers.

mod drop_guard;
mod installation;

use hiems_tests::Database;

/// The members of the extension, as (classid, objid).
const MEMBERS: &str = "
    WITH members AS (
        SELECT classid, objid FROM pg_depend
        WHERE deptype = 'e' AND refclassid = 'pg_extension'::regclass
          AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'hiems')),
    relations AS (
        SELECT c.* FROM pg_class AS c
        JOIN members ON classid = 'pg_class'::regclass AND objid = c.oid),
    functions AS (
        SELECT p.* FROM pg_proc AS p
        JOIN members ON classid = 'pg_proc'::regclass AND objid = p.oid)";

/// What a query over the members finds, one text a row; it should find nothing.
#[track_caller]
fn assert_none(database: &Database, what: &str, query: &str) {
    let found: Vec<String> = database
        .admin()
        .query(&format!("{MEMBERS} {query} ORDER BY 1"), &[])
        .expect(what)
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert!(found.is_empty(), "{what}: {found:#?}");
}

#[test]
fn the_extension_has_the_members_that_are_looked_at() {
    let database = Database::without_key();
    for (what, query, at_least) in [
        ("tables", "SELECT FROM relations WHERE relkind = 'r'", 6),
        ("views", "SELECT FROM relations WHERE relkind = 'v'", 9),
        ("functions", "SELECT FROM functions", 15),
        ("schemas", "SELECT FROM members WHERE classid = 'pg_namespace'::regclass", 2),
    ] {
        let found = database.admin().query(&format!("{MEMBERS} {query}"), &[]).expect(what).len();
        assert!(found >= at_least, "{found} {what}");
    }
    // Whatever is in the two schemas belongs to the extension.
    assert_none(
        &database,
        "strays",
        "SELECT oid::regclass::text FROM pg_class
         WHERE relnamespace IN ('hiems'::regnamespace, 'hiems_private'::regnamespace)
           AND relkind <> 'i' AND oid NOT IN (SELECT oid FROM relations)
         UNION ALL
         SELECT oid::regprocedure::text FROM pg_proc
         WHERE pronamespace IN ('hiems'::regnamespace, 'hiems_private'::regnamespace)
           AND oid NOT IN (SELECT oid FROM functions)",
    );
}

#[test]
fn everything_has_a_comment() {
    let database = Database::without_key();
    assert_none(
        &database,
        "without a comment",
        "SELECT pg_describe_object(classid, objid, objsubid) FROM (
             SELECT classid, objid, 0 AS objsubid FROM members
             -- A table's row type is the table.
             WHERE NOT (classid = 'pg_type'::regclass AND EXISTS (
                 SELECT FROM pg_type AS t WHERE t.oid = objid AND (typrelid <> 0 OR typelem <> 0)))
             UNION ALL
             SELECT 'pg_class'::regclass, attrelid, attnum FROM pg_attribute
             WHERE attnum > 0 AND NOT attisdropped AND attrelid IN (
                 SELECT oid FROM relations WHERE relkind IN ('r', 'v', 'm', 'p', 'c'))
             UNION ALL
             SELECT 'pg_trigger'::regclass, oid, 0 FROM pg_trigger
             WHERE tgrelid IN (SELECT oid FROM relations) AND NOT tgisinternal
             UNION ALL
             SELECT 'pg_policy'::regclass, oid, 0 FROM pg_policy
             WHERE polrelid IN (SELECT oid FROM relations)) AS objects
         WHERE NOT EXISTS (
             SELECT FROM pg_description AS d
             WHERE d.classoid = classid AND d.objoid = objid AND d.objsubid = objects.objsubid
               AND d.description ~ '[^ ]')",
    );
}

#[test]
fn nothing_is_granted_to_everybody() {
    let database = Database::without_key();
    assert_none(
        &database,
        "rights of PUBLIC",
        "SELECT what || ': ' || privilege_type FROM (
             SELECT oid::regprocedure::text AS what,
                    aclexplode(coalesce(proacl, acldefault('f', proowner))) AS a FROM functions
             UNION ALL
             SELECT oid::regclass::text, aclexplode(coalesce(relacl, acldefault('r', relowner)))
             FROM relations
             UNION ALL
             SELECT nspname::text, aclexplode(coalesce(nspacl, acldefault('n', nspowner)))
             FROM pg_namespace WHERE nspname IN ('hiems', 'hiems_private')
             UNION ALL
             SELECT attrelid::regclass || '.' || attname, aclexplode(attacl)
             FROM pg_attribute WHERE attrelid IN (SELECT oid FROM relations)) AS rights,
             LATERAL (SELECT (a).grantee, (a).privilege_type) AS one
         WHERE one.grantee = 0",
    );
    // Nor to any role but the owner.
    assert_none(
        &database,
        "rights of somebody",
        "SELECT oid::regclass::text FROM relations, aclexplode(relacl) AS a WHERE grantee <> relowner
         UNION ALL
         SELECT oid::regprocedure::text FROM functions, aclexplode(proacl) AS a
         WHERE grantee <> proowner
         UNION ALL
         SELECT nspname::text FROM pg_namespace, aclexplode(nspacl) AS a
         WHERE nspname IN ('hiems', 'hiems_private') AND grantee <> nspowner",
    );
}

#[test]
fn every_table_has_row_level_security() {
    let database = Database::without_key();
    assert_none(
        &database,
        "tables without row-level security",
        "SELECT oid::regclass::text FROM relations
         WHERE relkind IN ('r', 'p') AND NOT relrowsecurity",
    );
    // A table without a primary key cannot be published.
    assert_none(
        &database,
        "tables without a primary key",
        "SELECT oid::regclass::text FROM relations AS r
         WHERE relkind IN ('r', 'p') AND NOT EXISTS (
             SELECT FROM pg_index WHERE indrelid = r.oid AND indisprimary)",
    );
    assert_none(
        &database,
        "policies of two for one action",
        "SELECT polrelid::regclass::text FROM pg_policy WHERE polrelid IN (SELECT oid FROM relations)
         GROUP BY polrelid, polcmd HAVING count(*) > 1",
    );
}

#[test]
fn every_view_has_its_reader_s_rights() {
    let database = Database::without_key();
    assert_none(
        &database,
        "views with their owner's rights",
        "SELECT oid::regclass::text FROM relations
         WHERE relkind = 'v' AND NOT coalesce(
             'security_invoker=true' = ANY (reloptions)
             OR 'security_invoker=on' = ANY (reloptions), false)
         UNION ALL SELECT oid::regclass::text FROM relations WHERE relkind = 'm'",
    );
}

#[test]
fn functions_are_what_they_should_be() {
    let database = Database::without_key();
    assert_none(
        &database,
        "SECURITY DEFINER",
        "SELECT oid::regprocedure::text FROM functions WHERE prosecdef",
    );
    assert_none(
        &database,
        "overloads",
        "SELECT proname::text FROM functions WHERE pronamespace = 'hiems'::regnamespace
         GROUP BY proname HAVING count(*) > 1",
    );
    // What is not STABLE, and so only reads, is run once and by the session itself.
    assert_none(
        &database,
        "not VOLATILE and PARALLEL UNSAFE",
        "SELECT oid::regprocedure::text FROM functions
         WHERE pronamespace = 'hiems'::regnamespace
           AND (provolatile <> 'v' OR proparallel <> 'u')
           AND NOT (provolatile = 's' AND prokind = 'f')",
    );
    assert_none(
        &database,
        "paid functions that are not VOLATILE, PARALLEL UNSAFE and of high cost",
        "SELECT oid::regprocedure::text FROM functions
         WHERE pronamespace = 'hiems'::regnamespace
           AND proname ~ '^(submit_|complete|extract|stream_|enqueue_)'
           AND (provolatile <> 'v' OR proparallel <> 'u' OR (procost < 1000 AND prokind <> 'p'))",
    );
    // PostgREST calls a STRICT function with a NULL by not calling it, and says it went well.
    assert_none(
        &database,
        "STRICT",
        "SELECT oid::regprocedure::text FROM functions
         WHERE pronamespace = 'hiems'::regnamespace AND proisstrict AND pronargs > 0",
    );
    // The paid functions go by these names.
    let paid = database.text(
        "SELECT count(*)::text FROM pg_proc WHERE pronamespace = 'hiems'::regnamespace
           AND proname IN ('submit_prompt', 'submit_prompts', 'submit_prompt_detached',
                           'stream_prompt', 'extract', 'complete')",
        &[],
    );
    assert_eq!(paid.as_deref(), Some("6"));
}

/// Whoever owns the database could set a path for everybody's sessions.
#[test]
fn every_function_has_its_own_search_path() {
    // A procedure with a SET clause cannot commit. What parallel queries may call has to be without one, too: its
    // library would be loaded in the middle of the query, and have no settings. They are C, and set the path of
    // what SQL they run themselves.
    const WITHOUT: &str =
        "('submit_prompt_detached', 'current_principal', 'current_user_id', 'has_level',
                             'reporting_time_zone', 'list_api_keys')";
    let database = Database::without_key();
    assert_none(
        &database,
        "without a search_path of its own",
        &format!(
            "SELECT oid::regprocedure::text FROM pg_proc
             WHERE pronamespace IN ('hiems'::regnamespace, 'hiems_private'::regnamespace)
               AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (proconfig), false)
               AND proname NOT IN {WITHOUT}"
        ),
    );
    let listed = database.count(&format!(
        "pg_proc AS p JOIN pg_language AS l ON l.oid = p.prolang
         WHERE p.pronamespace = 'hiems'::regnamespace AND p.proname IN {WITHOUT} AND l.lanname = 'c'
           AND p.proconfig IS NULL AND (p.prokind = 'p' OR p.proparallel <> 'u')"
    ));
    assert_eq!(listed, 6, "the list says why");
}
