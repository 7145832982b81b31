//! Hostile arguments: for each type, values that are empty, huge, deep, out of range or made to be misread.

use hiems_tests::Random;

/// A literal for the argument of this name, and of this type of pg_catalog, as SQL. A type that is not listed is given NULL. Every other
/// time a name that has one gets a good value, so that whole calls are made with one bad argument.
pub fn literal(random: &mut Random, name: &str, type_name: &str) -> String {
    if let Some((_, good)) = GOOD.iter().find(|(of, _)| *of == name)
        && random.percent(60)
    {
        return format!("'{good}'::pg_catalog.{type_name}");
    }
    let value = match type_name {
        "text" => text(random),
        "jsonb" | "json" => json(random),
        "int4" | "int8" | "int2" => random.pick(&INTEGERS).to_string(),
        "numeric" => random.pick(&NUMERICS).to_string(),
        "bool" => random.pick(&["true", "false"]).to_string(),
        "uuid" => random.pick(&UUIDS).to_string(),
        "timestamptz" | "date" => random.pick(&TIMES).to_string(),
        "interval" => random.pick(&INTERVALS).to_string(),
        _ => return "NULL".to_owned(),
    };
    if random.percent(10) {
        return format!("NULL::pg_catalog.{type_name}");
    }
    format!("'{}'::pg_catalog.{type_name}", value.replace('\'', "''"))
}

const GOOD: [(&str, &str); 5] = [
    ("model", "openai/gpt-4o-mini"),
    ("messages", r#"[{"role":"user","content":"x"}]"#),
    ("prompt", "x"),
    ("schema", r#"{"type":"object"}"#),
    ("requests", r#"[{"model":"openai/gpt-4o-mini","messages":[{"role":"user","content":"x"}]}]"#),
];

const INTEGERS: [&str; 7] = ["0", "-1", "1", "2", "100", "2147483647", "-2147483648"];
const NUMERICS: [&str; 8] =
    ["0", "-1", "10.5", "NaN", "Infinity", "1e-1000", "1e1000", "99999999999.999999"];
const UUIDS: [&str; 3] = [
    "00000000-0000-0000-0000-000000000000",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "01890a5d-ac96-774b-bcce-b302099a8057",
];
const TIMES: [&str; 6] = ["infinity", "-infinity", "epoch", "now", "4713-01-01 BC", "294276-12-31"];
const INTERVALS: [&str; 5] = ["0", "-1 day", "1 microsecond", "100000000 years", "00:00:00.2"];

const WORDS: [&str; 22] = [
    "",
    " ",
    "default",
    "caller",
    "admin",
    "postgres",
    "PUBLIC",
    "inference",
    "management",
    "keep",
    "raise",
    "USD",
    "SEK",
    "openai/gpt-4o-mini",
    "../../../etc/passwd",
    "/dev/zero",
    "'; DROP TABLE hiems.ai_usage_logs; --",
    "%s%n%x",
    "\u{1f600}\u{202e}",
    "\\u0000",
    "PATH",
    "sk-or-v1-0123456789abcdef",
];

fn text(random: &mut Random) -> String {
    match random.below(10) {
        0 => "x".repeat(1 << 20),
        1 => "\u{e9}\n\"\\".repeat(5_000),
        2 => (0..40)
            .map(|_| char::from_u32(1 + random.below(0xd000) as u32).unwrap_or('x'))
            .collect(),
        _ => (*random.pick(&WORDS)).to_owned(),
    }
}

const DOCUMENTS: [&str; 24] = [
    "null",
    "true",
    "1e400",
    "\"\"",
    "[]",
    "{}",
    r#"[{"role":"user","content":"x"}]"#,
    r#"[{"role":"user","content":null},{"role":1,"content":[[]]}]"#,
    r#"{"role":"user"}"#,
    r#"{"metadata":{"fake_status":"429","fake_retry_after":"9999999999999"}}"#,
    r#"{"metadata":{"fake_status":"500"}}"#,
    r#"{"metadata":{"fake_fault":"cut_length"}}"#,
    r#"{"metadata":1,"temperature":1e999999,"max_tokens":-1}"#,
    r#"{"models":[[],{},null],"stream":"yes","user":{"a":1}}"#,
    r##"{"$defs":{"%61n":{},"an":{"$ref":"#/$defs/an"}},"$ref":"#/$defs/%61n"}"##,
    r##"{"$defs":{"a":{"allOf":[{"$ref":"#/$defs/b"},{"$ref":"#/$defs/b"}]},"b":{"allOf":[{"$ref":"#/$defs/a"},{"$ref":"#/$defs/a"}]}},"$ref":"#/$defs/a"}"##,
    r#"{"type":"number","multipleOf":1e-7000}"#,
    r#"{"type":"string","pattern":"^(a+)+$"}"#,
    r#"{"type":"object","properties":{"a":{"type":"string"}},"required":["b"],"additionalProperties":false}"#,
    r#"{"$schema":"http://json-schema.org/draft-07/schema#","$ref":"http://127.0.0.1/x"}"#,
    r#"[{"model":"m","messages":[{"role":"user","content":"x"}]},{"model":1},null,[]]"#,
    r#"[{"model":"openai/gpt-4o-mini","messages":[{"role":"user","content":"x"}],"priority":2147483647}]"#,
    r#"[{"model":"openai/gpt-4o-mini","messages":[{"role":"user","content":"x"}],"idempotency_key":""}]"#,
    r#"{"":{"":{"":[[[[[]]]]]}}}"#,
];

fn json(random: &mut Random) -> String {
    match random.below(12) {
        0 => nested(random, "[", "1", "]"),
        1 => nested(random, "{\"a\":", "1", "}"),
        2 => format!("{{\"metadata\":{}}}", nested(random, "{\"a\":", "1", "}")),
        3 => format!("[{}1]", "1,".repeat(20_000)),
        4 => format!(
            "{{{}\"z\":1}}",
            (0..5_000).map(|i| format!("\"k{i}\":{i},")).collect::<String>()
        ),
        5 => format!("[{{\"role\":\"user\",\"content\":\"{}\"}}]", "x".repeat(300_000)),
        _ => (*random.pick(&DOCUMENTS)).to_owned(),
    }
}

fn nested(random: &mut Random, open: &str, middle: &str, close: &str) -> String {
    let depth = *random.pick(&[10, 100, 1_000, 5_900, 14_400]);
    format!("{}{middle}{}", open.repeat(depth), close.repeat(depth))
}
