//! The folders and words of `architecture.md`, and the tests that `limits.md` names.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::pages::{doc, root, rows};

fn entries(folder: &Path) -> BTreeSet<String> {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect()
}

/// The first words of the indented lines of a chapter: files and folders.
fn listed(chapter: &str) -> BTreeSet<String> {
    let lines = chapter.lines().filter_map(|line| line.strip_prefix("    "));
    let lines = lines.filter(|line| !line.starts_with(' '));
    let names = lines.filter_map(|line| line.split_whitespace().next());
    names
        .map(|name| name.trim_end_matches('/').to_owned())
        .collect()
}

#[test]
fn the_folders_are_those_of_the_picture() {
    let page = doc("architecture");
    for name in listed(page.chapter("## Folders")) {
        assert!(root().join(&name).is_dir(), "{name}");
    }
    let mut there = entries(&root().join("linux-agent/src"));
    there.remove("lib.rs");
    assert_eq!(listed(page.chapter("## The agent")), there);
}

#[test]
fn the_glossary_is_in_order_and_explains_each_word_once() {
    let page = doc("architecture");
    let table = rows(page.chapter("## Glossary"));
    let words: Vec<_> = table.iter().map(|row| row[0].to_lowercase()).collect();
    let mut sorted = words.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!(words, sorted);
    assert!(words.len() > 30);
}

/// The last column of the limits: a test below `tests/`, or a module with tests of its own.
#[test]
fn the_tests_of_the_limits_are_there() {
    let page = doc("limits");
    for row in rows(&page.text).iter().filter(|row| row.len() == 4) {
        for name in row[3].split(", ").filter(|name| !name.is_empty()) {
            assert!(is_test(name) || is_module(name), "no test {name}");
        }
    }
}

fn is_test(name: &str) -> bool {
    let path = root().join("tests").join(name.replace("::", "/"));
    path.is_dir() || path.with_extension("rs").is_file()
}

fn is_module(name: &str) -> bool {
    let (folder, name) = match name.strip_prefix("core::") {
        Some(name) => ("core/src", name),
        None => ("linux-agent/src", name),
    };
    let path = root().join(folder).join(name.replace("::", "/"));
    let has_tests = |file: &Path| {
        let text = fs::read_to_string(file).unwrap_or_default();
        text.contains("#[cfg(test)]")
    };
    let files = fs::read_dir(&path).into_iter().flatten().flatten();
    let inside = files.map(|entry| entry.path());
    inside
        .chain([path.with_extension("rs")])
        .any(|file| has_tests(&file))
}
