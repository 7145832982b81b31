//! Stand-ins for PostgreSQL's own operators, functions and types, in a schema that comes first in the search_path
//! of a caller and of an admin: whatever they call of hiems's, no stand-in is run.

use hiems_tests::{Cluster, Config, Database, Random};

use crate::functions::attack;
use crate::{assert_no_crash, catalogue, repeat};

/// A stand-in for every operator and function of pg_catalog over these types, and a domain for each of the types
/// themselves. Each leaves a trace in a sequence. They are made by the role that is to meet them.
const PLANT: &str = r#"
    CREATE SCHEMA evil;
    CREATE SEQUENCE evil.runs;
    DO $plant$
    DECLARE
        types oid[] := ARRAY['text', 'name', 'bool', 'int4', 'int8', 'numeric', 'jsonb', 'json', 'uuid', 'oid',
                             'xid8', 'timestamptz', 'interval', 'date']::regtype[]::oid[];
        one record;
        stand_in text := 'SELECT pg_catalog.nextval(''evil.runs''::pg_catalog.regclass); SELECT NULL::%s';
    BEGIN
        FOR one IN
            SELECT o.oprname, o.oprleft::regtype::text AS l, o.oprright::regtype::text AS r,
                   o.oprresult::regtype::text AS result, row_number() OVER () AS number
            FROM pg_operator AS o
            WHERE o.oprnamespace = 'pg_catalog'::regnamespace
              AND o.oprleft = ANY (types) AND o.oprright = ANY (types) AND o.oprresult = ANY (types)
        LOOP
            EXECUTE format('CREATE FUNCTION evil.operator_%s(%s, %s) RETURNS %s LANGUAGE sql AS %L',
                           one.number, one.l, one.r, one.result, format(stand_in, one.result));
            EXECUTE format('CREATE OPERATOR evil.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = evil.operator_%s)',
                           one.oprname, one.l, one.r, one.number);
        END LOOP;
        FOR one IN
            SELECT p.proname, oidvectortypes(p.proargtypes) AS arguments, p.prorettype::regtype::text AS result
            FROM pg_proc AS p
            WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f' AND NOT p.proretset
              AND p.prorettype = ANY (types) AND p.proargtypes::oid[] <@ types
        LOOP
            EXECUTE format('CREATE FUNCTION evil.%I(%s) RETURNS %s LANGUAGE sql AS %L',
                           one.proname, one.arguments, one.result, format(stand_in, one.result));
        END LOOP;
        CREATE FUNCTION evil.check_of_a_domain() RETURNS boolean LANGUAGE sql AS
            $$ SELECT pg_catalog.nextval('evil.runs'::pg_catalog.regclass) IS NOT NULL $$;
        FOR one IN SELECT typname FROM pg_type WHERE oid = ANY (types) LOOP
            EXECUTE format('CREATE DOMAIN evil.%I AS pg_catalog.%I CHECK (evil.check_of_a_domain())',
                           one.typname, one.typname);
        END LOOP;
    END
    $plant$"#;

const PATHS: [&str; 3] =
    ["evil, pg_catalog", "evil, pg_catalog, hiems, hiems_private", "pg_temp, evil, pg_catalog"];

#[test]
fn nothing_that_is_planted_is_run() {
    let cluster = Cluster::start(&[]);
    for level in ["caller", "admin"] {
        let mut database = Database::on(&cluster, Config::default());
        database.store_key();
        let actor = database.role_with(level);
        let grant = format!("GRANT CREATE, TEMPORARY ON DATABASE {} TO {actor}", database.name);
        database.admin().batch_execute(&grant).expect("a grant");
        let functions = catalogue::functions(&mut database.admin());
        let mut client = database.connect(&actor);
        client.batch_execute(PLANT).expect("what is planted");
        client.batch_execute("SET statement_timeout = '2s'").expect("a setting");
        let mut random = Random::new();
        println!("HIEMS_TEST_SEED={}", random.seed);
        let mut paths = PATHS.iter().cycle();
        repeat(|| {
            let path = paths.next().expect("a path");
            client.batch_execute(&format!("SET search_path = {path}")).expect("a path");
            attack(&mut client, &mut random, &functions);
        });
        let runs = "SELECT last_value::text || is_called FROM evil.runs";
        assert_eq!(database.text(runs, &[]).as_deref(), Some("1false"), "a stand-in was run");
        // The stand-ins are alive: the actor's own statement meets them.
        client.batch_execute("SELECT 'a'::pg_catalog.name = 'b'::pg_catalog.name").expect("a row");
        assert_eq!(database.text(runs, &[]).as_deref(), Some("1true"));
    }
    assert_no_crash(&cluster.log());
}
