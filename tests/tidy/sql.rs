//! What SQL keeps to, in `sql/` and in the code.

use super::sources::{Finding, Source};

/// The one module that writes each table.
const OWNERS: [(&str, &str); 14] = [
    ("hiems.ai_usage_logs", "src/ledger.rs"),
    ("hiems_private.access", "src/access.rs"),
    ("hiems_private.principals", "src/principals.rs"),
    ("hiems_private.principal_roles", "src/principals.rs"),
    ("hiems_private.api_keys", "src/keys.rs"),
    ("hiems_private.calls", "src/worker/journal.rs"),
    ("hiems_private.queue", "src/queue.rs"),
    ("hiems_private.requests", "src/queue.rs"),
    ("hiems_private.exchange_rates", "src/rates.rs"),
    ("hiems_private.answers", "src/contents.rs"),
    ("hiems_private.content_logs", "src/contents.rs"),
    ("hiems_private.idempotency_keys", "src/idempotency.rs"),
    ("hiems_private.installation", "src/keys.rs"),
    ("hiems_private.broadcast", "src/supabase/policies.rs"),
];

/// What somebody else may do as well, and why: the sweep forgets a call, or marks it as booked, in the
/// statement that books it; a module's parts are the module.
const ALSO: [(&str, &str, &str); 5] = [
    ("insert into", "hiems.ai_usage_logs", "src/ledger/book.rs"),
    ("delete from", "hiems.ai_usage_logs", "src/ledger/retention.rs"),
    ("update", "hiems_private.queue", "src/queue/pick.rs"),
    ("delete from", "hiems_private.calls", "src/ledger.rs"),
    ("update", "hiems_private.calls", "src/ledger.rs"),
];

const WRITES: [&str; 7] =
    ["insert into", "update", "delete from", "merge into", "truncate", "lock table", "copy"];

/// Every place where a table of ours follows one of these verbs: the verb, the table, the byte.
fn statements<'v>(text: &str, verbs: &[&'v str]) -> Vec<(&'v str, String, usize)> {
    // Each word, without the quote or bracket before it, and where it was.
    let lower = text.to_ascii_lowercase();
    let tokens: Vec<(usize, &str)> = lower
        .split_whitespace()
        .map(|word| {
            let at = word.as_ptr() as usize - lower.as_ptr() as usize;
            (at, word.trim_start_matches(['"', '(', '\'']))
        })
        .collect();
    let mut found = Vec::new();
    for (start, (byte, _)) in tokens.iter().enumerate() {
        for verb in verbs {
            let length = verb.split(' ').count();
            let is_verb = verb
                .split(' ')
                .enumerate()
                .all(|(i, word)| tokens.get(start + i).is_some_and(|(_, token)| *token == word));
            let fillers = ["only", "table", "if", "not", "exists"];
            let name = tokens[start..]
                .iter()
                .skip(length)
                .map(|(_, token)| *token)
                .find(|token| !fillers.contains(token));
            let Some(name) = name.filter(|_| is_verb) else { continue };
            let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
            let name: String = name.chars().take_while(|c| is_part(*c)).collect();
            if name.starts_with("hiems.") || name.starts_with("hiems_private.") {
                found.push((*verb, name, *byte));
            }
        }
    }
    found
}

/// Each table has one owner, which alone writes it; the install script writes no rows.
pub fn owners(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.is_in("src") || source.is_in("sql")) {
        for (verb, table, byte) in statements(&source.text, &WRITES) {
            let owner = OWNERS.iter().find(|(of, _)| *of == table).map(|(_, owner)| *owner);
            let also = ALSO.contains(&(verb, table.as_str(), source.path.as_str()));
            if owner != Some(source.path.as_str()) && !also {
                let owner = owner.unwrap_or("nobody");
                let what = format!("{verb} {table}: its owner is {owner}");
                findings.push(source.finding(source.line_of(byte), what));
            }
        }
        let made = ["create table", "create unlogged table"];
        for (_, table, byte) in statements(&source.text, &made) {
            if !OWNERS.iter().any(|(of, _)| *of == table) {
                let what = format!("{table} has no owner: tests/tidy/sql.rs has the list");
                findings.push(source.finding(source.line_of(byte), what));
            }
        }
    }
    findings
}

/// `src/schema.rs` has every file of `sql/`, each of which requires the one before. Upgrade scripts are
/// found by PostgreSQL itself.
pub fn chained(sources: &[Source]) -> Vec<Finding> {
    let schema = sources.iter().find(|source| source.path == "src/schema.rs").expect("schema.rs");
    let mut findings = Vec::new();
    let mut before: Option<&str> = None;
    for (at, _) in schema.text.match_indices("extension_sql_file!(") {
        let entry = schema.text[at..].split_once(");").map_or("", |(entry, _)| entry);
        let Some((_, rest)) = entry.split_once("../sql/") else { continue };
        let name = rest.split_once(".sql").map_or("", |(name, _)| name);
        let is_chained = entry.contains("bootstrap")
            || entry.contains("finalize")
            || before.is_some_and(|before| entry.contains(&format!("\"{before}\"")));
        if !is_chained || !entry.contains(&format!("name = \"{name}\"")) {
            let what = format!("{name} does not require the file before");
            findings.push(schema.finding(schema.line_of(at), what));
        }
        before = Some(name);
    }
    for source in sources.iter().filter(|source| source.is_in("sql")) {
        let is_upgrade = source.path.starts_with("sql/hiems--");
        if !is_upgrade && !schema.text.contains(&format!("\"../{}\"", source.path)) {
            findings.push(source.finding(1, "src/schema.rs does not have this file"));
        }
    }
    findings
}
