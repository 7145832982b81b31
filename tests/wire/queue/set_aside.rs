//! A call that cannot be written is set aside and named, and holds up no other.

use hiems_tests::{Database, ResultExt, SOON, user_message, wait_until};
use postgres::Client;

use super::{answer_of, assert_bill, enqueue, enqueue_with, state_of};

const POISON: &str = ", use_case => 'poison'";

/// Has the journal refuse what this condition is not true of, as nothing that comes by hiems's functions does.
fn refuse(database: &Database, condition: &str) {
    database
        .admin()
        .batch_execute(&format!(
            "ALTER TABLE hiems_private.calls ADD CONSTRAINT planted
                 CHECK ({condition} OR entry ->> 'use_case' IS DISTINCT FROM 'poison')"
        ))
        .expect("a superuser's constraint");
}

fn refuse_no_more(database: &Database) {
    let sql = "ALTER TABLE hiems_private.calls DROP CONSTRAINT planted";
    database.admin().batch_execute(sql).expect("a superuser's mercy");
}

fn finding(client: &mut Client, name: &str) -> (String, String) {
    let row = client
        .query_one("SELECT status, detail FROM hiems.health() WHERE name = $1", &[&name])
        .expect("its health");
    (row.get(0), row.get(1))
}

#[test]
fn a_call_that_cannot_be_journalled_holds_up_no_other() {
    let database = Database::with("hiems.queue_concurrency", "100");
    let mut client = database.admin();
    refuse(&database, "false");
    let mut transaction = client.transaction().expect("a transaction");
    let mut good = Vec::new();
    let mut poison = Vec::new();
    for i in 0..40 {
        match i % 10 {
            0 | 7 => poison.push(enqueue_with(&mut transaction, &[], POISON).expect("an id")),
            _ => good.push(enqueue(&mut transaction, &[]).expect("an id")),
        }
    }
    transaction.commit().expect("a commit");
    for id in &good {
        answer_of(&mut client, id).expect("an answer");
    }
    // One that ends while another cannot be taken out.
    let slow = enqueue(&mut client, &[("fake_header_delay_ms", "300")]).expect("an id");
    poison.push(enqueue_with(&mut client, &[], POISON).expect("an id"));
    answer_of(&mut client, &slow).expect("an answer");
    wait_until("all that cannot be journalled is set aside", SOON, || {
        finding(&mut client, "queue").1.contains("; 9 set aside")
    });
    let (status, detail) = finding(&mut client, "queue");
    assert_eq!(status, "warn", "{detail}");
    assert!(detail.contains(&poison[0]) && detail.contains("planted"), "{detail}");
    let why: String = client
        .query_one("SELECT last_error FROM hiems.calls WHERE id = $1::text::uuid", &[&poison[8]])
        .expect("hiems.calls")
        .get(0);
    assert!(why.contains("planted"), "{why}");
    assert_eq!(database.fake.requests().len(), 33);
    refuse_no_more(&database);
    client
        .batch_execute("UPDATE hiems_private.queue SET run_at = NULL")
        .expect("a superuser's impatience");
    for id in &poison {
        answer_of(&mut client, id).expect("an answer");
    }
    assert_bill(&database);
    wait_until("the queue is well", SOON, || finding(&mut client, "queue").0 == "ok");
}

#[test]
fn a_call_whose_end_cannot_be_written_holds_up_no_other() {
    let database = Database::new();
    let mut client = database.admin();
    refuse(&database, "state = 'sent'");
    let wishes = [("fake_header_delay_ms", "300"), ("fake_answer", "kept")];
    let mut transaction = client.transaction().expect("a transaction");
    let poison = enqueue_with(&mut transaction, &wishes, POISON).expect("an id");
    let beside = enqueue(&mut transaction, &[("fake_header_delay_ms", "300")]).expect("an id");
    transaction.commit().expect("a commit");
    answer_of(&mut client, &beside).expect("an answer");
    for _ in 0..3 {
        let id = enqueue(&mut client, &[]).expect("an id");
        answer_of(&mut client, &id).expect("an answer");
    }
    wait_until("it is named", SOON, || {
        let (status, detail) = finding(&mut client, "gateway");
        status == "warn" && detail.contains(&poison) && detail.contains("planted")
    });
    assert_eq!(state_of(&mut client, &poison).as_deref(), Some("sent"));
    refuse_no_more(&database);
    assert_eq!(answer_of(&mut client, &poison).expect("an answer"), "kept");
    assert_bill(&database);
}

