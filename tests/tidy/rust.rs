//! What the code keeps to.

use super::sources::{Finding, Source, words};

/// The lines of code where one of these words stands.
fn lines_with(source: &Source, found: &[&str], what: &str) -> Vec<Finding> {
    source
        .code()
        .filter_map(|(line, code)| {
            let word = found.iter().find(|word| words(code, word).next().is_some())?;
            Some(source.finding(line, format!("{what}: {word}")))
        })
        .collect()
}

/// `src/openrouter/` and `src/vault/` know no PostgreSQL.
pub fn pure(sources: &[Source]) -> Vec<Finding> {
    sources
        .iter()
        .filter(|source| source.is_in("src/openrouter") || source.is_in("src/vault"))
        .flat_map(|source| {
            lines_with(source, &["pgrx", "pg_sys", "crate::pg"], "this part knows no PostgreSQL")
        })
        .collect()
}

/// `unsafe` is in `src/pg/` only, and in what sets hiems-validator's limits.
pub fn unsafe_in_pg(sources: &[Source]) -> Vec<Finding> {
    let folders = ["src", "fake-openrouter", "validator/src"];
    sources
        .iter()
        .filter(|source| folders.iter().any(|folder| source.is_in(folder)))
        .filter(|source| source.is_rust() && !source.is_in("src/pg"))
        .filter(|source| source.path != "validator/src/limits.rs")
        .flat_map(|source| lines_with(source, &["unsafe"], "only src/pg may have"))
        .collect()
}

const RAISING: [&str; 17] = [
    "error!(",
    "ereport!(",
    "panic!(",
    ".unwrap()",
    ".expect(",
    ".unwrap_err()",
    "todo!(",
    "unimplemented!(",
    "unreachable!(",
    "assert!(",
    "assert_eq!(",
    "assert_ne!(",
    "dbg!(",
    "println!(",
    "eprintln!(",
    "report::raise(",
    "process::exit(",
];

/// Errors are values up to `src/error.rs`; `src/pg/report.rs` is what it raises them with.
pub fn raises(sources: &[Source]) -> Vec<Finding> {
    let raisers = ["src/error.rs", "src/pg/report.rs"];
    sources
        .iter()
        .filter(|source| source.is_in("src") && source.is_rust())
        .filter(|source| !raisers.contains(&source.path.as_str()))
        .flat_map(|source| lines_with(source, &RAISING, "only src/error.rs raises"))
        .collect()
}

/// Files that Cargo names itself.
const ROOTS: [&str; 17] = [
    "src/lib.rs",
    "benches/batch.rs",
    "benches/limits.rs",
    "benches/queue.rs",
    "benches/recovery.rs",
    "benches/sync.rs",
    "fake-openrouter/src/lib.rs",
    "fake-openrouter/src/main.rs",
    "fake-openrouter/tests/http/main.rs",
    "tests/attack/main.rs",
    "tests/wire/main.rs",
    "tests/torture/main.rs",
    "tests/pure/main.rs",
    "tests/tidy/main.rs",
    "tests/support/mod.rs",
    "validator/src/main.rs",
    "validator/tests/limits.rs",
];

/// A file that no module declares is not compiled, and its tests are not run.
pub fn declared(sources: &[Source]) -> Vec<Finding> {
    let is_declared = |source: &Source| {
        let path = source.path.strip_suffix("/mod.rs").unwrap_or(&source.path);
        let path = path.strip_suffix(".rs").unwrap_or(path);
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let declaration = format!("mod {name};");
        let parents = [".rs", "/mod.rs", "/lib.rs", "/main.rs"].map(|end| format!("{folder}{end}"));
        sources
            .iter()
            .filter(|parent| parents.contains(&parent.path))
            .any(|parent| parent.code().any(|(_, code)| words(code, &declaration).next().is_some()))
    };
    sources
        .iter()
        .filter(|source| source.is_rust() && !ROOTS.contains(&source.path.as_str()))
        .filter(|source| !is_declared(source))
        .map(|source| source.finding(1, "no module declares this file"))
        .collect()
}
