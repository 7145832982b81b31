//! What is on its way, in `hiems.calls`.

use hiems_tests::{Database, ResultExt, Running, SOON, call, directives, wait_until};

fn seen(database: &Database, role: &str) -> Vec<(String, String)> {
    database
        .connect(role)
        .query("SELECT state, principal FROM hiems.calls ORDER BY created_at", &[])
        .expect("the calls")
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect()
}

#[test]
fn each_sees_its_own_calls_on_their_way_and_a_reader_all() {
    let mut database = Database::new();
    let (ada, reader) = (database.role_with("caller"), database.role_with("reader"));
    let bob = database.role("bob");
    database.admin().execute("SELECT hiems.grant_access($1, 'caller')", &[&bob]).expect("a level");
    let slow = directives(&[("fake_delay_ms", "60000")]);
    let running = Running::in_flight(&database, database.connect(&ada), &slow, 1);
    // Answered, and not in the ledger as long as its transaction is open.
    let mut session = database.connect(&bob);
    session.batch_execute("BEGIN").expect("a begin");
    call(&mut session, &directives(&[("fake_cost", "0.0125")])).expect("an answer");

    let of_ada = ("sent".to_owned(), format!("role:{ada}"));
    let of_bob = ("answered".to_owned(), format!("role:{bob}"));
    wait_until("the answer is in the journal", SOON, || {
        database.count("hiems.calls WHERE state = 'answered'") == 1
    });
    assert_eq!(seen(&database, &ada), std::slice::from_ref(&of_ada));
    assert_eq!(seen(&database, &bob), std::slice::from_ref(&of_bob));
    assert_eq!(seen(&database, &reader), [of_ada, of_bob]);

    wait_until("the generation's id is there", SOON, || {
        database.count("hiems.calls WHERE generation_id IS NOT NULL") == 2
    });
    let facts = database.text(
        "SELECT string_agg(concat_ws(' ', state, model_requested, attempts, age > '0 s', cost_usd,
                                     caller_gone, settled_at IS NOT NULL), ', '
                           ORDER BY created_at)
         FROM hiems.calls",
        &[],
    );
    assert_eq!(
        facts.as_deref(),
        Some("sent openai/gpt-4o-mini 1 t f f, answered openai/gpt-4o-mini 1 t 0.0125 f t")
    );

    // In the ledger it is not on its way any more, though the gateway forgets it later.
    session.batch_execute("COMMIT").expect("a commit");
    assert_eq!(seen(&database, &bob), []);
    let mut admin = database.admin();
    wait_until("the call is no longer on its way", SOON, || {
        admin.query_one("SELECT count(*) = 1 FROM hiems.calls", &[]).is_ok_and(|row| row.get(0))
    });
    admin.execute("SELECT pg_cancel_backend($1)", &[&running.pid]).expect("a signal");
    assert_eq!(running.end().1.sqlstate(), "57014");
    wait_until("its caller has gone", SOON, || {
        database.count("hiems.calls WHERE caller_gone AND state = 'sent'") == 1
    });
}

#[test]
fn without_a_level_there_is_nothing_to_see() {
    let mut database = Database::new();
    let role = database.role_with("caller");
    let mut admin = database.admin();
    let look = "SELECT * FROM hiems.calls";
    database.connect(&role).query(look, &[]).expect("the view");
    let beneath = database.connect(&role).query("SELECT FROM hiems_private.calls", &[]);
    assert_eq!(beneath.sqlstate(), "42501");
    admin.execute("SELECT hiems.revoke_access($1)", &[&role]).expect("a revoke");
    assert_eq!(database.connect(&role).query(look, &[]).sqlstate(), "42501");
    // A careless grant shows nothing either.
    database.open_by_hand(&role);
    assert_eq!(database.connect(&role).query(look, &[]).sqlstate(), "42501");
}
