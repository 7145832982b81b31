//! What somebody without a level, or the owner of other things in the database, gets out of it: nothing.

use hiems_tests::{Config, Database, ResultExt, SOON, wait_until};

use super::project::{Project, claims};

/// Everything that our statements name, planted before PostgreSQL's own.
const PLANTS: &str = "
    CREATE TABLE public.ran (what text);
    GRANT ALL ON public.ran TO PUBLIC;
    CREATE SCHEMA plants; GRANT USAGE ON SCHEMA plants TO PUBLIC;
    CREATE FUNCTION plants.note(text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO public.ran VALUES ($1 || ' as ' || current_user); RETURN true; END $$;
    CREATE FUNCTION plants.format(text, VARIADIC text[]) RETURNS text LANGUAGE sql
        AS $$ SELECT 'x' WHERE plants.note('format') $$;
    CREATE FUNCTION plants.to_regclass(text) RETURNS regclass LANGUAGE sql
        AS $$ SELECT NULL::regclass WHERE plants.note('to_regclass') $$;
    CREATE FUNCTION plants.quote_ident(name) RETURNS text LANGUAGE sql
        AS $$ SELECT 'postgres' WHERE plants.note('quote_ident') $$;
    CREATE FUNCTION plants.substr(text, integer) RETURNS text LANGUAGE sql
        AS $$ SELECT 'ada' WHERE plants.note('substr') $$;
    CREATE FUNCTION plants.equal(text, text) RETURNS boolean LANGUAGE sql AS $$ SELECT plants.note('=') $$;
    CREATE OPERATOR plants.= (LEFTARG = text, RIGHTARG = text, FUNCTION = plants.equal);
    CREATE OPERATOR plants.~~ (LEFTARG = text, RIGHTARG = text, FUNCTION = plants.equal);
    CREATE VIEW plants.pg_roles AS SELECT oid, rolname, true AS rolsuper, true AS rolbypassrls
        FROM pg_catalog.pg_roles WHERE plants.note('pg_roles')";

#[test]
fn planted_functions_operators_and_tables_change_nothing() {
    let project = Project::closed();
    project.database.admin().batch_execute(PLANTS).expect("plants");
    project.enable();
    project.steps("disable_supabase");
    let mut owner = project.database.connect("project_owner");
    owner
        .batch_execute(
            "SET search_path = plants, pg_temp, pg_catalog, public;
             CREATE TEMPORARY TABLE pg_publication (pubname text, puballtables boolean);
             CREATE TEMPORARY TABLE pg_policy (polname text, polrelid oid)",
        )
        .expect("a session");
    let mut steps = |function: &str| -> Vec<String> {
        let sql = format!("SELECT pg_catalog.concat_ws(' ', step, status) FROM hiems.{function}()");
        owner.query(&sql, &[]).expect(function).iter().map(|row| row.get(0)).collect()
    };
    assert_eq!(
        steps("enable_supabase"),
        ["levels done", "privileges kept", "publication done", "broadcast done", "api done"]
    );
    let checked = owner.query(
        "SELECT detail FROM hiems.check_supabase() WHERE name OPERATOR(pg_catalog.=) 'broadcast'",
        &[],
    );
    assert_eq!(checked.expect("the checks")[0].get::<_, String>(0), "on");
    project.call("ada");
    project.wait_until_sent(2);
    assert_eq!(
        project.database.count("public.ran"),
        0,
        "{:?}",
        project.database.text("SELECT string_agg(DISTINCT what, ', ') FROM public.ran", &[])
    );
}

/// Who may make schemas, and roles, does not switch the broadcast on for itself.
#[test]
fn a_planted_realtime_is_told_nothing() {
    let mut database = Database::on(hiems_tests::logical_cluster(), Config::default());
    database.store_key();
    // The server's other tests have the role.
    let _roles = Project::closed();
    let planter = database.role("planter");
    let name = database.name.clone();
    database
        .admin()
        .batch_execute(&format!("GRANT CREATE ON DATABASE {name} TO {planter}"))
        .expect("a privilege");
    database
        .connect(&planter)
        .batch_execute(
            "CREATE SCHEMA realtime; GRANT USAGE ON SCHEMA realtime TO PUBLIC;
             CREATE TABLE realtime.messages (topic text, extension text, private boolean, payload jsonb);
             ALTER TABLE realtime.messages ENABLE ROW LEVEL SECURITY;
             GRANT INSERT ON realtime.messages TO PUBLIC;
             CREATE POLICY hiems_usage ON realtime.messages USING (true);
             CREATE FUNCTION realtime.send(payload jsonb, event text, topic text, private boolean)
                 RETURNS void LANGUAGE sql AS
                 $$ INSERT INTO realtime.messages VALUES (topic, 'broadcast', private, payload) $$",
        )
        .expect("what looks like Supabase's");
    let mut admin = database.admin();
    hiems_tests::call(&mut admin, "{}").expect("an answer");
    admin.batch_execute("SELECT hiems.grant_access('authenticated', 'caller')").expect("a level");
    hiems_tests::call(&mut admin, "{}").expect("an answer");
    database.wait_until_booked();
    assert_eq!(database.count("realtime.messages"), 0);
    assert_eq!(database.count("pg_policy WHERE polrelid = 'realtime.messages'::regclass"), 1);
}

/// Channels have no rights in PostgreSQL: whoever connects may say what it wants on them.
#[test]
fn messages_that_others_send_on_its_channels_change_nothing() {
    let mut project = Project::new();
    let stranger = project.database.role("stranger");
    let mut client = project.database.connect(&stranger);
    for channel in ["hiems_usage", "hiems_calls", "pgrst"] {
        for payload in
            ["", "{\"v\":1,\"count\":1,\"ids\":[\"x\"]}", "reload schema", "'; DROP TABLE x; --"]
        {
            client.execute("SELECT pg_notify($1, $2)", &[&channel, &payload]).expect("it may");
        }
        client.batch_execute(&format!("LISTEN {channel}")).expect("it may");
    }
    assert_eq!(client.query("SELECT hiems.check_supabase()", &[]).sqlstate(), "42501");
    project.call("ada");
    project.database.wait_until_booked();
    assert_eq!(project.wait_until_sent(2).len(), 2);
    assert_eq!(project.database.ledger().len(), 1);
}

/// A subject is part of a topic's name, and nothing else.
#[test]
fn a_subject_that_tries_to_be_another_topic_is_its_own() {
    let project = Project::new();
    let subjects = [
        "usage",
        "ada:x",
        "%",
        "ad_",
        "'; DROP TABLE realtime.messages; --",
        "\u{1F980}",
        "hiems:usage",
    ];
    for sub in subjects {
        project.call(sub);
    }
    project.database.wait_until_booked();
    let events = project.wait_until_sent(2 * subjects.len());
    for sub in subjects {
        let topic = format!("hiems:user:{sub}");
        assert_eq!(events.iter().filter(|(of, _)| *of == topic).count(), 1, "{topic}");
        for other in subjects {
            let joins = super::join::may(
                &project,
                "authenticated",
                &claims(sub),
                &format!("hiems:user:{other}"),
            );
            assert_eq!(joins.expect("no policy fails").0, sub == other, "{sub}, {other}");
        }
    }
    wait_until("the gateway is there still", SOON, || project.database.gateways().len() == 1);
}

/// The table is its owner's, who may change it, or lock it for as long as it likes: levels are taken all the same.
#[test]
fn a_level_is_taken_whatever_becomes_of_realtime_s_table() {
    let mut project = Project::new();
    let roles = ["one", "two"].map(|name| project.database.role(name));
    let mut admin = project.database.admin();
    for role in &roles {
        admin.execute("SELECT hiems.grant_access($1, 'caller')", &[role]).expect("a level");
    }
    let made_for =
        "SELECT cardinality(polroles)::text FROM pg_policy WHERE polname = 'hiems_usage'";
    let made_for = project.database.text(made_for, &[]);
    assert_eq!(made_for.as_deref(), Some("3"), "the policies are for these, too");
    let mut owner = project.database.admin();
    let lock =
        "SET ROLE supabase_realtime_admin; BEGIN; LOCK TABLE realtime.messages IN SHARE MODE";
    owner.batch_execute(lock).expect("the lock");
    let timeout = format!("SET statement_timeout = '{}s'", SOON.as_secs());
    admin.batch_execute(&timeout).expect("a setting");
    let mut take = |role: &String| {
        let revoked = admin.query_one("SELECT hiems.revoke_access($1)", &[role]).expect("taken");
        assert!(revoked.get::<_, bool>(0));
        let mut client = project.database.connect(role);
        assert_eq!(hiems_tests::call(&mut client, "{}").sqlstate(), "42501");
    };
    take(&roles[0]);
    owner
        .batch_execute(
            "COMMIT; RESET ROLE; ALTER TABLE realtime.messages DROP COLUMN extension CASCADE",
        )
        .expect("the owner may");
    take(&roles[1]);
    assert_eq!(project.database.count("hiems_private.access WHERE level = 'caller'"), 1);
    // What the broadcast lacks is said by the step, and the others are done.
    let steps = project.enable();
    let broadcast = steps.iter().find(|(step, ..)| step == "broadcast").expect("a step");
    assert_eq!(broadcast.1, "skipped", "{broadcast:?}");
    assert!(broadcast.2.contains("extension"), "{broadcast:?}");
    assert_eq!(project.steps("disable_supabase").len(), 4);
}
