//! Reads the pages: their blocks of code, tables, headings and links.

use std::fs;
use std::path::{Path, PathBuf};

/// The root of the repository.
pub fn root() -> PathBuf {
    let agent = Path::new(env!("CARGO_MANIFEST_DIR"));
    agent.parent().expect("the root").to_owned()
}

/// One file of the docs.
pub struct Page {
    /// From the root of the repository.
    pub path: String,
    pub text: String,
}

/// Every page, those in `linux-agent/docs` last.
pub fn pages() -> Vec<Page> {
    let top = [
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "SECURITY.md",
        "firmware/README.md",
        "firmware/boards/pico/README.md",
    ];
    let folder = fs::read_dir(root().join("linux-agent/docs")).expect("the docs");
    let names = folder.map(|entry| entry.expect("an entry").file_name());
    let mut docs: Vec<String> = names
        .filter(|name| name.to_string_lossy().ends_with(".md"))
        .map(|name| format!("linux-agent/docs/{}", name.to_string_lossy()))
        .collect();
    docs.sort();
    let paths = top.map(str::to_owned).into_iter().chain(docs);
    paths.map(page).collect()
}

/// The page of `linux-agent/docs` with this name.
pub fn doc(name: &str) -> Page {
    page(format!("linux-agent/docs/{name}.md"))
}

fn page(path: String) -> Page {
    let text = fs::read_to_string(root().join(&path));
    let text = text.unwrap_or_else(|error| panic!("{path}: {error}"));
    Page { path, text }
}

impl Page {
    /// What stands above the first heading of the second level.
    pub fn beginning(&self) -> &str {
        self.text.split("\n## ").next().unwrap_or_default()
    }

    /// What stands below a heading, up to the next one of its level or above.
    pub fn chapter(&self, heading: &str) -> &str {
        let level = heading.len() - heading.trim_start_matches('#').len();
        let start = self.text.find(&format!("\n{heading}\n"));
        let start = start.unwrap_or_else(|| panic!("{}: no {heading:?}", self.path));
        let rest = self.text.get(start + 1..).expect("the rest");
        let mut at = 0;
        for (index, line) in rest.split_inclusive('\n').enumerate() {
            let depth = line.len() - line.trim_start_matches('#').len();
            if index > 0
                && (1..=level).contains(&depth)
                && line.trim_start_matches('#').starts_with(' ')
            {
                break;
            }
            at += line.len();
        }
        rest.get(..at).expect("the chapter")
    }
}

/// The rows of all tables in a text, without headings. A cell has no white space around it.
pub fn rows(text: &str) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut is_body = false;
    for line in text.lines() {
        if !line.starts_with('|') {
            is_body = false;
        } else if line.starts_with("|---") {
            is_body = true;
        } else if is_body {
            let cells = line
                .trim()
                .trim_start_matches('|')
                .trim_end_matches('|')
                .split('|');
            rows.push(cells.map(|cell| cell.trim().to_owned()).collect());
        }
    }
    rows
}

/// The words between backticks.
pub fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The one word between backticks that a cell begins with.
pub fn name(cell: &str) -> &str {
    quoted(cell)
        .next()
        .unwrap_or_else(|| panic!("no name in {cell:?}"))
}

/// What makes an anchor of a heading, as forges do it.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept
        .chars()
        .filter(|it| it.is_alphanumeric() || " -_".contains(*it));
    kept.map(|it| if it == ' ' { '-' } else { it }).collect()
}

#[test]
fn links_lead_somewhere() {
    let mut links = 0;
    for page in pages() {
        let folder = root().join(&page.path);
        let folder = folder.parent().expect("a folder");
        // A code block has no links.
        let prose: Vec<_> = page.text.split("\n```").step_by(2).collect();
        for target in prose.iter().flat_map(|text| text.split("](").skip(1)) {
            let (target, _) = target.split_once(')').expect("the end of a link");
            if target.starts_with("http") {
                continue;
            }
            links += 1;
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let path = match file {
                "" => root().join(&page.path),
                file => folder.join(file),
            };
            assert!(path.exists(), "{}: {target}", page.path);
            if heading.is_empty() {
                continue;
            }
            let text = fs::read_to_string(&path).expect("a page");
            let mut headings = text.lines().filter(|line| line.starts_with('#'));
            let found = headings.any(|line| anchor(line.trim_start_matches('#').trim()) == heading);
            assert!(found, "{}: {target}", page.path);
        }
    }
    assert!(links > 50, "{links}");
}

#[test]
fn the_index_names_every_page() {
    let index = doc("README");
    for page in pages() {
        let name = page.path.strip_prefix("linux-agent/docs/");
        if let Some(name) = name.filter(|name| *name != "README.md") {
            assert!(index.text.contains(&format!("({name})")), "{name}");
        }
    }
}
