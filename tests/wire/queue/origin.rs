//! What was enqueued on another timeline, or came by a restore, may have been made there: it is not made
//! again before an admin says so.

use std::process::Stdio;

use hiems_tests::{Cluster, Config, Database, ResultExt, SOON, wait_until};
use postgres::Client;

use super::{answer_of, enqueue_with, state_of};

const SOON_AFTER: &str = ", run_at => now() + interval '1500 ms'";

fn is_paused(client: &mut Client, id: &str) -> bool {
    // Somebody has to start the gateway.
    client.query_one("SELECT count(*) FROM hiems.health()", &[]).expect("its health");
    state_of(client, id).as_deref() == Some("paused")
}

fn resume(client: &mut Client) -> i64 {
    client.query_one("SELECT hiems.resume_prompts()", &[]).expect("a count").get(0)
}

#[test]
fn a_promoted_standby_pauses_what_the_primary_may_have_made() {
    let primary = Cluster::start(&[]);
    let database = Database::on(&primary, Config::default());
    database.store_key();
    let standby = primary.standby();
    let id = enqueue_with(&mut database.admin(), &[], SOON_AFTER).expect("an id");
    let mut client = standby.connect(&database.name, "postgres");
    wait_until("the standby has it", SOON, || state_of(&mut client, &id).is_some());
    let (_, fake) = database.into_parts();
    primary.stop("immediate");
    standby.promote();
    wait_until("it is a primary", SOON, || {
        client
            .query_one("SELECT NOT pg_is_in_recovery()", &[])
            .is_ok_and(|row| row.get::<_, bool>(0))
    });
    wait_until("it is paused", SOON, || is_paused(&mut client, &id));
    let refusal = answer_of(&mut client, &id).refusal();
    assert_eq!(refusal.sqlstate, "55000");
    assert!(refusal.hint.contains("hiems.resume_prompts()"), "{refusal:?}");
    assert_eq!(fake.requests().len(), 0);
    let found = client
        .query_one("SELECT status, detail FROM hiems.health() WHERE name = 'queue'", &[])
        .expect("its health");
    assert_eq!(found.get::<_, &str>(0), "warn");
    assert!(found.get::<_, &str>(1).contains("1 paused"), "{found:?}");
    assert_eq!(resume(&mut client), 1);
    answer_of(&mut client, &id).expect("an answer");
    assert_eq!(fake.requests().len(), 1);
}

#[test]
fn a_restored_base_backup_pauses_what_the_original_has_made_since() {
    let original = Cluster::start(&[]);
    let database = Database::on(&original, Config::default());
    database.store_key();
    let tomorrow = ", run_at => now() + interval '1 day'";
    let id = enqueue_with(&mut database.admin(), &[], tomorrow).expect("an id");
    let copy = original.backup();
    let at_once = "UPDATE hiems_private.queue SET run_at = NULL";
    database.admin().batch_execute(at_once).expect("a superuser's impatience");
    answer_of(&mut database.admin(), &id).expect("an answer");
    let mut client = copy.connect(&database.name, "postgres");
    client.batch_execute(at_once).expect("a superuser's impatience");
    wait_until("it is paused", SOON, || is_paused(&mut client, &id));
    assert_eq!(database.fake.requests().len(), 1);
    let cancelled: bool = client
        .query_one("SELECT hiems.cancel_prompt($1::text::uuid)", &[&id])
        .expect("a call")
        .get(0);
    assert!(cancelled);
}

#[test]
fn a_dump_has_what_was_queued_but_not_what_it_asks() {
    let database = Database::new();
    let mut client = database.admin();
    let more = ", run_at => now() + interval '1 day', use_case => 'nightly'";
    let id = enqueue_with(&mut client, &[("fake_answer", "secret words")], more).expect("an id");
    let dump = hiems_tests::cluster()
        .program("pg_dump")
        .arg(&database.name)
        .stderr(Stdio::inherit())
        .output()
        .expect("pg_dump");
    let dump = String::from_utf8(dump.stdout).expect("text");
    assert!(dump.contains(&id) && !dump.contains("secret words"));
    // As a restore would: the row is there, and its request is not.
    client
        .batch_execute(
            "DELETE FROM hiems_private.requests; UPDATE hiems_private.queue SET run_at = NULL",
        )
        .expect("a superuser's doing");
    wait_until("it is paused", SOON, || is_paused(&mut client, &id));
    assert_eq!(resume(&mut client), 0, "without a request it cannot be made");
    assert_eq!(database.fake.requests().len(), 0);
}
