//! Every key that a settings file may have.

use strsim::normalized_damerau_levenshtein as likeness;
use toml::de::DeValue;

use super::error::{Place, TomlError};

/// The keys of a settings file.
pub(crate) struct Schema {
    /// In the order of the file.
    pub keys: &'static [Key],
    /// Keys that other programs of this kind have, and ours in their place.
    pub replaced: &'static [Replaced],
    /// What the environment variables of settings start with.
    pub variable_prefix: &'static str,
}

/// One key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// With its tables: `server.url`; `hosts.*.id` in tables of any name; `board[].device` in each table of a list.
    pub path: &'static str,
    /// How an environment variable gives it.
    pub text: As,
}

/// A key of other programs of this kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replaced {
    /// Its last part, in small letters and without `_`.
    pub name: &'static str,
    /// The key that takes its place.
    pub by: &'static str,
    /// A line with that key.
    pub example: &'static str,
}

/// How the text of an environment variable is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum As {
    /// As it is.
    Text,
    /// A decimal number. Anything else stays text.
    Number,
    /// As [`ClientName::from_text`](crate::client_name::ClientName::from_text): the number if it is one in plain
    /// decimal and has 32 bits, else the name.
    NumberOrName,
    /// Names with commas between them, or a list in TOML.
    Names,
    /// A table or a list in TOML.
    Toml,
}

impl Key {
    pub const fn new(path: &'static str, text: As) -> Key {
        Key { path, text }
    }
}

/// The name as a part of a key: in quotes if it could be taken for several parts.
pub(crate) fn quoted(name: &str) -> String {
    match name.contains(|it: char| it == '.' || it.is_control()) {
        true => format!("{name:?}"),
        false => name.to_owned(),
    }
}

/// The key `name` in the table `parent`.
pub(super) fn joined(parent: &str, name: &str) -> String {
    match parent {
        "" => name.to_owned(),
        _ => format!("{parent}.{name}"),
    }
}

/// The value that the text of a variable stands for.
pub(super) fn value_of<'t>(key: &Key, text: &'t str) -> DeValue<'t> {
    let as_text = || DeValue::String(text.into());
    let in_toml = || match DeValue::parse(text) {
        Ok(value) => value.into_inner(),
        Err(_) => as_text(),
    };
    match key.text {
        As::Text => as_text(),
        As::Number if is_decimal(text) => in_toml(),
        As::NumberOrName if is_plain_number(text) && text.parse::<u32>().is_ok() => in_toml(),
        As::Number | As::NumberOrName => as_text(),
        As::Names if text.trim_start().starts_with('[') => in_toml(),
        As::Names => {
            let names = text.split(',').map(str::trim).filter(|it| !it.is_empty());
            let names = names.map(|name| toml::Spanned::new(0..0, DeValue::String(name.into())));
            DeValue::Array(names.collect())
        }
        As::Toml => in_toml(),
    }
}

impl Schema {
    /// The pattern of the key or table `name` in the table of this pattern.
    pub(super) fn find(&self, parent: &str, name: &str) -> Option<String> {
        let named = joined(parent, name);
        let any = joined(parent, "*");
        [named, any]
            .into_iter()
            .find(|it| self.keys.iter().any(|key| key.path == *it) || self.is_table(it))
    }

    /// Whether there are keys below.
    pub(super) fn is_table(&self, pattern: &str) -> bool {
        self.keys.iter().any(|key| is_below(key.path, pattern))
    }

    pub(super) fn is_list_of_tables(&self, pattern: &str) -> bool {
        let below = |key: &Key| {
            key.path
                .strip_prefix(pattern)?
                .strip_prefix("[].")
                .map(drop)
        };
        self.keys.iter().any(|key| below(key).is_some())
    }

    /// The error for the unknown `key` in the table of the pattern `parent`.
    pub(super) fn refuse(&self, place: Place, parent: &str, key: &str) -> TomlError {
        let key = key.to_owned();
        match self.replacement(&key) {
            Some(ours) => TomlError::Replaced {
                place,
                key,
                by: ours.by,
                example: ours.example,
            },
            None => TomlError::UnknownKey {
                place,
                nearest: self.nearest_key(parent, &key),
                key,
            },
        }
    }

