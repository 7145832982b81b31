//! The examples: their types are those of the catalog, they pass TypeScript's checks, and they run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hiems_tests::{Database, node_folder, run_node};
use serde_json::{Value, json};

use super::site::{Site, prompt};

const TYPES: &str = include_str!("../../../examples/typescript/hiems.d.ts");
const EXAMPLE: &str = include_str!("../../../examples/typescript/example.ts");
const OPTIONS: &str = include_str!("../../../examples/typescript/tsconfig.json");
const EDGE_FUNCTION: &str = include_str!("../../../examples/submit-prompt/index.ts");

/// What the types must not let through.
const WRONG: &str = "
import type { Hiems } from './example.ts'
export async function wrong(hiems: Hiems) {
  // @ts-expect-error of another type
  await hiems.rpc('submit_prompt', { model: 5, messages: [] })
  // @ts-expect-error messages are left out
  await hiems.rpc('submit_prompt', { model: 'x' })
  // @ts-expect-error no such function
  await hiems.rpc('submit_promt', { model: 'x', messages: [] })
  // @ts-expect-error nobody writes to the ledger
  await hiems.from('ai_usage_logs').insert({ calls: 1 })
  // @ts-expect-error no such view
  await hiems.from('usage_hourly').select()
}
";

/// What of Deno the edge function uses.
const DENO: &str = "
declare const Deno: {
  env: { get(name: string): string | undefined }
  serve(handler: (request: Request) => Promise<Response>): void
}
";

/// A folder among what npm has installed, removed at the end.
pub struct Folder(PathBuf);

impl Folder {
    fn with(name: &str, files: &[(&str, &str)]) -> Folder {
        let folder = node_folder().join(format!("{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).expect("a folder: scripts/setup makes the one around it");
        for (name, text) in files {
            fs::write(folder.join(name), text).expect("a file");
        }
        Folder(folder.canonicalize().expect("a path"))
    }

    /// Checks the types and compiles to JavaScript; the path of this module.
    fn compiled(&self, module: &str) -> String {
        let output = Command::new("node")
            .arg(node_folder().join("node_modules/typescript/bin/tsc"))
            .args(["--project", ".", "--outDir", "out"])
            .current_dir(&self.0)
            .output()
            .expect("tsc: scripts/setup installs it");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}");
        let path: &Path = &self.0.join("out").join(module);
        assert!(path.exists(), "{said}");
        format!("file://{}", path.display())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The example in JavaScript, checked: the path of its module, while the folder is there.
pub fn compiled_example(name: &str) -> (Folder, String) {
    let files = [
        ("hiems.d.ts", TYPES),
        ("example.ts", EXAMPLE),
        ("tsconfig.json", OPTIONS),
        ("wrong.ts", WRONG),
        ("package.json", r#"{"type": "module"}"#),
    ];
    let folder = Folder::with(name, &files);
    let module = folder.compiled("example.js");
    (folder, module)
}

#[test]
fn the_types_are_those_of_the_catalog() {
    let made = Database::without_key().text(include_str!("../../../scripts/types.sql"), &[]);
    assert!(made.as_deref() == Some(TYPES), "examples/typescript/hiems.d.ts: run scripts/types");
}

#[test]
fn the_typescript_example_is_typed_and_runs() {
    let (_folder, module) = compiled_example("example");
    let site = Site::new();
    let script = include_str!("../../node/example.mjs");
    let ada = site.user("ada");
    let said = site.node(script, &json!({"module": module, "token": ada}));
    for answer in ["asked", "collected"] {
        assert!(said[answer]["choices"][0]["message"]["content"].is_string(), "{said}");
    }
    assert_eq!(said["id"], said["again"]);
    site.database.wait_until_booked();
    let rows = site.database.ledger();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[1]["id"], said["id"]);
    assert_eq!((&rows[0]["use_case"], &rows[1]["use_case"]), (&json!("chat"), &json!("report")));
    let spent = site.database.text("SELECT sum(cost_usd)::text FROM hiems.ai_usage_logs", &[]);
    assert_eq!(said["spent"][0]["cost_usd"], json!(spent), "{said}");

    site.database.fake.wish(&[("fake_status", "429"), ("fake_retry_after", "7")]);
    let said = site.node(script, &json!({"module": module, "token": ada, "fails": true}));
    site.database.wait_until_booked();
    let id = site.database.ledger()[2]["id"].clone();
    assert_eq!(said, json!({"status": 429, "code": "PT429", "call": id, "retryAfterSeconds": 7}));
}

#[test]
fn the_edge_function_forwards_as_the_user() {
    let files = [
        ("index.ts", EDGE_FUNCTION),
        ("deno.d.ts", DENO),
        ("tsconfig.json", OPTIONS),
        ("package.json", r#"{"type": "module"}"#),
    ];
    let folder = Folder::with("submit-prompt", &files);
    let module = folder.compiled("index.js");
    let site = Site::new();
    let bearer = |token: String| json!({"Authorization": format!("Bearer {token}")});
    let post = |headers: Value, body: Value| json!({"method": "POST", "headers": headers, "body": body.to_string()});
    let hello = prompt(&[("fake_answer", "said")]);
    let mut spoofed = hello.clone();
    spoofed["user"] = json!("bea");
    let refused = prompt(&[("fake_status", "402")]);
    let ada = || bearer(site.user("ada"));
    let requests = json!([
        post(ada(), hello.clone()),
        post(ada(), spoofed),
        post(ada(), refused),
        post(bearer("x.y.z".to_owned()), hello.clone()),
        post(json!({}), hello.clone()),
        {"method": "OPTIONS"},
        {"method": "GET", "headers": ada()},
    ]);
    let script = include_str!("../../node/submit-prompt.mjs");
    let ask = |url: &str, requests: &Value| {
        run_node(script, &json!({"module": module, "url": url, "requests": requests}))
    };
    let answers = ask(&site.server.url(), &requests);
    let answers = answers.as_array().expect("answers");
    let statuses: Vec<_> = answers.iter().filter_map(|answer| answer["status"].as_u64()).collect();
    assert_eq!(statuses, [200, 403, 402, 401, 401, 200, 405]);
    for answer in answers {
        assert_eq!(answer["headers"]["access-control-allow-origin"], "*", "{answer}");
    }
    let body = |i: usize| -> Value {
        serde_json::from_str(answers[i]["text"].as_str().expect("a text")).expect("JSON")
    };
    assert_eq!(body(0)["choices"][0]["message"]["content"], "said");
    assert_eq!(body(0)["object"], "chat.completion");
    assert_eq!(body(1)["error"]["metadata"]["sqlstate"], "42501");
    assert_eq!(body(2)["error"]["code"], 402);
    assert_eq!(body(2)["error"]["metadata"]["sqlstate"], "PT402");
    site.database.wait_until_booked();
    let rows = site.database.ledger();
    let users: Vec<_> = rows.iter().map(|row| row["principal"].clone()).collect();
    assert_eq!(users, [json!("jwt:ada"), json!("jwt:ada")]);
    // Nobody answers there.
    let nobody = ask("http://127.0.0.1:1", &json!([post(ada(), hello)]));
    assert_eq!(nobody[0]["status"], 502);
}
