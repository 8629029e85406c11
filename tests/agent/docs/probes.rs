//! The fields of `probes.md` against what the probes report: on this host, and from recorded files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::pages::{Page, doc, name, root, rows};
use mote_test_support::site::said;
use mote_test_support::{mote, run};
use serde_json::Value;

/// The fields of a probe, each with the word on when it is left out.
type Fields = BTreeMap<String, String>;

fn chapters(page: &Page) -> BTreeMap<String, Fields> {
    let headings = page
        .text
        .lines()
        .filter_map(|line| line.strip_prefix("## "));
    headings
        .map(|heading| {
            let table = rows(page.chapter(&format!("## {heading}")));
            let fields = table.iter().map(|row| {
                assert!(row.len() >= 3, "{heading}: {row:?}");
                (
                    name(&row[0]).to_owned(),
                    row.get(3).cloned().unwrap_or_default(),
                )
            });
            (heading.to_owned(), fields.collect())
        })
        .collect()
}

/// What a probe reports: the fields of its data, or those of each item.
fn reported(arguments: &[String], plugin: &str) -> Option<Vec<BTreeSet<String>>> {
    let mut command = mote();
    command
        .args(["probe", plugin, "--wait", "0.1"])
        .args(arguments);
    let said = said(&mut command);
    let report: Value =
        serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"));
    let data = report["data"].as_object().expect("data");
    if data["status"] != 0 {
        assert_eq!(said.code, 1, "{said:?}");
        return None;
    }
    let keys = |object: &serde_json::Map<String, Value>| {
        let keys = object.keys().filter(|key| *key != "status");
        keys.cloned().collect::<BTreeSet<_>>()
    };
    match data.get("data").and_then(Value::as_object) {
        None => Some(vec![keys(data)]),
        Some(items) => {
            let beside: BTreeSet<_> = keys(data).into_iter().filter(|key| key != "data").collect();
            assert!(
                beside.is_subset(&BTreeSet::from(["omitted".to_owned()])),
                "{beside:?}"
            );
            Some(
                items
                    .values()
                    .map(|item| keys(item.as_object().expect("an item")))
                    .collect(),
            )
        }
    }
}

fn recorded() -> Vec<String> {
    let fixtures: PathBuf = root().join("tests/fixtures");
    let of = |option: &str, folder: &str| {
        [
            option.to_owned(),
            fixtures.join(folder).display().to_string(),
        ]
    };
    [
        of("--procfs", "proc"),
        of("--sysfs", "sys"),
        of("--rootfs", "root"),
    ]
    .concat()
}

#[test]
fn the_probes_are_those_of_the_list() {
    let page = doc("probes");
    let list = run(mote().args(["probe", "--list"])).expect("the list");
    let mut told = chapters(&page);
    for line in list.lines() {
        let mut names = line.split_whitespace();
        let first = names.next().expect("a name");
        assert!(told.remove(first).is_some(), "{first} is not in the docs");
        let chapter = page.chapter(&format!("## {first}"));
        for other in names {
            assert!(
                chapter.contains(&format!("`{other}`")),
                "{first} is also {other}"
            );
        }
    }
    assert_eq!(told, BTreeMap::new(), "there is no such probe");
}

#[test]
fn the_fields_are_those_that_the_probes_report() {
    let page = doc("probes");
    let mut sampled = BTreeSet::new();
    for (plugin, fields) in chapters(&page) {
        for arguments in [Vec::new(), recorded()] {
            for item in reported(&arguments, &plugin).into_iter().flatten() {
                sampled.insert(plugin.clone());
                for key in &item {
                    assert!(
                        fields.contains_key(key),
                        "{plugin}: {key} is not in the docs"
                    );
                }
                for (field, left_out) in &fields {
                    let is_there = item.contains(field) || !left_out.is_empty();
                    assert!(is_there, "{plugin}: {field} is missing: {item:?}");
                }
            }
        }
    }
    // Of each probe something was seen.
    let all: BTreeSet<_> = chapters(&page).into_keys().collect();
    assert_eq!(sampled, all);
}
