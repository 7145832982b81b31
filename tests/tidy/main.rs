//! The rules of the project that a machine can keep. Each names file and line of what breaks it, and each
//! is shown a bad snippet first: a rule that finds nothing in it is no rule.

mod documents;
mod rust;
mod sources;
mod sql;

use sources::{Finding, Source};

/// Fails where the repository breaks the rule, and where a bad snippet does not. The snippets are files
/// (path and text); they lie over those of the repository.
#[track_caller]
fn keeps(rule: fn(&[Source]) -> Vec<Finding>, bad: &[(&str, &str)]) {
    let repository = sources::repository();
    for (path, text) in bad {
        let mut with_bad: Vec<Source> =
            repository.iter().filter(|source| source.path != *path).cloned().collect();
        with_bad.push(Source { path: (*path).to_owned(), text: (*text).to_owned() });
        let found = rule(&with_bad);
        assert!(
            found.iter().any(|finding| finding.path == *path),
            "the rule does not see what is wrong with {path}: {text}: {found:?}"
        );
    }
    let found: Vec<String> = rule(&repository).iter().map(ToString::to_string).collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn what_knows_no_postgresql_imports_none_of_it() {
    keeps(
        rust::pure,
        &[
            ("src/openrouter/usage.rs", "use pgrx::prelude::*;"),
            ("src/vault/deep/new.rs", "let x = crate::pg::identity::current_role();"),
        ],
    );
}

#[test]
fn unsafe_is_in_pg_only() {
    keeps(
        rust::unsafe_in_pg,
        &[
            ("src/keys.rs", "fn f() {\n    unsafe { g() }\n}"),
            ("fake-openrouter/src/words.rs", "unsafe fn f() {}"),
            ("validator/src/schema.rs", "unsafe { g() }"),
        ],
    );
}

#[test]
fn only_error_rs_raises() {
    keeps(
        rust::raises,
        &[
            ("src/keys.rs", "let x = y.unwrap();"),
            ("src/keys.rs", "let x = y\n    .expect(\"why\");"),
            ("src/api/keys.rs", "pgrx::error!(\"no\");"),
            ("src/pg/wait.rs", "ereport!(ERROR, code, \"no\");"),
            ("src/worker/call.rs", "panic!(\"no\")"),
            ("src/worker/call.rs", "todo!()"),
            ("src/worker/call.rs", "unreachable!()"),
            ("src/worker/call.rs", "assert!(x);"),
            ("src/openrouter/usage.rs", "dbg!(x);"),
            ("src/openrouter/usage.rs", "println!(\"{x}\");"),
            ("src/rates.rs", "report::raise(x);"),
        ],
    );
}

#[test]
fn every_file_of_rust_is_a_module_of_its_parent() {
    keeps(
        rust::declared,
        &[
            ("src/orphan.rs", ""),
            ("src/pg/orphan.rs", ""),
            ("tests/wire/orphan.rs", ""),
            ("tests/wire/access/orphan.rs", ""),
            ("fake-openrouter/src/routes/orphan.rs", ""),
            ("validator/src/orphan.rs", ""),
        ],
    );
}

#[test]
fn each_table_is_written_by_its_owner() {
    keeps(
        sql::owners,
        &[
            ("src/rates.rs", "const X: &str = \"DELETE FROM hiems_private.calls\";"),
            ("src/keys.rs", "\"\n    insert into\n        hiems.ai_usage_logs VALUES\""),
            ("src/contents.rs", "\"UPDATE ONLY hiems_private.calls SET state = 'sent'\""),
            ("src/worker/mod.rs", "\"LOCK TABLE hiems_private.access\""),
            ("src/keys.rs", "\"TRUNCATE hiems_private.exchange_rates\""),
            ("sql/90_new.sql", "INSERT INTO hiems_private.access VALUES ('role', 'x', 'admin');"),
            ("sql/90_new.sql", "CREATE TABLE hiems_private.of_nobody (x int);"),
            ("sql/90_new.sql", "CREATE UNLOGGED TABLE IF NOT EXISTS hiems.of_nobody (x int);"),
        ],
    );
}

#[test]
fn every_file_of_sql_is_chained() {
    keeps(
        sql::chained,
        &[
            ("sql/55_forgotten.sql", ""),
            (
                "src/schema.rs",
                "extension_sql_file!(\"../sql/50_rates.sql\", name = \"50_rates\", requires = [\"20_keys\"]);",
            ),
        ],
    );
}

#[test]
fn no_file_is_longer_than_400_lines() {
    let long = "x\n".repeat(401);
    keeps(
        documents::short,
        &[
            ("src/keys.rs", &long),
            ("sql/99_x.sql", &long),
            ("tests/wire/x.rs", &long),
            ("scripts/x", &long),
            ("fake-openrouter/src/x.rs", &long),
            ("README.md", &long),
            ("docs/x.md", &long),
        ],
    );
}

#[test]
fn every_setting_is_in_the_readme() {
    keeps(documents::settings, &[("src/settings.rs", "text(\n    c\"hiems.new_one\",\n);")]);
}

#[test]
fn the_changelog_has_a_heading_for_what_is_not_released() {
    keeps(documents::changelog, &[("CHANGELOG.md", "# Changelog\n\n## 0.1.0\n\n- x\n")]);
}

#[test]
fn nothing_speaks_of_one_machine() {
    keeps(
        documents::machines,
        &[
            ("README.md", "Look into /work/main for more."),
            ("src/keys.rs", "// as in /var/tmp/hiems-x"),
            ("scripts/setup", "pip install --index-url https://pypi.example/simple x"),
            (".ci/run", "export HOME=/home/somebody"),
        ],
    );
}