#[test]
fn metadata_that_another_process_could_not_read_is_refused() {
    let database = Database::new();
    let mut client = database.admin();
    let metadata = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let forms = [
        "SELECT hiems.enqueue_prompt('openai/gpt-4o-mini', $1::text::jsonb, metadata => $2::text::jsonb)",
        "SELECT hiems.submit_prompt('openai/gpt-4o-mini', $1::text::jsonb, metadata => $2::text::jsonb)",
        "SELECT hiems.stream_prompt('openai/gpt-4o-mini', $1::text::jsonb, metadata => $2::text::jsonb)",
        "SELECT hiems.enqueue_prompts(jsonb_build_array(jsonb_build_object(
             'model', 'openai/gpt-4o-mini', 'messages', $1::text::jsonb, 'metadata', $2::text::jsonb)))",
    ];
    for sql in forms {
        for depth in [501, 5_000] {
            let refusal = client.query(sql, &[&user_message("hello"), &metadata(depth)]).refusal();
            assert_eq!(refusal.sqlstate, "22023", "{sql}");
            assert!(refusal.detail.contains(&format!("{depth} deep")), "{refusal:?}");
        }
        client.query(sql, &[&user_message("hello"), &metadata(100)]).expect("not too deep");
    }
    assert_bill(&database);
    assert_eq!(database.fake.requests().len(), 4);
}

#[test]
fn nobody_is_waited_for_longer_than_an_hour() {
    for asked in ["9999999999999", "99999999999", "18446744073709551615"] {
        let database = Database::new();
        let mut client = database.admin();
        let wishes = [("fake_429_times", "1"), ("fake_retry_after", asked)];
        let id = enqueue(&mut client, &wishes).expect("an id");
        wait_until("it is to be made later", SOON, || {
            client
                .query_one(
                    "SELECT run_at BETWEEN now() + interval '50 min' AND now() + interval '80 min'
                        AND last_error LIKE '%retry after ' || $2 || ' s, of which hiems waits 3600%'
                     FROM hiems.calls WHERE id = $1::text::uuid",
                    &[&id, &asked],
                )
                .is_ok_and(|row| row.get::<_, Option<bool>>(0) == Some(true))
        });
        let other = client
            .query_one(
                "SELECT hiems.enqueue_prompt('anthropic/claude-sonnet-4.5', $1::text::jsonb)::text",
                &[&user_message("hello")],
            )
            .expect("an id")
            .get::<_, String>(0);
        answer_of(&mut client, &other).expect("an answer of another model's");
    }
}

#[test]
fn in_a_time_zone_that_is_beyond_all_others_the_queue_goes_on() {
    let database = Database::new();
    database.set("TimeZone", "<X>-99:59");
    database.end_gateway();
    let mut client = database.admin();
    let zone: String = client.query_one("SHOW TimeZone", &[]).expect("a setting").get(0);
    assert_eq!(zone, "<X>-99:59");
    let wishes = [("fake_429_times", "1"), ("fake_retry_after", "1")];
    let soon = ", run_at => clock_timestamp() + interval '100 ms'";
    let id = enqueue_with(&mut client, &wishes, soon).expect("an id");
    client.batch_execute("SET statement_timeout = '20s'").expect("a setting");
    answer_of(&mut client, &id).expect("an answer");
    assert_bill(&database);
    let age =
        "SELECT count(*) FROM hiems.ai_usage_logs WHERE created_at > now() - interval '1 minute'";
    assert_eq!(client.query_one(age, &[]).expect("the ledger").get::<_, i64>(0), 1);
}
