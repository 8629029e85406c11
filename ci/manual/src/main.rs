//! Writes man pages and completions: `mote-manual FOLDER NAME`, NAME being that of the installed program.
//!
//! FOLDER gets what belongs into /usr: `share/man/man1` with a page for the program and one for each command, and the
//! places where bash, zsh and fish look for completions.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use mote_agent::cli::arguments::Cli;

/// Its table of exit codes is shown on the first page.
const COMMANDS: &str = include_str!("../../../linux-agent/docs/commands.md");

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, name] = arguments.as_slice() else {
        eprintln!("Usage: mote-manual FOLDER NAME");
        return 64.into();
    };
    match write_all(Path::new(folder), name) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mote-manual: {folder}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write_all(folder: &Path, name: &str) -> io::Result<()> {
    for (path, text) in pages(name)?.into_iter().chain(completions(name)) {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, text)?;
    }
    Ok(())
}

/// The grammar of the command line, of a program that is installed as `name`.
fn grammar(name: &str) -> Command {
    // clap wants names that last.
    let own: &'static str = name.to_owned().leak();
    let mut cli = Cli::command().name(own).bin_name(own);
    // Gives each command its whole name and the options that all have.
    cli.build();
    cli
}

fn pages(name: &str) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let cli = grammar(name);
    let mut pages = vec![(page(name), first_page(&cli)?)];
    for command in shown(&cli) {
        let whole = format!("{name}-{}", command.get_name());
        let mut text = Vec::new();
        Man::new(command.clone())
            .title(whole.to_uppercase())
            .render(&mut text)?;
        text.extend(format!(".SH SEE ALSO\n.BR {} (1)\n", roff(name)).bytes());
        pages.push((page(&whole), text));
    }
    Ok(pages)
}

fn page(name: &str) -> PathBuf {
    Path::new("share/man/man1").join(format!("{name}.1"))
}

fn shown(cli: &Command) -> impl Iterator<Item = &Command> {
    cli.get_subcommands().filter(|it| !it.is_hide_set())
}

fn first_page(cli: &Command) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    Man::new(cli.clone()).render(&mut text)?;
    let mut more = String::from(".SH EXIT STATUS\n");
    for (code, meaning) in exit_codes() {
        more += &format!(".TP\n{code}\n{}\n", roff(&meaning));
    }
    more += ".SH FILES\n\
             .TP\n/etc/mote/agent.toml\nThe agent's settings.\n\
             .TP\n/var/lib/mote\nIts state: reports that wait, and its last orders.\n";
    if cfg!(feature = "collector") {
        more += ".TP\n/etc/mote/server.toml\nThe collector's settings.\n\
                 .TP\n/var/lib/mote\\-collector\nIts database.\n";
    }
    text.extend(more.bytes());
    Ok(text)
}

/// The rows of the table of exit codes.
fn exit_codes() -> impl Iterator<Item = (&'static str, String)> {
    let (_, chapter) = COMMANDS.split_once("## Exit codes").unwrap_or_default();
    chapter
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .skip(2)
        .filter_map(|line| line.trim_matches('|').split_once('|'))
        .map(|(code, meaning)| (code.trim(), meaning.trim().replace('`', "")))
}

/// `text` as roff takes it.
fn roff(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

fn completions(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let places = [
        (
            Shell::Bash,
            format!("share/bash-completion/completions/{name}"),
        ),
        (Shell::Zsh, format!("share/zsh/vendor-completions/_{name}")),
        (
            Shell::Fish,
            format!("share/fish/vendor_completions.d/{name}.fish"),
        ),
    ];
    places
        .map(|(shell, path)| {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut grammar(name), name, &mut text);
            (path.into(), text)
        })
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_with_all_its_options() {
        let pages = pages("mote").unwrap();
        let text = |name: &str| {
            let (_, text) = pages.iter().find(|(path, _)| *path == page(name)).unwrap();
            String::from_utf8(text.clone()).unwrap()
        };
        let cli = grammar("mote");
        assert_eq!(pages.len(), 1 + shown(&cli).count());
        for command in shown(&cli) {
            let whole = format!("mote-{}", command.get_name());
            assert!(
                text("mote").contains(&roff(&format!("{whole}(1)"))),
                "{whole}"
            );
            for option in command.get_arguments().filter(|it| !it.is_hide_set()) {
                if let Some(long) = option.get_long() {
                    assert!(
                        text(&whole).contains(&roff(&format!("--{long}"))),
                        "{whole} --{long}"
                    );
                }
            }
        }
        assert!(text("mote-enroll").contains("SEE ALSO"));
        assert!(
            !pages
                .iter()
                .any(|(path, _)| *path == page("mote-plugin-runner"))
        );
    }

    #[test]
    fn the_first_page_has_the_exit_codes_of_the_docs() {
        let codes: Vec<_> = exit_codes().map(|(code, _)| code).collect();
        assert_eq!(codes, ["0", "1", "3", "4", "7", "64", "69", "78", "150"]);
    }

    #[test]
    fn a_program_of_another_name_has_pages_and_completions_of_that_name() {
        let all: Vec<_> = pages("mote-collector")
            .unwrap()
            .into_iter()
            .chain(completions("mote-collector"))
            .collect();
        for (path, text) in &all {
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(
                name.trim_start_matches('_').starts_with("mote-collector"),
                "{name}"
            );
            assert!(
                !String::from_utf8_lossy(text).contains("\\fBmote start\\fR"),
                "{name}"
            );
        }
    }
}
