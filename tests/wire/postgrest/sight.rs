//! What one user sees of another over HTTP: nothing, by no table, view, function or error; and two users
//! and an admin exactly what is theirs.

use hiems_tests::{Database, SOON, wait_until};
use serde_json::{Value, json};

use super::site::{Site, prompt};

/// It stands in everything that bea says and has.
const MARK: &str = "beas-own";

struct Seen {
    site: Site,
    /// Bea's calls: booked, queued, and one whose answer is kept.
    ids: Vec<String>,
    relations: Vec<String>,
}

fn used() -> Seen {
    let site = Site::new();
    let bea = site.user(MARK);
    let mut arguments = prompt(&[("fake_answer", MARK)]);
    for name in ["use_case", "session_id", "idempotency_key"] {
        arguments[name] = json!(MARK);
    }
    arguments["messages"] = json!([{"role": "user", "content": MARK}]);
    arguments["metadata"] = json!({"mark": MARK});
    assert_eq!(site.rpc(&bea, "submit_prompt", &arguments).status, 200);
    arguments["idempotency_key"] = json!(format!("{MARK}-queued"));
    let mut queued = arguments.clone();
    queued["run_at"] = json!("9999-01-01");
    let queued = site.rpc(&bea, "enqueue_prompt", &queued);
    assert_eq!(queued.status, 200, "{queued:?}");
    let mut failed = prompt(&[("fake_status", "402")]);
    failed["use_case"] = json!(MARK);
    assert_eq!(site.rpc(&bea, "submit_prompt", &failed).status, 402);
    assert_eq!(site.rpc(&site.user("ada"), "submit_prompt", &prompt(&[])).status, 200);
    wait_until("all are booked", SOON, || site.database.count("hiems.ai_usage_logs") == 3);
    let mut ids: Vec<String> = site
        .database
        .ledger()
        .iter()
        .filter(|row| row["user_id"] == MARK)
        .filter_map(|row| row["id"].as_str().map(str::to_owned))
        .collect();
    ids.push(queued.body.as_str().expect("an id").to_owned());
    let relations = relations(&site.database);
    assert!(relations.len() >= 10, "{relations:?}");
    Seen { site, ids, relations }
}

fn relations(database: &Database) -> Vec<String> {
    database
        .admin()
        .query(
            "SELECT relname::text FROM pg_class
             WHERE relnamespace = 'hiems'::regnamespace AND relkind IN ('r', 'v')",
            &[],
        )
        .expect("the catalog")
        .iter()
        .map(|row| row.get(0))
        .collect()
}

#[test]
fn no_path_shows_one_user_anothers() {
    let Seen { site, ids, relations } = used();
    let ada = site.user("ada");
    let shows_nothing = |what: &str, body: &Value| {
        assert!(!body.to_string().contains(MARK), "{what}: {body}");
    };
    for relation in &relations {
        // Bea herself, by the same paths, so that they lead somewhere.
        let mut paths = vec![format!("/{relation}"), format!("/{relation}?select=*&limit=100")];
        for column in ["user_id", "use_case", "principal"] {
            paths.push(format!("/{relation}?{column}=like.*{MARK}*"));
            paths.push(format!("/{relation}?or=({column}.eq.{MARK},{column}.not.is.null)"));
        }
        for id in &ids {
            paths.push(format!("/{relation}?id=eq.{id}"));
        }
        for path in &paths {
            let answer = site.get(&ada, path);
            // The filter itself stands in an error's text where the column is not there.
            if answer.status == 200 {
                shows_nothing(path, &answer.body);
                assert!(!ids.iter().any(|id| answer.body.to_string().contains(id)), "{path}");
            }
        }
    }
    for own in ["/ai_usage_logs", "/calls"] {
        let answer = site.get(&site.user(MARK), own);
        assert!(answer.body.to_string().contains(MARK), "{own}: {answer:?}");
    }
    for id in &ids {
        for (function, argument) in
            [("await_prompt", "id"), ("raw_answer", "call"), ("cancel_prompt", "id")]
        {
            let answer = site.rpc(&ada, function, &json!({argument: id}));
            assert_eq!(
                (answer.status, answer.text("code")),
                (404, "PT404"),
                "{function} {answer:?}"
            );
            shows_nothing(function, &answer.body);
        }
    }
    // Another's idempotency key is no key of one's own: no conflict tells that it is taken.
    let mut same = prompt(&[]);
    same["idempotency_key"] = json!(MARK);
    let answer = site.rpc(&ada, "submit_prompt", &same);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.body["hiems"], Value::Null);
    // What hiems says of the whole.
    for function in ["health", "settle_now", "list_api_keys", "verify_api_key"] {
        let answer = site.rpc(&ada, function, &json!({}));
        assert!(answer.status == 403 || answer.body == json!([]), "{function}: {answer:?}");
        shows_nothing(function, &answer.body);
    }
    let description = site.get(&ada, "/");
    shows_nothing("the description", &description.body);
    assert_eq!(site.database.count("hiems_private.queue WHERE state = 'queued'"), 1);
}

