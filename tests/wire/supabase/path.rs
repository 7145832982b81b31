//! From a browser to the ledger and back, by Supabase's own clients: a token, a channel, an enqueued call, the
//! broadcast of it, its answer.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::browser::{Browser, anon, user};
use super::project::Project;
use super::realtime::has_wal2json;
use crate::postgrest::examples::compiled_example;
use crate::postgrest::token::{claims, signed_with, unsigned};

const JOIN: &str = include_str!("../../node/join.mjs");
const REFUSED: &str = "Unauthorized: You do not have permissions to read from this Channel topic: ";

fn browser() -> Browser {
    let project = Project::new();
    project
        .database
        .admin()
        .batch_execute(
            "SELECT hiems.grant_user_access('boss', 'admin');
             SELECT hiems.grant_user_access('rita', 'reader')",
        )
        .expect("levels");
    Browser::new(project)
}

/// The ids of what one was told, each once.
fn ids<'v>(told: &'v Value, id: impl Fn(&'v Value) -> &'v Value) -> BTreeSet<&'v str> {
    let told = told.as_array().expect("a list");
    let ids: BTreeSet<_> = told.iter().map(|it| id(it).as_str().expect("an id")).collect();
    assert_eq!(ids.len(), told.len(), "told twice");
    ids
}

#[test]
fn a_call_is_enqueued_and_broadcast_and_its_answer_is_there() {
    let browser = browser();
    let args = json!({
        "model": "openai/gpt-4o-mini",
        "messages": [{"role": "user", "content": "a secret prompt"}],
        "options": {"metadata": {"fake_answer": "said", "fake_delay_ms": "100"}},
    });
    let said = browser.run(
        include_str!("../../node/path.mjs"),
        &json!({"ada": user("ada"), "bea": user("bea"), "boss": user("boss"), "args": args}),
    );
    assert_eq!(said["answer"]["choices"][0]["message"]["content"], "said", "{said}");
    let rows = browser.project.database.ledger();
    let of = |principal: &str| -> BTreeSet<&str> {
        let rows = rows.iter().filter(|row| row["principal"] == principal);
        rows.map(|row| row["id"].as_str().expect("an id")).collect()
    };
    let (ada, bea) = (of("jwt:ada"), of("jwt:bea"));
    assert_eq!((ada.len(), bea.len(), rows.len()), (2, 2, 4));
    let all = ada.union(&bea).copied().collect();
    for (who, expected) in [("ada", &ada), ("bea", &bea), ("boss", &all)] {
        assert_eq!(&ids(&said["events"][who], |it| &it["id"]), expected, "{who}");
        assert_eq!(&ids(&said["changes"][who], |it| &it["new"]["id"]), expected, "{who}");
    }
    for who in ["ada", "bea"] {
        assert_eq!(ids(&said["asked"][who], |it| it), of(&format!("jwt:{who}")));
    }
    // A public channel of the same name is another one.
    assert_eq!(said["elsewhere"], json!([]));
    for (event, row) in said["events"]["boss"].as_array().expect("events").iter().zip(&rows) {
        assert_eq!(event["cost_usd"].to_string(), row["cost_usd"].to_string());
    }
    if has_wal2json() {
        assert_eq!(said["changes"]["ada"][0]["new"]["model"], rows[0]["model"]);
        assert_eq!(said["changes"]["ada"][0]["new"]["total_tokens"], rows[0]["total_tokens"]);
    }
    for told in ["events", "changes"] {
        assert!(!said[told].to_string().contains("a secret prompt"), "{said}");
    }
}

