//! The pages about boards: what they tell to write into settings is taken, and their code speaks of what is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::commands::blocks;
use super::pages::{Page, pages, root};
use mote_test_support::mote;
use mote_test_support::site::said;

/// The pages about firmware, and the agent's about boards.
fn pages_of_boards() -> Vec<Page> {
    let mut pages = pages();
    pages.retain(|it| it.path.starts_with("firmware/") || it.path.ends_with("/boards.md"));
    assert_eq!(pages.len(), 3);
    pages
}

/// Each piece of settings, below those that are shipped.
#[test]
fn the_settings_of_boards_are_taken() {
    let (mut agents, mut collectors) = (0, 0);
    let pages = pages_of_boards();
    for block in pages.iter().flat_map(blocks).filter(|it| it.kind == "toml") {
        let folder = TempDir::new().expect("a folder");
        let (shipped, command) = if block.text.contains("[[board]]") {
            agents += 1;
            ("agent.toml", vec!["stop"])
        } else {
            collectors += 1;
            let name = block.text.split(['[', ']']).nth(1).expect("a table");
            let host = name.strip_prefix("hosts.").expect("a host");
            ("server.toml", vec!["invite", host])
        };
        let shipped_text = fs::read_to_string(root().join("conf").join(shipped));
        let shipped_text = shipped_text.expect("a text");
        // Beside the folder there is one for the database.
        let conf = folder.path().join("conf");
        fs::create_dir(&conf).expect("a folder");
        let file = conf.join(shipped);
        let misspelt = block.text.replacen(" = ", "x = ", 1);
        for (text, code) in [(&block.text, 0), (&misspelt, 78)] {
            fs::write(&file, format!("{shipped_text}\n{text}")).expect("a file");
            let said = said(mote().arg("--config").arg(&file).args(&command));
            assert_eq!(said.code, code, "{}:{}: {said:?}", block.page, block.line);
        }
    }
    assert!(agents >= 3 && collectors >= 1, "{agents}, {collectors}");
}

/// What a reader has of their own.
const OF_THE_READER: [&str; 1] = ["there_is_work"];

/// Code is shown in pieces, which do not compile. Each word in it stands in a firmware that does.
#[test]
fn the_code_of_the_pages_speaks_of_what_is_there() {
    let mut known = BTreeSet::new();
    take_words(&root().join("firmware"), &mut known);
    let (mut pieces, mut odd) = (0, Vec::new());
    let pages = pages_of_boards();
    let code = pages.iter().flat_map(blocks);
    for block in code.filter(|it| ["rust", "c"].contains(&it.kind)) {
        pieces += 1;
        let lines = block.text.lines();
        let lines = lines.map(|it| it.split("//").next().unwrap_or_default());
        let text: Vec<&str> = lines.collect();
        let unknown = words(&text.join("\n"))
            .filter(|it| !known.contains(*it) && !OF_THE_READER.contains(it))
            .map(|it| format!("{}:{}: {it}", block.page, block.line))
            .collect::<Vec<_>>();
        odd.extend(unknown);
    }
    assert_eq!(odd, [""; 0]);
    assert_eq!(pieces, 5);
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|it: char| !it.is_alphanumeric() && it != '_')
        .filter(|it| !it.is_empty())
}

fn take_words(folder: &Path, known: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            if entry.file_name() != "target" {
                take_words(&path, known);
            }
        } else if path
            .extension()
            .is_some_and(|it| it == "rs" || it == "h" || it == "c")
        {
            let text = fs::read_to_string(&path).expect("a text");
            known.extend(words(&text).map(str::to_owned));
        }
    }
}

/// A block says what it is, so that it is run, or counted as not run.
#[test]
fn no_block_of_the_pages_is_without_a_kind() {
    let mut pages = pages_of_boards();
    pages.retain(|it| it.path.starts_with("firmware/"));
    for page in pages {
        let mut fenced = false;
        let mut before = "";
        for (index, line) in page.text.lines().enumerate() {
            if let Some(kind) = line.strip_prefix("```") {
                let place = format!("{}:{}", page.path, index + 1);
                assert!(fenced || !kind.is_empty(), "{place}: what is it?");
                fenced = !fenced;
            }
            let is_indented = !fenced && before.is_empty() && line.starts_with("    ");
            assert!(!is_indented, "{}:{}: {line}", page.path, index + 1);
            before = line;
        }
    }
}
