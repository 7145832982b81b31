//! The SQL of README.md, and of the pages that it leads to, works as it stands there, from top to bottom.

use hiems_tests::{Database, ResultExt};

/// Roles that README.md makes; roles belong to the server, not to the database.
const ROLES: [&str; 2] = ["hiems_readme_app", "hiems_readme_controller"];

pub struct Block {
    line: usize,
    /// The SQLSTATE that its last statement must raise.
    error: Option<String>,
    pub sql: String,
}

#[test]
fn the_sql_of_the_readme_runs() {
    let text = include_str!("../../README.md");
    let more = blocks(include_str!("../../docs/calls.md"));
    let blocks = blocks(text);
    assert!(blocks.len() >= 10, "only {} blocks of SQL", blocks.len());
    assert!(blocks.iter().any(|block| block.error.is_some()));
    let count: usize = blocks.iter().map(|block| statements(&block.sql).len()).sum();
    assert!(count >= 25, "only {count} statements");
    let database = Database::without_key();
    // An answer that matches the schema of the one that asks for JSON; the others take any.
    database.fake.wish(&[("fake_answer", r#"{"total": 1249.50}"#)]);
    let mut client = database.admin();
    // The first two statements are the taste on the first screen: they need what comes further down.
    let (taste, rest) = blocks.split_first().expect("blocks");
    let pages = [
        include_str!("../../docs/keys.md"),
        include_str!("../../docs/streaming.md"),
        include_str!("../../docs/queue.md"),
        include_str!("../../docs/calls.md"),
    ];
    let pages: Vec<Block> = pages.into_iter().flat_map(self::blocks).collect();
    assert!(pages.len() >= 4, "only {} blocks of SQL beside the first page", pages.len());
    for block in rest.iter().chain(&pages).chain([taste]) {
        let statements = statements(&block.sql);
        assert!(!statements.is_empty(), "line {}: no statement", block.line);
        for (i, statement) in statements.iter().enumerate() {
            let result = client.simple_query(statement).map(|_| ());
            match &block.error {
                Some(sqlstate) if i + 1 == statements.len() => {
                    assert_eq!(&result.sqlstate(), sqlstate, "line {}: {statement}", block.line);
                }
                _ => result.unwrap_or_else(|e| panic!("line {}: {statement}: {e:?}", block.line)),
            }
        }
    }
    for block in &more {
        for statement in statements(&block.sql) {
            let result = client.simple_query(statement).map(|_| ());
            match &block.error {
                Some(sqlstate) => assert_eq!(&result.sqlstate(), sqlstate, "{statement}"),
                None => result.unwrap_or_else(|e| panic!("docs/calls.md: {statement}: {e:?}")),
            }
        }
    }
    database.wait_until_booked();
    assert!(database.count("hiems.ai_usage_logs WHERE outcome = 'rolled_back'") == 1);
    for role in ROLES {
        client.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).expect("a role");
    }
}

/// The blocks that begin with ```sql, or ```sql error=SQLSTATE.
pub fn blocks(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut inside = false;
    for (i, line) in text.lines().enumerate() {
        match line.strip_prefix("```") {
            Some(_) if inside => inside = false,
            Some(info) if info == "sql" || info.starts_with("sql ") => {
                let error = info.split_once("error=").map(|(_, sqlstate)| sqlstate.to_owned());
                blocks.push(Block { line: i + 1, error, sql: String::new() });
                inside = true;
            }
            None if inside => {
                let block = blocks.last_mut().expect("a block");
                block.sql.push_str(line);
                block.sql.push('\n');
            }
            _ => {}
        }
    }
    blocks
}

/// Statements end with a semicolon at the end of a line that is not in a body between `$$`.
pub fn statements(sql: &str) -> Vec<&str> {
    let mut statements = Vec::new();
    let mut begin = 0;
    for (end, _) in sql.match_indices(";\n") {
        let statement = &sql[begin..=end];
        if statement.matches("$$").count().is_multiple_of(2) {
            statements.push(statement.trim());
            begin = end + 1;
        }
    }
    statements.push(sql[begin..].trim());
    statements.retain(|statement| !statement.is_empty());
    statements
}
