//! What the documents say is there, is there.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What stands between back-quotes.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

fn documents() -> Vec<PathBuf> {
    let folders = ["", "docs", "src/link", "src/keeper"];
    let files = folders.iter().flat_map(|folder| fs::read_dir(root().join(folder)).unwrap());
    let files = files.map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

/// All test functions of the workspace.
fn all_sources() -> String {
    fn walk(folder: &Path, text: &mut String) {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            match entry.is_dir() {
                true => walk(&entry, text),
                false if entry.extension().is_some_and(|extension| extension == "rs") => {
                    text.push_str(&fs::read_to_string(&entry).unwrap());
                }
                false => {}
            }
        }
    }
    let mut text = String::new();
    for folder in ["src", "tests", "worker", "faults", "macros"] {
        walk(&root().join(folder), &mut text);
    }
    text
}

#[test]
fn every_path_in_a_document_exists() {
    for document in documents() {
        let folder = document.parent().unwrap();
        for word in quoted(&fs::read_to_string(&document).unwrap()) {
            let is_path =
                ["src/", "docs/", "tests/", "examples/", "worker/", "faults/", "macros/", "benches/", ".ci/"]
                    .iter()
                    .any(|start| word.starts_with(start));
            let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
            if is_path && plain {
                let exists = root().join(word).exists() || folder.join(word).exists();
                assert!(exists, "{} names {word}", document.display());
            }
        }
    }
}

#[test]
fn every_link_in_a_document_leads_somewhere() {
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.starts_with("http") && !target.starts_with('#')) {
            let path = target.split('#').next().unwrap_or_default();
            let exists = document.parent().unwrap().join(path).exists();
            assert!(exists, "{} links to {target}", document.display());
        }
    }
}

#[test]
fn every_test_that_gotchas_names_exists() {
    let sources = all_sources();
    let text = read("docs/gotchas.md");
    let lines = text.lines().filter(|line| line.starts_with("Tests:"));
    let names: Vec<&str> = lines.flat_map(quoted).filter(|word| !word.contains(['/', '.'])).collect();
    assert!(names.len() > 10, "gotchas.md names its tests");
    for name in names {
        assert!(sources.contains(&format!("fn {name}(")), "gotchas.md names the test {name}");
    }
}

#[test]
fn every_section_of_gotchas_names_a_test() {
    let text = read("docs/gotchas.md");
    for section in text.split("\n## ").skip(1) {
        let title = section.lines().next().unwrap();
        assert!(section.lines().any(|line| line.starts_with("Tests:")), "`{title}` names no test");
    }
}

#[test]
fn the_table_of_python_names_real_items() {
    let face = read("src/lib.rs")
        + &read("src/pool/mod.rs")
        + &read("src/pool/life.rs")
        + &read("src/pool/stats.rs")
        + &read("src/pool/handle.rs")
        + &read("src/process/mod.rs");
    let face =
        face + &read("src/pool/builder.rs") + &read("src/task/context.rs") + &read("src/task/state.rs");
    let text = read("README.md");
    let table = text.split("## From Python").nth(1).expect("the table").split("\n## ").next().unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let mut count = 0;
    for row in rows {
        let ours = row.split('|').nth(2).unwrap();
        for item in quoted(ours) {
            let name = item.split("::").last().unwrap().split(['(', '.', '<', '!']).next().unwrap();
            assert!(face.contains(name), "the README's table names {item}");
            count += 1;
        }
    }
    assert!(count > 20, "the README's table has rows");
}

#[test]
fn every_example_is_named_in_the_readme() {
    let text = read("README.md");
    for entry in fs::read_dir(root().join("examples")).unwrap().map(|entry| entry.unwrap().path()) {
        let name = entry.file_stem().unwrap().to_str().unwrap().to_owned();
        if name != "zbench" {
            assert!(text.contains(&name), "the README does not name the example {name}");
        }
    }
}

#[test]
fn every_verb_of_the_supervisor_is_in_its_manual() {
    let manual = read("docs/supervisor.md");
    let help = std::process::Command::new(env!("CARGO_BIN_EXE_watertight")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let verbs = help.split("Commands:").nth(1).unwrap().split("Options:").next().unwrap();
    let verbs: Vec<&str> = verbs.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(verbs.len() > 10, "{help}");
    for verb in verbs.into_iter().filter(|verb| !["map", "tasks", "help"].contains(verb)) {
        assert!(manual.contains(&format!("`watertight {verb}")), "the manual has no `{verb}`");
    }
}
