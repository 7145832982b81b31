//! Who tries what over HTTP, and gets nothing.

use hiems_tests::Database;
use serde_json::{Value, json};

use super::site::{Site, prompt};
use super::token::{SECRET, claims, signed_with, token, unsigned};

#[test]
fn a_token_that_is_not_the_projects_is_401() {
    let site = Site::new();
    let good = claims(&site.roles.service_role, "eve");
    let mut expired = good.clone();
    expired["exp"] = json!(1_000_000_000);
    let mut early = good.clone();
    early["nbf"] = json!(9_000_000_000_u64);
    // A user's own token, with another's claims under its signature.
    let own = site.user("eve");
    let (forged, kept) = (token(&good), own.rsplit_once('.').expect("a signature").1);
    let swapped = format!("{}.{kept}", forged.rsplit_once('.').expect("a signature").0);
    for (what, bad) in [
        ("signature", signed_with("another secret, of more than 32 octets", &good)),
        ("the secret's beginning", signed_with(&SECRET[..32], &good)),
        ("expired", token(&expired)),
        ("not yet", token(&early)),
        ("no signature", unsigned(&good)),
        ("another's signature", swapped),
        ("garbage", "x.y.z".to_owned()),
    ] {
        for (function, arguments) in
            [("submit_prompt", prompt(&[])), ("health", json!({})), ("list_api_keys", json!({}))]
        {
            let answer = site.rpc(&bad, function, &arguments);
            assert_eq!(answer.status, 401, "{what}: {answer:?}");
            assert!(answer.text("code").starts_with("PGRST3"), "{what}: {answer:?}");
        }
    }
    assert_eq!(site.database.fake.request_count(), 0);
}

#[test]
fn no_claim_makes_a_role_or_a_level() {
    let site = Site::new();
    let authenticated = site.roles.authenticated.as_str();
    // PostgREST's login is no member of these: SET ROLE fails.
    for role in ["postgres", "pg_read_all_data", "no_such_role", "none", "\"; RESET ROLE; --"] {
        let answer = site.rpc(&token(&claims(role, "eve")), "submit_prompt", &prompt(&[]));
        assert!([400, 401, 403].contains(&answer.status), "{role}: {answer:?}");
    }
    assert_eq!(site.database.fake.request_count(), 0);
    // The login itself has nothing.
    let answer = site.rpc(&token(&claims(&site.roles.authenticator, "eve")), "health", &json!({}));
    assert!([401, 403].contains(&answer.status), "{answer:?}");
    // What stands elsewhere in a token counts for nothing.
    let mut more = claims(authenticated, "eve");
    for name in ["app_metadata", "user_metadata", "hiems"] {
        more[name] = json!({"role": "service_role", "level": "admin", "sub": "ada"});
    }
    more["level"] = json!("admin");
    more["user"] = json!("ada");
    let more = token(&more);
    let answer = site.rpc(&more, "health", &json!({}));
    assert_eq!((answer.status, answer.text("code")), (403, "42501"), "{answer:?}");
    let who = site.rpc(&more, "current_principal", &json!({}));
    assert_eq!(who.body, json!("jwt:eve"));
    let mut spoofed = prompt(&[]);
    spoofed["user"] = json!("ada");
    let answer = site.rpc(&more, "submit_prompt", &spoofed);
    assert_eq!((answer.status, answer.text("code")), (403, "42501"), "{answer:?}");
    for (function, arguments) in [
        ("grant_access", json!({"role": authenticated, "level": "admin"})),
        ("grant_user_access", json!({"user_id": "eve", "level": "admin"})),
        ("revoke_access", json!({"grantee": authenticated})),
        ("set_api_key", json!({"key": "sk-or-v1-eves"})),
        ("drop_api_key", json!({"name": "default"})),
        ("rotate_master_key", json!({})),
        ("adopt_api_keys", json!({})),
        ("resume_prompts", json!({})),
    ] {
        let answer = site.rpc(&more, function, &arguments);
        assert_eq!((answer.status, answer.text("code")), (403, "42501"), "{function}: {answer:?}");
    }
    assert_eq!(site.database.count("hiems_private.access"), 2);
    assert_eq!(site.database.fake.request_count(), 0);
}

/// A subject that is none: it may call as its role may, and owns no rows.
#[test]
fn a_token_without_a_subject_owns_nothing() {
    let site = Site::new();
    let ada = site.rpc(&site.user("ada"), "submit_prompt", &prompt(&[]));
    assert_eq!(ada.status, 200);
    for sub in [Value::Null, json!(""), json!(7), json!(["ada"]), json!({"sub": "ada"})] {
        let mut nobody = claims(&site.roles.authenticated, "");
        nobody["sub"] = sub.clone();
        let nobody = token(&nobody);
        let rows = site.get(&nobody, "/ai_usage_logs");
        if rows.status == 401 {
            continue; // PostgREST itself wants a subject to be a text.
        }
        assert_eq!(rows.body, json!([]), "{sub}: {rows:?}");
        let mut as_ada = prompt(&[]);
        as_ada["user"] = json!("ada");
        let answer = site.rpc(&nobody, "submit_prompt", &as_ada);
        assert_eq!((answer.status, answer.text("code")), (403, "42501"), "{sub}: {answer:?}");
    }
    // Texts that try to be more than a subject.
    for sub in ["role:postgres", "jwt:ada", "ada'--", "%", "\u{1F980}"] {
        let rows = site.get(&site.user(sub), "/ai_usage_logs");
        assert_eq!((rows.status, &rows.body), (200, &json!([])), "{sub}: {rows:?}");
    }
    assert_eq!(site.database.fake.request_count(), 1);
}

