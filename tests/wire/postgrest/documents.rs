//! The SQL of docs/supabase.md, over Supabase's own names, does what the page says.

use hiems_tests::{Cluster, Config, Database, KEY, SOON, wait_until};
use postgres::Client;
use serde_json::{Value, json};

use super::server::{Answer, Server};
use super::site::prompt;
use super::token::{claims, token};
use crate::readme::{blocks, statements};
use crate::supabase::project::{REALTIME, ROLES};

const PAGE: &str = include_str!("../../../docs/supabase.md");
const EXAMPLE: &str = include_str!("../../../examples/typescript/example.ts");

fn run(client: &mut Client, page: &str) -> usize {
    let blocks = blocks(page);
    for block in &blocks {
        for statement in statements(&block.sql) {
            client.simple_query(statement).unwrap_or_else(|e| panic!("{statement}: {e:?}"));
        }
    }
    blocks.len()
}

struct Project<'s>(&'s Server);

impl Project<'_> {
    fn say(&self, method: &str, path: &str, sub: &str, schema: &str, body: &Value) -> Answer {
        let bearer = format!("Bearer {}", token(&claims("authenticated", sub)));
        let headers = [
            ("Authorization", bearer.as_str()),
            ("Accept-Profile", schema),
            ("Content-Profile", schema),
        ];
        let body = if method == "GET" { String::new() } else { body.to_string() };
        self.0.say(method, path, &headers, &body)
    }
}

#[test]
fn the_page_works_from_top_to_bottom() {
    const ADA: &str = "00000000-0000-4000-8000-00000000000a";
    const BEA: &str = "00000000-0000-4000-8000-00000000000b";
    const READER: &str = "5b6c1a52-0b0e-4d0c-9d5c-0c5f0f3a1e11";
    // Roles with Supabase's own names are a server's: so this is one of its own.
    let cluster = Cluster::start(&["wal_level = logical"]);
    let database = Database::on(&cluster, Config::default());
    let mut admin = database.admin();
    admin.batch_execute(ROLES).expect("Supabase's roles");
    admin.batch_execute(REALTIME).expect("Supabase's objects");
    let short = "ALTER ROLE authenticated SET statement_timeout = '300ms'";
    admin.batch_execute(short).expect("a timeout");
    admin.execute("SELECT hiems.set_api_key($1)", &[&KEY]).expect("a key");
    assert_eq!(run(&mut admin, PAGE), 7);
    for step in admin.query("SELECT status FROM hiems.enable_supabase()", &[]).expect("steps") {
        assert_ne!(step.get::<_, &str>(0), "skipped");
    }
    let server = Server::over(&database, "authenticator", "anon", &[]);
    let project = Project(&server);

    // A call is its user's, and a function of one's own has the longer timeout.
    let answer = project.say("POST", "/rpc/submit_prompt", ADA, "hiems", &prompt(&[]));
    assert_eq!(answer.status, 200, "{answer:?}");
    let document = json!({"owner": ADA, "body": "long"});
    let written = project.say("POST", "/documents", ADA, "public", &document);
    assert_eq!(written.status, 201, "{written:?}");
    database.fake.wish(&[("fake_header_delay_ms", "800"), ("fake_answer", "short")]);
    let summary = project.say("POST", "/rpc/summarize", ADA, "public", &json!({"document": 1}));
    assert_eq!((summary.status, &summary.body), (200, &json!("short")), "{summary:?}");
    // Another's document is not there, and costs nothing.
    let none = project.say("POST", "/rpc/summarize", BEA, "public", &json!({"document": 1}));
    assert_eq!((none.status, &none.body), (200, &Value::Null), "{none:?}");
    wait_until("both are booked", SOON, || database.count("hiems.ai_usage_logs") == 2);

    let spent =
        |sub: &str| project.say("GET", "/my_spending?select=calls", sub, "public", &json!({}));
    assert_eq!(spent(ADA).body, json!([{"calls": 2}]));
    assert_eq!(spent(BEA).body, json!([]));
    let all = project.say("GET", "/usage_totals?select=calls", READER, "hiems", &json!({}));
    assert_eq!(all.body, json!([{"calls": 2}]), "{all:?}");
    let anon = server.say("GET", "/usage_totals", &[("Accept-Profile", "hiems")], "");
    assert_eq!((anon.status, anon.text("code")), (401, "42501"), "{anon:?}");

    // Who has spent a dollar writes no more.
    database.fake.wish(&[("fake_cost", "1.5")]);
    let dear = project.say("POST", "/rpc/submit_prompt", ADA, "hiems", &prompt(&[]));
    assert_eq!(dear.status, 200, "{dear:?}");
    wait_until("it is booked", SOON, || database.count("hiems.ai_usage_logs") == 3);
    let written = project.say("POST", "/documents", ADA, "public", &document);
    assert_eq!((written.status, written.text("code")), (403, "42501"), "{written:?}");
    let other = json!({"owner": BEA, "body": "long"});
    let written = project.say("POST", "/documents", BEA, "public", &other);
    assert_eq!(written.status, 201, "{written:?}");
}

/// What the page shows of the example is the example, which another test runs.
#[test]
fn its_typescript_is_the_examples() {
    let shown: Vec<&str> = PAGE
        .split("```typescript\n")
        .skip(1)
        .map(|rest| rest.split_once("```").expect("the block's end").0)
        .collect();
    assert_eq!(shown.len(), 4);
    for block in shown {
        assert!(EXAMPLE.contains(block), "not of example.ts:\n{block}");
    }
}
