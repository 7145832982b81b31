//! Where it may be called: wherever the transaction is its own to end.

use hiems_tests::{Database, Refusal, ResultExt};
use postgres::Client;

use super::{assert_booked, detached, statement};

fn refusal(client: &mut Client, sql: &str) -> Refusal {
    let refusal = client.batch_execute(sql).refusal();
    let _ = client.batch_execute("ROLLBACK");
    refusal
}

#[test]
fn it_is_refused_where_the_transaction_goes_on() {
    let database = Database::new();
    let mut client = database.admin();
    let call = statement("{}", "");
    let in_plpgsql = statement("{}", ", answer => answer");
    client
        .batch_execute(&format!(
            "CREATE TABLE public.notes (note text);
             CREATE FUNCTION public.f() RETURNS void LANGUAGE plpgsql AS $$
             DECLARE answer jsonb; BEGIN {in_plpgsql}; END $$;
             CREATE PROCEDURE public.definer() LANGUAGE plpgsql SECURITY DEFINER AS $$
             DECLARE answer jsonb; BEGIN {in_plpgsql}; END $$;
             CREATE PROCEDURE public.settled() LANGUAGE plpgsql SET work_mem = '4MB' AS $$
             DECLARE answer jsonb; BEGIN {in_plpgsql}; END $$"
        ))
        .expect("functions");
    let places = [
        format!("BEGIN; INSERT INTO public.notes VALUES ('x'); {call}"),
        format!("INSERT INTO public.notes VALUES ('x'); {call}"),
        "SELECT public.f()".to_owned(),
        "CALL public.definer()".to_owned(),
        "CALL public.settled()".to_owned(),
        format!(
            "DO $$ DECLARE answer jsonb; BEGIN
                 INSERT INTO public.notes VALUES ('x');
                 BEGIN {in_plpgsql}; EXCEPTION WHEN division_by_zero THEN NULL; END;
             END $$"
        ),
    ];
    for place in &places {
        let refusal = refusal(&mut client, place);
        assert_eq!(refusal.sqlstate, "25001", "{place}");
        assert_ne!(refusal.detail, "");
        assert!(refusal.hint.contains("hiems.submit_prompt()"), "{refusal:?}");
    }
    assert_eq!(database.count("public.notes"), 0, "nothing was committed");
    assert_eq!(database.fake.requests().len(), 0);
    detached(&mut client, "{}").expect("the session works");
}

#[test]
fn what_is_refused_commits_nothing() {
    let database = Database::new();
    let mut client = database.admin();
    client
        .batch_execute(
            "CREATE TABLE public.notes (note text);
             CREATE TABLE public.parents (id int PRIMARY KEY);
             CREATE TABLE public.children (
                 parent int REFERENCES public.parents DEFERRABLE INITIALLY DEFERRED)",
        )
        .expect("tables");
    let refused = |client: &mut Client, before: &str, arguments: &str| {
        let sql = format!(
            "DO $$ DECLARE a jsonb; BEGIN
                 INSERT INTO public.notes VALUES ('x'); {before}
                 CALL hiems.submit_prompt_detached({arguments}, answer => a);
             END $$"
        );
        refusal(client, &sql).sqlstate
    };
    let good = "'a/b', '[{\"role\": \"user\", \"content\": \"x\"}]'";
    assert_eq!(refused(&mut client, "", "'a/b', '[]'"), "22023");
    assert_eq!(refused(&mut client, "", "NULL, '[]'"), "22023");
    assert_eq!(
        refused(&mut client, "", &format!("{good}, options => '{{\"stream\": true}}'")),
        "22023"
    );
    // The commit itself fails.
    assert_eq!(refused(&mut client, "INSERT INTO public.children VALUES (1);", good), "23503");
    client.batch_execute("SET default_transaction_read_only = on").expect("a setting");
    let call = format!("CALL hiems.submit_prompt_detached({good})");
    assert_eq!(refusal(&mut client, &call).sqlstate, "25006");
    client.batch_execute("RESET default_transaction_read_only").expect("a setting");
    assert_eq!(database.count("public.notes"), 0);
    client
        .batch_execute(
            "CREATE FUNCTION public.spy() RETURNS trigger LANGUAGE plpgsql AS
                 'BEGIN RETURN NULL; END';
             CREATE TRIGGER spy AFTER INSERT ON hiems.ai_usage_logs
                 FOR EACH ROW EXECUTE FUNCTION public.spy()",
        )
        .expect("a trigger");
    assert_eq!(refused(&mut client, "", good), "55000");
    assert_eq!(database.count("public.notes"), 0);
    client.batch_execute("DROP TRIGGER spy ON hiems.ai_usage_logs").expect("no trigger");
    assert_eq!(database.fake.requests().len(), 0);
    detached(&mut client, "{}").expect("the session works");
    assert_booked(&database, &["committed"]);
}

#[test]
fn blocks_and_procedures_outside_a_transaction_may_call() {
    let database = Database::new();
    let mut client = database.admin();
    let in_plpgsql = statement("{}", ", answer => answer");
    client
        .batch_execute(&format!(
            "CREATE TABLE public.notes (note text);
             CREATE PROCEDURE public.p(INOUT answer jsonb) LANGUAGE plpgsql AS $$
             BEGIN
                 INSERT INTO public.notes VALUES ('before');
                 {in_plpgsql};
                 INSERT INTO public.notes VALUES (answer ->> 'id');
             END $$"
        ))
        .expect("a procedure");
    client.batch_execute("CALL public.p(NULL)").expect("an answer in a procedure");
    client
        .batch_execute("DO $$ DECLARE a jsonb; BEGIN CALL public.p(a); END $$")
        .expect("an answer in a procedure of a block");
    // In a loop over rows, whose portal lives through the commits.
    client
        .batch_execute(&format!(
            "DO $$ DECLARE answer jsonb; n int; BEGIN
                 FOR n IN SELECT generate_series(1, 3) LOOP
                     {in_plpgsql};
                     INSERT INTO public.notes VALUES (answer ->> 'id');
                 END LOOP;
                 ROLLBACK;
             END $$"
        ))
        .expect("answers in a loop");
    assert_booked(&database, &["committed"; 5]);
    // Each call has committed what was before it; the last note was rolled back.
    assert_eq!(database.count("public.notes"), 6);
    let ids: Vec<String> = database.fake.bill().into_iter().map(|g| g.id).collect();
    let noted = "SELECT count(*) FROM public.notes WHERE note = ANY ($1)";
    let noted: i64 = client.query_one(noted, &[&ids]).expect("the notes").get(0);
    assert_eq!(noted, 4);
}