#[test]
fn anon_sees_and_may_nothing() {
    let Seen { site, relations, .. } = used();
    for relation in &relations {
        for token in [site.anon(), String::new()] {
            let answer = match token.as_str() {
                "" => site.server.say(
                    "GET",
                    &format!("/{relation}"),
                    &[("Accept-Profile", "hiems")],
                    "",
                ),
                token => site.get(token, &format!("/{relation}")),
            };
            assert_eq!(
                (answer.status, answer.text("code")),
                (401, "42501"),
                "{relation}: {answer:?}"
            );
        }
    }
}

#[test]
fn nothing_is_written_past_the_functions() {
    let Seen { site, ids, relations } = used();
    let before = site.database.ledger();
    for token in [site.user(MARK), site.user("ada"), site.service()] {
        let bearer = format!("Bearer {token}");
        let headers = [("Authorization", bearer.as_str()), ("Content-Profile", "hiems")];
        for relation in &relations {
            for (method, path, body) in [
                (
                    "POST",
                    format!("/{relation}"),
                    r#"{"id": "01a20d36-0000-7000-8000-000000000000"}"#,
                ),
                ("PATCH", format!("/{relation}?calls=eq.1"), r#"{"calls": 0}"#),
                ("DELETE", format!("/{relation}?calls=eq.1"), ""),
                ("PUT", format!("/{relation}?id=eq.{}", ids[0]), r#"{"id": "x"}"#),
            ] {
                let answer = site.server.say(method, &path, &headers, body);
                assert!(answer.status >= 400, "{method} {path}: {answer:?}");
            }
        }
    }
    assert_eq!(site.database.ledger(), before);
}

#[test]
fn two_users_and_an_admin_see_what_is_theirs() {
    let site = Site::new();
    site.database
        .admin()
        .batch_execute("SELECT hiems.grant_user_access('boss', 'admin')")
        .expect("a level");
    for (sub, calls) in [("ada", 3), ("bea", 2)] {
        for _ in 0..calls {
            assert_eq!(site.rpc(&site.user(sub), "submit_prompt", &prompt(&[])).status, 200);
        }
    }
    site.database.wait_until_booked();
    for (sub, rows, own) in [("ada", 3, 3), ("bea", 2, 2), ("boss", 5, 0), ("eve", 0, 0)] {
        let ledger = site.get(&site.user(sub), "/ai_usage_logs?select=user_id");
        assert_eq!(ledger.body.as_array().map(Vec::len), Some(rows), "{sub}: {ledger:?}");
        let totals = site.get(&site.user(sub), "/my_usage_totals?select=calls");
        assert_eq!(totals.body[0]["calls"], json!(own), "{sub}: {totals:?}");
    }
    // The service key goes past row-level security, as it does in all of Supabase.
    let all = site.get(&site.service(), "/ai_usage_logs?select=user_id");
    assert_eq!(all.body.as_array().map(Vec::len), Some(5), "{all:?}");
}