    /// The key that a variable gives.
    pub(super) fn of_variable(&self, name: &str) -> Result<&'static Key, TomlError> {
        if let Some(key) = self.keys.iter().find(|key| self.variable(key.path) == name) {
            return Ok(key);
        }
        let wanted = name.strip_prefix(self.variable_prefix).unwrap_or_default();
        let replacement = self.replacement(&wanted.replace("__", "."));
        Err(TomlError::UnknownVariable {
            name: name.escape_debug().to_string(),
            nearest: match replacement {
                Some(ours) => Some(self.variable(ours.by)),
                None => self.nearest_variable(wanted),
            },
        })
    }

    /// Whether a variable of this name gives a key.
    pub fn has_variable(&self, name: &str) -> bool {
        self.keys.iter().any(|key| self.variable(key.path) == name)
    }

    /// The environment variable that gives a key.
    pub fn variable(&self, path: &str) -> String {
        let name = path.to_uppercase().replace('.', "__");
        format!("{}{name}", self.variable_prefix)
    }

    fn replacement(&self, key: &str) -> Option<&'static Replaced> {
        let name = last_part(key).to_lowercase().replace('_', "");
        self.replaced.iter().find(|it| it.name == name)
    }

    fn nearest_key(&self, parent: &str, key: &str) -> Option<String> {
        let found = self.nearest(|known| likeness_of_keys(&shown(known), key))?;
        let table = key.rsplit_once('.').map_or("", |(table, _)| table);
        match found.rsplit_once('.') {
            // A neighbour, in the table that was meant.
            Some((pattern, name)) if pattern == parent => Some(format!("{table}.{name}")),
            _ => Some(shown(found)),
        }
    }

    /// Of a table, which no variable gives, the first key.
    fn nearest_variable(&self, wanted: &str) -> Option<String> {
        let wanted = wanted.to_lowercase();
        let found = self.nearest(|known| {
            let part = likeness_of_keys(known, &wanted.replace("__", "."));
            let whole = likeness(&known.replace('.', "_"), &wanted.replace("__", "_"));
            match wanted.contains("__") {
                true => part,
                false => (part.0.max(whole), part.1),
            }
        })?;
        let found = found.split("[]").next().unwrap_or(found);
        let is_it = |path: &str| path == found || is_below(path, found);
        let key = self.keys.iter().find(|key| is_it(key.path));
        key.map(|key| self.variable(key.path))
    }

    /// The key or the table that is the most alike, if any is near.
    fn nearest(&self, likeness: impl Fn(&str) -> Likeness) -> Option<&'static str> {
        let paths = self.keys.iter().map(|key| key.path);
        let tables = paths.clone().flat_map(|path| {
            let dots = path.match_indices('.');
            dots.filter_map(|(dot, _)| path.get(..dot))
        });
        paths
            .chain(tables)
            .filter(|path| !path.ends_with(['*', ']']))
            .map(|path| (path, likeness(path)))
            .filter(|(_, (alike, _))| *alike >= NEAR)
            .max_by(|(_, a), (_, b)| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)))
            .map(|(path, _)| path)
    }
}

/// Names less alike than this are unrelated: `uri` and `url` have 0.67, `port` and `path` 0.5.
const NEAR: f64 = 0.6;

/// How alike two names are, from 0 to 1, and among equals how near.
type Likeness = (f64, f64);

/// The last part of a key counts, so that a key in the wrong table is found too; among equals, the
/// nearer table.
fn likeness_of_keys(key: &str, wanted: &str) -> Likeness {
    let alike = likeness(last_part(key), last_part(wanted));
    (alike, likeness(key, wanted))
}

fn last_part(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

fn is_below(key: &str, table: &str) -> bool {
    key.strip_prefix(table)
        .is_some_and(|rest| rest.starts_with('.'))
}

/// A pattern as a person reads it.
fn shown(pattern: &str) -> String {
    pattern.replace("[]", "").replace('*', "NAME")
}

fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    is_plain_number(whole) && !fraction.is_empty() && fraction.bytes().all(|it| it.is_ascii_digit())
}

fn is_plain_number(text: &str) -> bool {
    let digits = !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    digits && (text == "0" || !text.starts_with('0'))
}
