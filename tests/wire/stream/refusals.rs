//! What is refused before anything is sent.

use hiems_tests::{Database, ResultExt};
use postgres::Client;

use super::{chunks, expression};

const HELLO: &str = r#"'[{"role": "user", "content": "hello"}]'"#;

fn refused(client: &mut Client, arguments: &str) -> hiems_tests::Refusal {
    chunks(client, &format!("SELECT hiems.stream_prompt({arguments})::text")).refusal()
}

#[test]
fn a_stream_is_asked_for_by_the_function_alone() {
    let database = Database::new();
    let mut client = database.admin();
    for field in [r#""stream": true"#, r#""stream": false"#, r#""stream_options": {}"#] {
        let refusal = refused(&mut client, &format!("'a/b', {HELLO}, options => '{{{field}}}'"));
        assert_eq!(refusal.sqlstate, "22023", "{field}");
    }
    let whole = hiems_tests::call(&mut client, r#"{"stream": true}"#).refusal();
    assert_eq!(whole.sqlstate, "22023");
    assert!(whole.hint.contains("hiems.stream_prompt()"), "{whole:?}");
    assert_eq!(refused(&mut client, &format!("'', {HELLO}")).sqlstate, "22023");
    assert_eq!(refused(&mut client, &format!("NULL, {HELLO}")).sqlstate, "22023");
    assert_eq!(refused(&mut client, "'a/b', NULL").sqlstate, "22023");
    let keyed = format!("'a/b', {HELLO}, idempotency_key => 'k'");
    assert_eq!(refused(&mut client, &keyed).sqlstate, "42883", "it has no such argument");
    assert_eq!(database.fake.requests().len(), 0);
    assert_eq!(database.count("hiems.ai_usage_logs"), 0);
}

#[test]
fn who_may_not_call_may_not_stream() {
    let mut database = Database::new();
    let call = format!("SELECT {}::text", expression(&[("fake_answer", "x")]));
    let (caller, reader) = (database.role_with("caller"), database.role_with("reader"));
    assert_eq!(chunks(&mut database.connect(&reader), &call).sqlstate(), "42501");
    assert_eq!(chunks(&mut database.connect(&caller), &call).expect("rows").len(), 4);
    let mut admin = database.admin();
    admin.batch_execute("BEGIN READ ONLY").expect("a begin");
    assert_eq!(chunks(&mut admin, &call).sqlstate(), "25006");
    admin.batch_execute("ROLLBACK").expect("a rollback");
    admin
        .batch_execute(
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
             CREATE TRIGGER mine BEFORE INSERT ON hiems.ai_usage_logs FOR EACH ROW EXECUTE FUNCTION f()",
        )
        .expect("a trigger");
    assert_eq!(chunks(&mut admin, &call).sqlstate(), "55000");
    assert_eq!(database.fake.requests().len(), 1);
}

#[test]
fn without_a_key_nothing_is_sent() {
    let database = Database::without_key();
    let mut client = database.admin();
    let call = format!("SELECT {}::text", expression(&[]));
    assert_eq!(chunks(&mut client, &call).sqlstate(), "PT503");
    assert_eq!(database.fake.requests().len(), 0);
    // The connection can be used again.
    database.store_key();
    assert!(chunks(&mut client, &call).expect("rows").len() > 3);
}

#[test]
fn a_session_has_so_many_streams_open_and_no_more() {
    let database = Database::new();
    let mut client = database.admin();
    let call = expression(&[]);
    client.batch_execute("BEGIN").expect("a begin");
    for place in 0..100 {
        let declare =
            format!("DECLARE c{place} CURSOR FOR SELECT {call}::text; FETCH 1 FROM c{place}");
        client.batch_execute(&declare).expect("an open stream");
    }
    let one_more = format!("SAVEPOINT s; SELECT {call}::text");
    let refusal = client.batch_execute(&one_more).refusal();
    assert_eq!(refusal.sqlstate, "PT429");
    assert!(refusal.message.contains("too many streams"), "{refusal:?}");
    assert!(refusal.hint.contains("CLOSE"), "{refusal:?}");
    assert_eq!(database.fake.requests().len(), 100);
    // One that is closed, or read to its end, makes room.
    client.batch_execute("ROLLBACK TO s; CLOSE c0").expect("one is closed");
    client.batch_execute(&one_more).expect("a whole stream");
    client.batch_execute("FETCH ALL FROM c1").expect("the rest");
    client.batch_execute(&one_more).expect("a whole stream");
    client.batch_execute(&one_more).expect("another");
    client.batch_execute("COMMIT").expect("a commit");
    client.batch_execute(&format!("SELECT {call}::text")).expect("nothing is open any more");
}
