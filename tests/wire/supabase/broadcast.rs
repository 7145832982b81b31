//! An event per booked call, on private topics; and nothing that breaks in realtime fails or slows a call.

use hiems_tests::ResultExt;
use serde_json::{Value, json};

use super::project::{Project, call, claims};

/// The ids of the events of a topic, sorted.
fn ids(events: &[(String, Value)], topic: &str) -> Vec<String> {
    let mut ids: Vec<String> = events
        .iter()
        .filter(|(of, _)| of == topic)
        .map(|(_, payload)| payload["id"].as_str().expect("an id").to_owned())
        .collect();
    ids.sort_unstable();
    ids
}

fn ledger_ids(project: &Project, principal: Option<&str>) -> Vec<String> {
    let mut ids: Vec<String> = project
        .database
        .ledger()
        .iter()
        .filter(|row| principal.is_none_or(|of| row["principal"] == of))
        .map(|row| row["id"].as_str().expect("an id").to_owned())
        .collect();
    ids.sort_unstable();
    ids
}

#[track_caller]
fn assert_each_told_once(project: &Project, users: &[&str]) {
    let all = ledger_ids(project, None);
    let own: usize =
        users.iter().map(|user| ledger_ids(project, Some(&format!("jwt:{user}"))).len()).sum();
    let events = project.wait_until_sent(all.len() + own);
    assert_eq!(ids(&events, "hiems:usage"), all);
    for user in users {
        let own = ledger_ids(project, Some(&format!("jwt:{user}")));
        assert_eq!(ids(&events, &format!("hiems:user:{user}")), own, "{user}");
    }
    assert_eq!(events.len(), all.len() + own, "{events:?}");
}

#[test]
fn a_call_is_told_to_its_user_and_to_readers_as_the_ledger_has_it() {
    let project = Project::new();
    let mut client = project.database.connect("authenticator");
    let wishes = [("fake_cost", "0.00001234567890123456789"), ("fake_answer", "my answer")];
    let id = project
        .request(&mut client, "authenticated", &claims("ada"), |request| {
            Ok((call(request, &wishes)?, true))
        })
        .expect("an answer");
    let events = project.wait_until_sent(2);
    let row = &project.database.ledger()[0];
    for (topic, payload) in &events {
        assert!(["hiems:usage", "hiems:user:ada"].contains(&topic.as_str()), "{topic}");
        assert_eq!(payload["id"], json!(id));
        for column in [
            "model",
            "user_id",
            "prompt_tokens",
            "completion_tokens",
            "total_tokens",
            "cost_usd",
            "cost_sek",
            "cost_source",
            "outcome",
            "created_at",
            "booked_at",
            "adjusts",
            "calls",
        ] {
            assert_eq!(payload[column].to_string(), row[column].to_string(), "{column}");
        }
        for said in ["my prompt", "my answer", "fake_cost"] {
            assert!(!payload.to_string().contains(said), "{payload}");
        }
    }
    assert_eq!(events[0].1["cost_usd"].to_string(), "0.00001234567890123456789");
}

/// With each value of hiems.notify: what callers book, what the gateway books, and corrections.
#[test]
fn each_row_is_told_once_however_it_is_booked() {
    for mode in ["commit", "coalesced", "off"] {
        let project = Project::closed();
        project.database.set("hiems.notify", mode);
        project.database.end_gateway();
        project.enable();
        let mut client = project.database.connect("authenticator");
        for (user, ending) in [("ada", 0), ("bea", 1), ("ada", 2), ("bea", 3), ("ada", 4)] {
            let called =
                project.request(
                    &mut client,
                    "authenticated",
                    &claims(user),
                    |request| match ending {
                        0 => Ok((call(request, &[]).map(drop)?, true)),
                        1 => Ok((call(request, &[]).map(drop)?, false)),
                        2 => Ok((
                            call(request, &[("fake_no_usage", "true"), ("fake_cost", "0.5")])
                                .map(drop)?,
                            true,
                        )),
                        3 => Ok((call(request, &[("fake_status", "400")]).map(drop)?, true)),
                        _ => {
                            let enqueue = "SELECT hiems.enqueue_prompt('openai/gpt-4o-mini',
                                           '[{\"role\": \"user\", \"content\": \"x\"}]'::jsonb)";
                            Ok((request.execute(enqueue, &[]).map(drop)?, true))
                        }
                    },
                );
            assert_eq!(called.is_err(), ending == 3, "{mode}, {user}, {ending}");
        }
        let detached = "CALL hiems.submit_prompt_detached('openai/gpt-4o-mini',
                            '[{\"role\": \"user\", \"content\": \"x\"}]')";
        project.database.admin().batch_execute(detached).expect("a call for no transaction");
        project.database.wait_until_booked();
        // Five calls, one for no transaction, and the correcting row.
        assert_eq!(project.database.count("hiems.ai_usage_logs"), 7, "{mode}");
        assert_each_told_once(&project, &["ada", "bea"]);
    }
}