#[test]
fn the_typescript_example_has_a_slow_answer_by_the_broadcast() {
    let browser = browser();
    let database = &browser.project.database;
    let (_folder, module) = compiled_example("slowly");
    let script = include_str!("../../node/slowly.mjs");
    database.fake.wish(&[("fake_answer", "said"), ("fake_delay_ms", "200")]);
    let said = browser.run(script, &json!({"module": module, "token": user("ada")}));
    assert_eq!(said["first"]["choices"][0]["message"]["content"], "said", "{said}");
    assert_eq!(said["first"], said["again"]);
    assert_eq!(said["refusal"], format!("{REFUSED}hiems:user:bea"), "{said}");
    assert_eq!(database.fake.request_count(), 1);
    // What failed is booked and broadcast too.
    database.fake.wish(&[("fake_status", "402"), ("fake_delay_ms", "200")]);
    let said = browser.run(script, &json!({"module": module, "token": user("ada"), "fails": true}));
    let id = &database.ledger()[1]["id"];
    assert_eq!(said, json!({"status": 402, "code": "PT402", "call": id}));
}

#[test]
fn a_join_is_what_the_policies_say() {
    let browser = browser();
    let past = json!({"role": "authenticated", "sub": "ada", "exp": 1});
    let ada = claims("authenticated", "ada");
    let (own, usage) = ("hiems:user:ada", "hiems:usage");
    // Who, where, and what it is refused with.
    let joins = [
        (user("ada"), own, ""),
        (user("boss"), usage, ""),
        (user("rita"), usage, ""),
        (user("bea"), own, REFUSED),
        (user("boss"), own, REFUSED),
        (user("ada"), usage, REFUSED),
        (anon(), own, REFUSED),
        (anon(), usage, REFUSED),
        (user("' OR true --"), own, REFUSED),
        (crate::postgrest::token::token(&past), own, "InvalidJWTToken: "),
        (signed_with("another secret, of more than 32 octets", &ada), own, "JwtSignatureError: "),
        (unsigned(&ada), own, "JwtSignatureError: "),
    ];
    let asked: Vec<Value> = joins
        .iter()
        .map(|(token, topic, _)| json!({"token": token, "topic": topic, "private": true}))
        .collect();
    let told = browser.run(JOIN, &json!(asked));
    for (i, (_, topic, refusal)) in joins.iter().enumerate() {
        let (status, reason) = (&told[i]["status"], told[i]["reason"].as_str().unwrap_or_default());
        assert_eq!(status == "SUBSCRIBED", refusal.is_empty(), "{i}: {told}");
        match *refusal {
            "" => assert_eq!(reason, "", "{i}: {told}"),
            REFUSED => assert_eq!(reason, format!("{REFUSED}{topic}"), "{i}"),
            _ => assert!(reason.starts_with(refusal), "{i}: {told}"),
        }
    }
    let asked =
        json!([{"token": anon(), "rpc": "enqueue_prompt", "args": {"model": "x", "messages": []}}]);
    let answers = browser.run(include_str!("../../node/rpc.mjs"), &asked);
    assert_eq!(
        (&answers[0]["status"], &answers[0]["error"]["code"]),
        (&json!(401), &json!("42501"))
    );
    assert_eq!(browser.project.database.fake.request_count(), 0);
}

#[test]
fn who_loses_a_level_is_closed_out_when_its_token_is_renewed_and_refused_at_the_next_join() {
    let browser = browser();
    // Another token of the same user's.
    let mut next = claims("authenticated", "rita");
    next["session_id"] = json!("another");
    let said = browser.run(
        include_str!("../../node/renew.mjs"),
        &json!({"reader": [user("rita"), crate::postgrest::token::token(&next)],
                "admin": user("boss"), "sub": "rita"}),
    );
    let no = "You do not have permissions to read from this Channel topic: hiems:usage";
    let told = said["told"].as_array().expect("a list");
    assert_eq!(told.first(), Some(&json!("SUBSCRIBED")), "{said}");
    assert!(told[1].as_str().is_some_and(|it| it.ends_with(no)), "{said}");
    assert_eq!(told[2], "CLOSED", "{said}");
    assert_eq!(
        said["again"],
        json!({"status": "CHANNEL_ERROR", "reason": format!("{REFUSED}hiems:usage")})
    );
}