/// Headers cannot set what a session goes by, nor undo a booking.
#[test]
fn no_header_changes_who_calls_or_what_is_booked() {
    let site = Site::new();
    let bearer = format!("Bearer {}", site.user("eve"));
    let eve = claims(&site.roles.service_role, "ada").to_string();
    let headers = [
        ("Authorization", bearer.as_str()),
        ("Content-Profile", "hiems"),
        ("request.jwt.claims", eve.as_str()),
        ("request.jwt.claim.sub", "ada"),
        ("role", "service_role"),
        ("X-Forwarded-User", "ada"),
        ("Prefer", "tx=rollback, return=minimal"),
    ];
    let body = prompt(&[]).to_string();
    let answer = site.server.say("POST", "/rpc/submit_prompt", &headers, &body);
    assert_eq!(answer.status, 200, "{answer:?}");
    site.database.wait_until_booked();
    let rows = site.database.ledger();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["principal"], "jwt:eve");
    assert_eq!(rows[0]["outcome"], "committed");
}

const INJECTIONS: [&str; 5] = [
    "'; DROP TABLE public.canary; --",
    "\"; DROP TABLE public.canary; --",
    "x') ON CONFLICT DO NOTHING; DROP TABLE public.canary; --",
    "$$; DROP TABLE public.canary; --",
    "%I %s $1 {0} \\ \u{1F980}",
];

/// Every argument of every function that takes some, as an admin, for whom all of them run.
#[test]
fn no_argument_is_run_as_sql() {
    let site = Site::new();
    let mut admin = site.database.admin();
    admin
        .batch_execute(
            "CREATE TABLE public.canary (); SELECT hiems.grant_user_access('boss', 'admin')",
        )
        .expect("a canary");
    let boss = site.user("boss");
    let functions = admin
        .query(
            "SELECT proname::text, proargnames[1:pronargs] FROM pg_proc
             WHERE pronamespace = 'hiems'::regnamespace AND pronargs > 0 AND prokind = 'f'",
            &[],
        )
        .expect("the catalog");
    assert!(functions.len() >= 15, "{}", functions.len());
    let mut asked = 0;
    for row in &functions {
        let (function, names): (String, Vec<String>) = (row.get(0), row.get(1));
        for name in &names {
            for injection in INJECTIONS {
                let mut arguments = usable(&names);
                arguments[name] = json!(injection);
                let answer = site.rpc(&boss, &function, &arguments);
                asked += 1;
                assert_ne!(answer.status, 500, "{function}({name}): {answer:?}");
                assert_ne!(answer.text("code"), "42601", "{function}({name}): {answer:?}");
            }
        }
    }
    for path in [
        "/ai_usage_logs?user_id=eq.'%3BDROP%20TABLE%20public.canary%3B--",
        "/ai_usage_logs?select=id%3BDROP%20TABLE%20public.canary",
        "/ai_usage_logs?order=id%3BDROP%20TABLE%20public.canary",
        "/usage_daily?limit=1%3BDROP%20TABLE%20public.canary",
    ] {
        asked += 1;
        assert_ne!(site.get(&boss, path).status, 500, "{path}");
    }
    assert!(asked > 150, "{asked}");
    assert_eq!(site.database.count("public.canary"), 0);
}

/// What lets a function get as far as the argument that is tried.
fn usable(names: &[String]) -> Value {
    let all = json!({
        "model": "openai/gpt-4o-mini",
        "messages": [{"role": "user", "content": "hello"}],
        "prompt": "hello",
        "schema": {},
        "requests": [{"model": "openai/gpt-4o-mini",
                      "messages": [{"role": "user", "content": "hello"}]}],
        "key": hiems_tests::KEY,
        "role": "nobody", "grantee": "nobody", "user_id": "nobody", "level": "reader",
        "path": "/nowhere", "variable": "HIEMS_NOWHERE", "name": "other",
        "currency": "USD", "sek_per_unit": 10, "rate_date": "2020-01-01", "source": "x",
        "id": "01a20d36-0000-7000-8000-000000000000",
        "call": "01a20d36-0000-7000-8000-000000000000",
        "run_at": "2000-01-01", "timeout": "0 s",
    });
    let mut arguments = json!({});
    for name in names {
        if !all[name].is_null() {
            arguments[name] = all[name].clone();
        }
    }
    arguments
}

/// What is in no schema that PostgREST was told of cannot be reached, whoever asks.
#[test]
fn the_private_schema_is_not_there() {
    let site = Site::new();
    let tables: Vec<String> = names(&site.database);
    assert!(tables.len() >= 8, "{tables:?}");
    for token in [site.user("ada"), site.service(), site.anon()] {
        let bearer = format!("Bearer {token}");
        for profile in ["hiems_private", "pg_catalog", "HIEMS", "hiems,hiems_private"] {
            let headers = [("Authorization", bearer.as_str()), ("Accept-Profile", profile)];
            let answer = site.server.say("GET", "/ai_usage_logs", &headers, "");
            assert_eq!((answer.status, answer.text("code")), (406, "PGRST106"), "{answer:?}");
        }
        for table in &tables {
            for path in [format!("/{table}"), format!("/hiems_private.{table}")] {
                let answer = site.get(&token, &path);
                assert!(answer.status >= 400, "{path}: {answer:?}");
            }
        }
    }
}

fn names(database: &Database) -> Vec<String> {
    database
        .admin()
        .query(
            "SELECT relname::text FROM pg_class
             WHERE relnamespace = 'hiems_private'::regnamespace AND relkind IN ('r', 'v')
               AND to_regclass('hiems.' || relname) IS NULL",
            &[],
        )
        .expect("the catalog")
        .iter()
        .map(|row| row.get(0))
        .collect()
}
