//! Runs the commands of the docs, in the order of a page, in a copy of the folders that they speak of.
//!
//! A block `sh` is run and must succeed. A block `sh stays` is a command that runs until it is interrupted: it stays to the
//! end of its page, and must then end well. Others are not run, each for a reason; what they name must still be there.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::pages::{Page, pages, root};
use mote_test_support::{DEADLINE, Running, free_port, mote, need, run, wait_for};

/// Blocks that are not run: the reason, and how many there are. A new one is to be thought about twice.
const NOT_RUN: [(&str, &str, usize); 5] = [
    ("root", "needs root, and changes the machine", 3),
    ("build", "compiles for minutes; ci does it", 11),
    ("board", "needs a board at a port", 6),
    (
        "history",
        "needs a night of reports; collector::commands runs their like",
        1,
    ),
    ("network", "needs a server elsewhere, or the internet", 4),
];

/// The address in `conf/` and in the docs.
const ADDRESS: &str = "127.0.0.1:9000";

/// What stands between two lines of three backticks.
pub struct Block<'p> {
    pub page: &'p str,
    /// The line that opens it, from 1.
    pub line: usize,
    /// What the opening line says, such as `sh root`.
    pub kind: &'p str,
    pub text: String,
}

pub fn blocks(page: &Page) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut open: Option<Block<'_>> = None;
    for (index, line) in page.text.lines().enumerate() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(kind), None) => {
                open = Some(Block {
                    page: &page.path,
                    line: index + 1,
                    kind,
                    text: String::new(),
                });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{}: a block has no end", page.path);
    blocks
}

/// A folder that looks like the repository to the commands of the docs.
struct Scene {
    folder: TempDir,
    address: String,
}

impl Scene {
    fn new() -> Scene {
        let scene = Scene {
            folder: TempDir::new().expect("a folder"),
            address: format!("127.0.0.1:{}", free_port()),
        };
        let program = mote().get_program().to_owned();
        for place in ["bin", "target/release"] {
            fs::create_dir_all(scene.path(place)).expect("a folder");
            symlink(&program, scene.path(place).join("mote")).expect("a link");
        }
        fs::create_dir(scene.path("conf")).expect("a folder");
        for entry in fs::read_dir(root().join("conf")).expect("conf").flatten() {
            let text = fs::read_to_string(entry.path()).expect("a text");
            let text = text.replace(ADDRESS, &scene.address);
            fs::write(scene.path("conf").join(entry.file_name()), text).expect("a file");
        }
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A shell that ends at the first command that fails.
    fn shell(&self, text: &str) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = mote();
        let mut shell = Command::new("bash");
        for (name, value) in command.env("NO_PROXY", "127.0.0.1").get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        shell
            .current_dir(self.folder.path())
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .args(["-euo", "pipefail", "-c"])
            .arg(text.replace(ADDRESS, &self.address));
        shell
    }

    /// Starts a command that stays; it has said something when this returns.
    fn start(&self, name: &str, text: &str) -> Running {
        // The shell would not pass the signal on.
        let text = format!("exec {}", text.trim());
        let mut running = Running::start(name, &mut self.shell(&text), self.folder.path());
        wait_for(&format!("the first words of {text}"), DEADLINE, || {
            running.assert_running();
            (!running.output().is_empty()).then_some(())
        });
        running
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let mut stop = self.shell("mote --config conf/agent.toml stop --timeout 1");
        let _ = stop.stdin(Stdio::null()).output();
    }
}

