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
    let folders = ["", "docs", "src/link", "src/keeper", "src/roster", "src/sync"];
    let files = folders.iter().flat_map(|folder| fs::read_dir(root().join(folder)).unwrap());
    let files = files.map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

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

/// All test functions of the workspace.
fn all_sources() -> String {
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

/// Everything that the library's sources define.
struct Face {
    text: String,
}

impl Face {
    fn read() -> Face {
        let mut text = String::new();
        walk(&root().join("src"), &mut text);
        Face { text }
    }

    /// The bodies of what begins with a line that `opens` accepts. Such a line and the end are not indented.
    fn blocks<'a>(&'a self, opens: impl Fn(&str) -> bool + 'a) -> impl Iterator<Item = &'a str> {
        let starts = self.text.match_indices('\n').map(|(at, _)| &self.text[at + 1..]);
        let blocks = starts.filter(move |rest| opens(rest.lines().next().unwrap_or_default()));
        blocks.map(|rest| rest.split("\n}").next().unwrap_or(rest))
    }

    fn has_function(&self, name: &str) -> bool {
        self.text.lines().any(|line| is_function(line, name))
    }

    fn has_type(&self, name: &str) -> bool {
        let heads = ["struct", "enum", "trait", "type"].map(|kind| format!("pub {kind} {name}"));
        let is_head = |line: &str| {
            let rest = heads.iter().find_map(|head| line.trim_start().strip_prefix(head.as_str()));
            rest.is_some_and(|rest| !rest.starts_with(is_of_a_name))
        };
        self.text.lines().any(is_head)
    }

    /// A function or variant of a type. What macros write may belong to any type.
    fn has_member(&self, owner: &str, name: &str) -> bool {
        let is_variant = |line: &str| {
            let rest = line.trim_start().strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with([',', '(', ' ']))
        };
        let is_impl = |line: &str| {
            let of = line.starts_with("impl").then(|| line.split([' ', '<', '>', '{']));
            of.is_some_and(|mut words| words.any(|word| word == owner)) || line.starts_with("macro_rules!")
        };
        let is_enum = |line: &str| line.starts_with(&format!("pub enum {owner} {{"));
        self.blocks(is_impl).flat_map(str::lines).any(|line| is_function(line, name))
            || self.blocks(is_enum).flat_map(str::lines).any(is_variant)
    }

    fn has_module(&self, name: &str) -> bool {
        self.text.lines().any(|line| {
            line == format!("pub mod {name};")
                || line == format!("pub mod {name} {{")
                || line == format!("pub use {name};")
        })
    }

    /// What an item of the table names that is not there.
    fn missing<'a>(&self, item: &'a str) -> Option<&'a str> {
        if is_name(item) {
            return (!self.has_function(item) && item != "tracing").then_some(item);
        }
        let mut before = "";
        for (at, name) in names(item) {
            let separator = &item[..at];
            let called = item[at + name.len()..].starts_with('(');
            let is_type = |name: &str| name.starts_with(char::is_uppercase);
            let is_there = if separator.ends_with("::") && is_type(before) {
                self.has_member(before, name)
            } else if separator.ends_with("::ipc::") || separator.ends_with("ipc_channel::") {
                true
            } else if item[at + name.len()..].starts_with("::") && !is_type(name) {
                name == "watertight" || self.has_module(name)
            } else if is_type(name) {
                self.has_type(name)
            } else if called || separator.ends_with("::") || separator.ends_with('.') {
                self.has_function(name)
            } else {
                true
            };
            if !is_there {
                return Some(name);
            }
            before = name;
        }
        None
    }
}

fn is_of_a_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn is_name(text: &str) -> bool {
    text.chars().all(is_of_a_name)
}

/// The names in a piece of code, and where they begin.
fn names(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let words =
        code.split(|c| !is_of_a_name(c)).filter(|word| word.starts_with(|c: char| !c.is_ascii_digit()));
    words.map(|word| (word.as_ptr() as usize - code.as_ptr() as usize, word))
}

/// Whether a line begins a public function of this name.
fn is_function(line: &str, name: &str) -> bool {
    let line = line.trim_start();
    let rest = line.strip_prefix("pub ").and_then(|line| line.split_once("fn ")?.1.strip_prefix(name));
    rest.is_some_and(|rest| rest.starts_with(['(', '<']))
}

#[test]
fn the_table_of_python_names_real_items() {
    let face = Face::read();
    let text = read("docs/python.md");
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    let ours: Vec<&str> = rows.flat_map(|row| quoted(row.split('|').nth(2).unwrap())).collect();
    assert!(ours.len() > 40, "the table has rows");
    for item in ours {
        assert_eq!(face.missing(item), None, "the table of Python names `{item}`");
    }
}

#[test]
fn a_name_that_is_not_there_is_noticed() {
    let face = Face::read();
    let wrong = [
        ("Pool::gnu(4)", "gnu"),
        ("Pool::max_tasks_per_worker(4)", "max_tasks_per_worker"),
        ("Poo::new(4)", "Poo"),
        ("pool.mapp(f, xs)", "mapp"),
        ("Pool::builder().workers(4).initialiser(init)", "initialiser"),
        ("LockError::Circle", "Circle"),
        ("sync::Lok::new()", "Lok"),
        ("worker::states", "states"),
        ("synch::Lock::new()", "synch"),
        ("notify_nobody", "notify_nobody"),
    ];
    for (item, name) in wrong {
        assert_eq!(face.missing(item), Some(name), "{item}");
    }
}

#[test]
fn the_readme_and_the_documentation_of_the_crate_have_one_table() {
    let (readme, table) = (read("README.md"), read("docs/python.md"));
    let section = readme.split("\n## From Python\n").nth(1).unwrap().split("\n## ").next().unwrap();
    assert_eq!(section, table.strip_prefix("# From Python\n").unwrap());
    assert!(read("src/lib.rs").contains("\n#![doc = include_str!(\"../docs/python.md\")]\n"));
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