#[test]
fn nothing_is_sent_where_it_is_not_enabled() {
    let project = Project::closed();
    let mut admin = project.database.admin();
    hiems_tests::call(&mut admin, "{}").expect("an answer");
    project.database.wait_until_booked();
    project.enable();
    project.call("ada");
    // The one from before is older than this: it would have come first.
    assert_eq!(project.wait_until_sent(2).len(), 2);
    project.steps("disable_supabase");
    hiems_tests::call(&mut admin, "{}").expect("an answer");
    project.database.wait_until_booked();
    project.enable();
    project.call("bea");
    let events = project.wait_until_sent(4);
    assert_eq!(ids(&events, "hiems:usage").len(), 2, "{events:?}");
}

/// What another has locked is sent when it is free; calls do not wait meanwhile.
#[test]
fn a_lock_on_realtimes_table_holds_up_nothing_but_the_events() {
    let project = Project::new();
    project.call("ada");
    project.wait_until_sent(2);
    let mut locker = project.database.admin();
    locker.batch_execute("BEGIN; LOCK TABLE realtime.messages").expect("a lock");
    for _ in 0..20 {
        project.call("ada");
    }
    // Booked, and out of the journal.
    project.database.wait_until_booked();
    locker.batch_execute("COMMIT").expect("a commit");
    assert_each_told_once(&project, &["ada"]);
}

/// A lock on the day's own table is met within realtime.send: it is waited for, but not for long.
#[test]
fn slow_messages_are_given_up() {
    let project = Project::new();
    project.call("ada");
    project.wait_until_sent(2);
    let mut locker = project.database.admin();
    let lock = "SELECT format('BEGIN; LOCK TABLE %s', string_agg(inhrelid::regclass::text, ', '))
                FROM pg_inherits WHERE inhparent = 'realtime.messages'::regclass";
    let lock = project.database.text(lock, &[]).expect("a statement");
    locker.batch_execute(&lock).expect("a lock");
    for _ in 0..5 {
        project.call("ada");
    }
    project.database.wait_until_booked();
    locker.batch_execute("COMMIT").expect("a commit");
    assert_each_told_once(&project, &["ada"]);
}

#[test]
fn a_trigger_that_sleeps_or_fails_holds_up_no_call_and_has_no_rights_of_hiems() {
    let project = Project::new();
    project
        .database
        .admin()
        .batch_execute(
            "CREATE TABLE public.seen (who text, is_superuser boolean);
             GRANT INSERT ON public.seen TO PUBLIC;
             CREATE FUNCTION public.look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 INSERT INTO public.seen SELECT current_user, rolsuper FROM pg_roles WHERE rolname = current_user;
                 BEGIN
                     RESET ROLE;
                     INSERT INTO public.seen VALUES ('became ' || current_user, NULL);
                 EXCEPTION WHEN OTHERS THEN NULL; END;
                 RETURN NEW; END $$;
             CREATE TRIGGER look BEFORE INSERT ON realtime.messages FOR EACH ROW EXECUTE FUNCTION public.look()",
        )
        .expect("a trigger");
    project.call("ada");
    project.wait_until_sent(2);
    let seen = "SELECT string_agg(DISTINCT who || coalesce(' ' || is_superuser, ''), ', ') FROM public.seen";
    assert_eq!(project.database.text(seen, &[]).as_deref(), Some("service_role false"));
    for body in ["PERFORM pg_sleep(3600); RETURN NEW", "RAISE EXCEPTION 'broken'"] {
        project
            .database
            .admin()
            .batch_execute(&format!(
                "CREATE OR REPLACE FUNCTION public.look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                     {body}; END $$"
            ))
            .expect("a function");
        for _ in 0..5 {
            project.call("ada");
        }
        project.database.wait_until_booked();
    }
    assert_eq!(project.database.count("hiems.ai_usage_logs"), 11);
    assert!(hiems_tests::logical_cluster().log().contains("hiems cannot broadcast"));
}

/// realtime.send itself fails no statement: without a day for its row it warns. The gateway notices.
#[test]
fn without_a_partition_events_wait_for_one() {
    let project = Project::new();
    let names = "SELECT string_agg(inhrelid::regclass::text, ', ')
                 FROM pg_inherits WHERE inhparent = 'realtime.messages'::regclass";
    let names = project.database.text(names, &[]).expect("names");
    project.database.admin().batch_execute(&format!("DROP TABLE {names}")).expect("the days go");
    project.call("ada");
    project.database.wait_until_booked();
    project
        .database
        .admin()
        .batch_execute("CREATE TABLE realtime.later PARTITION OF realtime.messages DEFAULT")
        .expect("a partition");
    assert_each_told_once(&project, &["ada"]);
}

#[test]
fn without_realtime_calls_go_on() {
    let project = Project::new();
    for damage in [
        "ALTER FUNCTION realtime.send(jsonb, text, text, boolean) RENAME TO away",
        "DROP TABLE realtime.messages",
        "DROP SCHEMA realtime CASCADE",
    ] {
        project.database.admin().batch_execute(damage).expect(damage);
        project.call("ada");
        project.database.wait_until_booked();
        project.enable();
    }
    let level = "SELECT hiems.revoke_access('authenticated')";
    project.database.admin().batch_execute(level).expect("a level can be taken");
    let mut client = project.database.connect("authenticator");
    let called = project.request(&mut client, "authenticated", &claims("ada"), |request| {
        Ok((call(request, &[])?, true))
    });
    assert_eq!(called.sqlstate(), "42501");
}