#[test]
fn the_commands_of_the_docs_run() {
    if need("docs", run(Command::new("curl").arg("--version"))).is_none() {
        return;
    }
    let mut count = 0;
    for page in pages() {
        let blocks: Vec<_> = blocks(&page)
            .into_iter()
            .filter(|block| ["sh", "sh stays"].contains(&block.kind))
            .collect();
        if blocks.is_empty() {
            continue;
        }
        let scene = Scene::new();
        let mut stay = Vec::new();
        // Agents need somebody to ask.
        if !blocks.iter().any(|block| block.kind == "sh stays") {
            stay.push(scene.start("serve", "mote serve"));
        }
        for block in &blocks {
            count += 1;
            if block.kind == "sh stays" {
                stay.push(scene.start("stays", &block.text));
                continue;
            }
            let mut shell = scene.shell(&block.text);
            let output = shell.stdin(Stdio::null()).output().expect("bash");
            assert!(
                output.status.success(),
                "{}:{}: {}\n{}{}",
                block.page,
                block.line,
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        for mut running in stay {
            running.assert_running();
            running.signal(Signal::SIGINT);
            let status = running.wait();
            assert!(status.success(), "{}: {status}", page.path);
        }
    }
    assert!(count >= 10, "{count} blocks");
}

#[test]
fn what_is_not_run_is_counted_and_names_what_is_there() {
    let mut counts = BTreeMap::new();
    let pages = pages();
    for block in pages.iter().flat_map(blocks) {
        let Some(kind) = block.kind.strip_prefix("sh ") else {
            let is_shell = ["", "bash", "shell", "console"].contains(&block.kind);
            assert!(
                !is_shell,
                "{}:{}: {:?} is not run; write `sh`",
                block.page, block.line, block.kind
            );
            continue;
        };
        if kind == "stays" {
            continue;
        }
        *counts.entry(kind.to_owned()).or_insert(0) += 1;
        check_names(&block);
    }
    let mut said = String::new();
    for (kind, reason, expected) in NOT_RUN {
        let count = counts.remove(kind).unwrap_or(0);
        let _ = writeln!(said, "not run: {count} blocks `{kind}`: {reason}");
        assert_eq!(count, expected, "blocks `sh {kind}`");
    }
    assert_eq!(counts, BTreeMap::new(), "reasons that nobody knows");
    // Past the capture of the test harness.
    let _ = write!(std::io::stderr(), "\n{said}");
}

/// The shell understands it, and files, options and test roots that it names are there.
fn check_names(block: &Block<'_>) {
    let place = format!("{}:{}", block.page, block.line);
    let mut shell = Command::new("bash");
    shell.args(["-n", "-c"]).arg(&block.text);
    run(&mut shell).unwrap_or_else(|error| panic!("{place}: {error}"));
    let manifests =
        ["linux-agent", "core", "firmware"].map(|folder| root().join(folder).join("Cargo.toml"));
    let manifests = manifests
        .map(|path| fs::read_to_string(path).expect("a manifest"))
        .concat();
    for line in block.text.lines() {
        let (line, _) = line.split_once(" #").unwrap_or((line, ""));
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["cd", to, ..] = words[..] {
            assert!(root().join(to).is_dir(), "{place}: {line}");
        }
        if let ["ci/build-firmware", package, target] = words[..] {
            let help = run(Command::new(root().join("ci/build-firmware")).arg("--help"));
            let image = format!("{package} {target}");
            assert!(help.expect("help").contains(&image), "{place}: no {image}");
        }
        for word in &words {
            let is_ours = ["ci/", "conf/", "tests/", "firmware/", "linux-agent/"];
            let is_built = word.starts_with("firmware/target/");
            if !is_built && is_ours.iter().any(|start| word.starts_with(start)) {
                assert!(root().join(word).exists(), "{place}: {word}");
            }
            if word.starts_with("ci/") {
                let mode = fs::metadata(root().join(word))
                    .expect("it")
                    .permissions()
                    .mode();
                assert!(mode & 0o111 != 0, "{place}: {word} cannot be run");
            }
        }
        for pair in words.windows(2) {
            if pair[0] == "--test" {
                let stanza = format!("[[test]]\nname = \"{}\"\n", pair[1]);
                assert!(manifests.contains(&stanza), "{place}: no test {}", pair[1]);
            }
        }
        if let ["ci/test", steps @ ..] = &words[..] {
            let help = run(Command::new(root().join("ci/test")).arg("--help")).expect("help");
            for step in steps {
                let known = help
                    .split_whitespace()
                    .any(|it| it.trim_matches(['[', ']']) == *step);
                assert!(known, "{place}: ci/test {step}");
            }
        }
        check_options(&place, &words);
    }
}

/// Options that `mote` gets are among those that its help shows.
fn check_options(place: &str, words: &[&str]) {
    let arguments = match words {
        ["mote", arguments @ ..] => arguments,
        ["cargo", "run", rest @ ..] => match rest.iter().position(|word| *word == "--") {
            Some(at) => rest.get(at + 1..).unwrap_or_default(),
            None => return,
        },
        _ => return,
    };
    let Some(command) = arguments.first() else {
        return;
    };
    let help =
        run(mote().args([command, "--help"])).unwrap_or_else(|error| panic!("{place}: {error}"));
    for option in arguments.iter().filter(|word| word.starts_with("--")) {
        assert!(help.contains(option), "{place}: {option}");
    }
}

/// The first picture that a reader sees is what the demo shows: the same services, the same fields.
#[test]
fn the_picture_of_the_demo_is_true() {
    let pages = pages();
    let blocks = pages.iter().flat_map(blocks);
    let pictures: Vec<_> = blocks.filter(|block| block.kind == "text demo").collect();
    let [picture] = &pictures[..] else {
        panic!("{} pictures", pictures.len());
    };
    let folder = TempDir::new().expect("a folder");
    let mut command = mote();
    command
        .arg("demo")
        .arg("--state")
        .arg(folder.path().join("demo"));
    let mut demo = Running::start("demo", &mut command, folder.path());
    let without_digits = |line: &str| line.replace(|it: char| it.is_ascii_digit(), "");
    for line in picture.text.lines() {
        let is_report = !line.starts_with(' ') && line.contains('{');
        let service = line.split(' ').next().unwrap_or_default();
        let shown = wait_for(&format!("a line like {line}"), DEADLINE, || {
            demo.assert_running();
            let output = demo.output();
            let mut lines = output.lines();
            let found = lines.find(|it| match is_report {
                true => it.split(' ').next() == Some(service) && it.contains('{'),
                false => without_digits(it) == without_digits(line),
            });
            found.map(str::to_owned)
        });
        if is_report {
            let (told, real) = (keys(line), keys(&shown));
            assert!(told.len() > 1, "{line}");
            let both = told.iter().zip(&real);
            for (told, real) in both {
                assert_eq!(told, real, "{line}\n{shown}");
            }
        }
    }
    demo.signal(Signal::SIGINT);
    assert!(demo.wait().success());
}

/// The names of the fields in a line that may be cut, without those of items.
fn keys(line: &str) -> Vec<String> {
    let mut keys = Vec::new();
    let mut parts = line.split('"').skip(1);
    while let (Some(name), Some(rest)) = (parts.next(), parts.next()) {
        let is_item = rest.starts_with(":{") && name != "data";
        if rest.starts_with(':') && !is_item {
            keys.push(name.to_owned());
        }
    }
    keys
}

/// That there is something to copy the scene from.
#[test]
fn the_settings_have_the_address_of_the_docs() {
    for name in ["conf/agent.toml", "conf/server.toml"] {
        let text = fs::read_to_string(Path::new(&root()).join(name)).expect("a text");
        assert!(text.contains(ADDRESS), "{name}");
    }
}
