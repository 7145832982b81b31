//! What files and documents keep to.

use super::sources::{Finding, Source};

const LONGEST: usize = 400;

/// One idea, one file.
pub fn short(sources: &[Source]) -> Vec<Finding> {
    sources
        .iter()
        .filter(|source| source.text.lines().count() > LONGEST)
        .map(|source| source.finding(LONGEST + 1, format!("longer than {LONGEST} lines")))
        .collect()
}

/// README.md has every setting, but those of the tests of the tests.
pub fn settings(sources: &[Source]) -> Vec<Finding> {
    let find = |path| sources.iter().find(|source: &&Source| source.path == path).expect(path);
    let (settings, readme) = (find("src/settings.rs"), find("README.md"));
    settings
        .code()
        .filter_map(|(line, code)| {
            let (_, rest) = code.split_once("c\"hiems.")?;
            let (name, _) = rest.split_once('"')?;
            if name.starts_with("test_") {
                return None;
            }
            let name_in_code = format!("`hiems.{name}`");
            let mut table = readme.text.lines().filter(|line| line.starts_with("| `hiems."));
            let is_known = table.any(|line| line.contains(&name_in_code));
            (!is_known).then(|| settings.finding(line, format!("README.md lacks hiems.{name}")))
        })
        .collect()
}

/// What users can see stands in the changelog, under a heading for what is not released.
pub fn changelog(sources: &[Source]) -> Vec<Finding> {
    sources
        .iter()
        .filter(|source| source.path == "CHANGELOG.md")
        .filter(|source| !source.text.lines().any(|line| line == "## Unreleased"))
        .map(|source| source.finding(1, "there is no heading \"## Unreleased\""))
        .collect()
}

/// Paths and sources of packages that are one machine's.
const OF_A_MACHINE: [&str; 9] = [
    "/work/",
    "/var/tmp/hiems-",
    "/home/",
    "/root/",
    "index-url",
    "pypi.org",
    "pythonhosted.org",
    "index.crates.io",
    "HTTP_PROXY=",
];

/// The repository speaks of the product alone. `scripts/lib.sh` says where throw-away servers lie.
pub fn machines(sources: &[Source]) -> Vec<Finding> {
    sources
        .iter()
        .filter(|source| !source.is_in("tests/tidy"))
        .flat_map(|source| {
            (1..).zip(source.text.lines()).filter_map(|(line, text)| {
                let word = OF_A_MACHINE.iter().find(|word| text.contains(**word))?;
                let is_allowed = source.path == "scripts/lib.sh" && *word == "/var/tmp/hiems-";
                (!is_allowed)
                    .then(|| source.finding(line, format!("this is one machine's: {word}")))
            })
        })
        .collect()
}
