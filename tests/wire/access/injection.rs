//! Every text argument of every function takes texts that try to be SQL. The functions come from the
//! catalog: one with an argument that nothing here knows fails the test.

use hiems_tests::Database;
use postgres::Client;

/// Each ends a literal, an identifier or a statement early, and then drops the canary.
const INJECTIONS: [&str; 7] = [
    "'; DROP TABLE public.canary; --",
    "\"; DROP TABLE public.canary; --",
    "postgres; DROP TABLE public.canary; --",
    "x') ON CONFLICT DO NOTHING; DROP TABLE public.canary; --",
    "$$; DROP TABLE public.canary; --",
    "\\'; DROP TABLE public.canary; --",
    "%I %s $1 {0} \u{1F980}",
];

/// An SQL expression that can be used for the argument of this name.
fn usable(argument: &str) -> &'static str {
    match argument {
        "model" => "'openai/gpt-4o-mini'",
        "messages" => r#"'[{"role": "user", "content": "hello"}]'"#,
        "prompt" => "'hello'",
        "user" | "use_case" | "session_id" | "source" => "'x'",
        "metadata" | "options" => "'{}'",
        "idempotency_key" | "answer" => "NULL",
        "schema" => "'{}'",
        "key" => "'sk-or-v1-0123456789abcdef'",
        "name" => "'default'",
        "kind" => "'inference'",
        "path" => "'/nowhere'",
        "variable" => "'HIEMS_NOWHERE'",
        "role" | "grantee" | "user_id" => "'injected_somebody'",
        "level" => "'reader'",
        "currency" => "'USD'",
        "sek_per_unit" => "10",
        "requests" => r#"'[{"messages": [{"role": "user", "content": "hello"}]}]'"#,
        "run_at" => "'9999-01-01'",
        "priority" | "max_attempts" => "1",
        "max_concurrency" => "4",
        "on_error" => "'keep'",
        "rate_date" => "'2020-01-01'",
        other => panic!("what is usable for the argument {other}? Say it here."),
    }
}

struct Argument {
    name: String,
    type_name: String,
}

/// The functions of schema hiems, as a statement begins that runs them, with their arguments.
fn functions(admin: &mut Client) -> Vec<(String, Vec<Argument>)> {
    let rows = admin
        .query(
            "SELECT CASE prokind WHEN 'p' THEN 'CALL ' ELSE 'SELECT FROM ' END || p.oid::regproc,
                    a.name, format_type(a.type, NULL)
             FROM pg_proc AS p LEFT JOIN LATERAL (
                 SELECT t.place, proargnames[t.place] AS name, t.type
                 FROM unnest(proargtypes::oid[]) WITH ORDINALITY AS t (type, place)) AS a ON true
             WHERE pronamespace = 'hiems'::regnamespace
             ORDER BY 1, a.place",
            &[],
        )
        .expect("the catalog");
    let mut functions: Vec<(String, Vec<Argument>)> = Vec::new();
    for row in rows {
        let function: String = row.get(0);
        if functions.last().is_none_or(|(last, _)| *last != function) {
            functions.push((function, Vec::new()));
        }
        if let (Some(name), Some((_, arguments))) = (row.get(1), functions.last_mut()) {
            arguments.push(Argument { name, type_name: row.get(2) });
        }
    }
    functions
}

/// How a text gets into an argument of this type.
fn ways_in(type_name: &str) -> &'static [&'static str] {
    match type_name {
        "text" => &["$1"],
        "text[]" => &["ARRAY[$1]"],
        "jsonb" => &[
            "to_jsonb($1::text)",
            "jsonb_build_object($1::text, $1::text)",
            "jsonb_build_array(jsonb_build_object('role', 'user', 'content', $1::text))",
        ],
        _ => &[],
    }
}

#[test]
fn every_text_of_every_function_is_only_text() {
    let database = Database::new();
    let mut admin = database.admin();
    admin.batch_execute("CREATE TABLE public.canary (x int)").expect("a canary");
    // So that what grants and revokes goes all the way.
    let mut quoted = INJECTIONS.map(|text| format!("\"{}\"", text.replace('"', "\"\""))).to_vec();
    quoted.push("injected_somebody".to_owned());
    for role in &quoted {
        admin.batch_execute(&format!("CREATE ROLE {role}")).expect("a role of an odd name");
    }
    let (mut tried, mut went_well) = (0, 0);
    for (function, arguments) in functions(&mut admin) {
        for hostile in &arguments {
            for way in ways_in(&hostile.type_name) {
                let list: Vec<String> = arguments
                    .iter()
                    .map(|argument| {
                        let is_hostile = argument.name == hostile.name;
                        let value = if is_hostile { way } else { usable(&argument.name) };
                        format!("\"{}\" => {value}", argument.name)
                    })
                    .collect();
                // Of any type, and of none: some return rows.
                let sql = format!("{function}({})", list.join(", "));
                // A name that nothing here knows is one too many.
                usable(&hostile.name);
                for text in INJECTIONS {
                    let error = admin.query(&sql, &[&text]).err();
                    let state = error.map(|error| {
                        error.code().unwrap_or_else(|| panic!("{sql}: {error}")).code().to_owned()
                    });
                    // A text that is taken for SQL is a syntax error, or names what is not there.
                    let taken_for_sql =
                        |state: &String| state.starts_with("42") || state == "XX000";
                    assert!(!state.as_ref().is_some_and(taken_for_sql), "{sql} {text}: {state:?}");
                    went_well += usize::from(state.is_none());
                    tried += 1;
                }
            }
        }
    }
    assert!(tried > 150 && went_well > 50, "{tried} tried, {went_well} went well");
    assert_eq!(database.count("public.canary"), 0, "the canary is alive");
    for role in &quoted {
        admin
            .batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}"))
            .expect("nothing but privileges in this database");
    }
}
