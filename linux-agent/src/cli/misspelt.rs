//! What to say of a command line with a word that is not known.

use std::io::{self, Write};

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::arguments::Cli;

/// Says what is wrong with the command line, with the nearest of the words that there are; or prints what was asked for:
/// help or the version.
pub fn explain(error: &clap::Error) -> io::Result<()> {
    let unknown = [ContextKind::InvalidSubcommand, ContextKind::InvalidArg]
        .iter()
        .find_map(|kind| error.get(*kind));
    let nearest = match (error.kind(), unknown) {
        (
            ErrorKind::InvalidSubcommand | ErrorKind::UnknownArgument,
            Some(ContextValue::String(word)),
        ) => nearest(&Cli::command(), word),
        _ => None,
    };
    let Some(nearest) = nearest else {
        error.print()?;
        return io::stdout().flush();
    };
    let text = error.render().to_string();
    let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
    write!(io::stderr(), "{first}; did you mean `{nearest}`?\n{rest}")
}

/// The command or option that is the most like `word`, if one is near.
fn nearest(cli: &clap::Command, word: &str) -> Option<String> {
    let commands = || cli.get_subcommands().filter(|it| !it.is_hide_set());
    let names = commands().map(|it| it.get_name().to_owned());
    let options = commands()
        .chain([cli])
        .flat_map(clap::Command::get_arguments)
        .filter_map(|it| it.get_long())
        .map(|it| format!("--{it}"));
    let likeness = |name: &String| strsim::normalized_damerau_levenshtein(name, word);
    names
        .chain(options)
        .filter(|name| name.starts_with("--") == word.starts_with("--"))
        .map(|name| (likeness(&name), name))
        .filter(|(alike, _)| *alike >= 0.6)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}
