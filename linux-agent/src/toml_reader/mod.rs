//! Reads settings files, those of the agent and those of the collector, into types that derive `Deserialize`.
//!
//! It stands on the ground floor so that both may use it, and both refuse the same mistake in the same words. Each error
//! says where (file and line, or the environment variable) and what to write instead. A caller gives
//!
//! - a `Schema`: every key there is. A key outside of it is refused and the nearest one named.
//! - a type whose fields are those keys. Plain types (`bool`, `String`, `Vec<String>`) do. A field with a rule of its own
//!   reads a `Value` with `by_rule`, and the words of its error follow the key: "must be …".
//!
//! Rules that span several keys are checked afterwards; `Given::invalid` gives their errors the right place.

mod error;
mod schema;
mod value;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::system::files;

pub use error::{Place, TomlError};
use schema::joined;
pub(crate) use schema::{As, Key, Replaced, Schema, quoted};
pub(crate) use value::{Value, by_rule};

/// An environment variable that gives a key instead of the file.
pub(crate) struct Variable {
    pub name: String,
    pub text: String,
}

/// Which keys a file and the variables gave, and where.
#[derive(Debug)]
pub(crate) struct Given {
    file: PathBuf,
    keys: BTreeMap<String, GivenKey>,
}

/// Reads `text` as that of `file`, with `variables` over it.
pub(crate) fn parse<T: for<'de> Deserialize<'de>>(
    file: &Path,
    text: &str,
    schema: &Schema,
    variables: &[Variable],
) -> Result<(T, Given), TomlError> {
    let mut reader = Reader {
        text,
        schema,
        given: Given {
            file: file.to_owned(),
            keys: BTreeMap::new(),
        },
    };
    let mut table = DeTable::parse(text)
        .map_err(|error| reader.syntax_error(&error))?
        .into_inner();
    reader.check_table(&Parent::root(), &table)?;
    for (number, variable) in variables.iter().enumerate() {
        reader.add_variable(&mut table, number, variable)?;
    }
    let whole = Spanned::new(0..text.len(), table);
    let values = T::deserialize(toml::de::Deserializer::from(whole));
    match values {
        Ok(values) => Ok((values, reader.given)),
        Err(error) => Err(reader.value_error(&error)),
    }
}

/// The text of a settings file.
pub(crate) fn read_text(file: &Path) -> Result<String, TomlError> {
    files::read_settings(file).map_err(|cause| TomlError::Read {
        file: file.to_owned(),
        cause,
    })
}

impl Given {
    /// Whether a key was given. A table was if it stands in the file or one of its keys was given.
    pub fn has(&self, path: &str) -> bool {
        self.keys.contains_key(path)
    }

    /// Where a key was given; for one that was not, where its table begins, else the file.
    pub fn place(&self, path: &str) -> Place {
        let mut path = path;
        loop {
            if let Some(key) = self.keys.get(path) {
                return key.place.clone();
            }
            match path.rsplit_once('.') {
                Some((table, _)) => path = table,
                None => return Place::File(self.file.clone()),
            }
        }
    }

    /// The error that the value of a key breaks a rule, "must be …".
    pub fn invalid(&self, path: &str, rule: impl Into<String>) -> TomlError {
        let shown = self.keys.get(path).map(|key| key.shown.clone());
        TomlError::Invalid {
            place: self.place(path),
            key: shown.unwrap_or_else(|| path.to_owned()),
            rule: rule.into(),
        }
    }
}

/// A key that was given.
#[derive(Debug)]
struct GivenKey {
    /// As errors name it. In lists of tables it has no number: `board.device`.
    shown: String,
    place: Place,
    /// That of the value in the text; behind the text for a variable's.
    span: Range<usize>,
}

struct Reader<'a> {
    text: &'a str,
    schema: &'a Schema,
    given: Given,
}

/// The table in which keys are looked up.
struct Parent {
    /// In the schema: `hosts.*`, `board[]`.
    pattern: String,
    /// As errors name it: `hosts.web`, `board`.
    shown: String,
    /// Of this one alone: `hosts.web`, `board.0`.
    path: String,
}

impl Parent {
    fn root() -> Parent {
        Parent {
            pattern: String::new(),
            shown: String::new(),
            path: String::new(),
        }
    }

    fn child(&self, pattern: String, name: &str) -> Parent {
        Parent {
            pattern,
            shown: joined(&self.shown, name),
            path: joined(&self.path, name),
        }
    }

    /// The table at `index` of this list.
    fn element(&self, index: usize) -> Parent {
        Parent {
            pattern: format!("{}[]", self.pattern),
            shown: self.shown.clone(),
            path: format!("{}.{index}", self.path),
        }
    }
}

impl Reader<'_> {
    fn check_table(&mut self, parent: &Parent, table: &DeTable<'_>) -> Result<(), TomlError> {
        for (name, value) in table {
            let place = self.line(name.span().start);
            let name = quoted(name.get_ref());
            let pattern = self.schema.find(&parent.pattern, &name);
            let key = parent.child(pattern.clone().unwrap_or_default(), &name);
            let Some(pattern) = pattern else {
                return Err(self.schema.refuse(place, &parent.pattern, &key.shown));
            };
            self.add(&key, place.clone(), value.span());
            if self.schema.is_list_of_tables(&pattern) {
                self.check_list(&key, &place, value)?;
            } else if self.schema.is_table(&pattern) {
                let DeValue::Table(table) = value.get_ref() else {
                    let key = key.shown;
                    return Err(TomlError::NotATable { place, key });
                };
                self.check_table(&key, table)?;
            }
        }
        Ok(())
    }

    fn check_list(
        &mut self,
        key: &Parent,
        place: &Place,
        list: &Spanned<DeValue<'_>>,
    ) -> Result<(), TomlError> {
        let shown = &key.shown;
        let rule = format!("must be a list of tables: give each of them under [[{shown}]]");
        let DeValue::Array(elements) = list.get_ref() else {
            return Err(self.given.invalid(&key.path, rule));
        };
        for (index, element) in elements.iter().enumerate() {
            let key = key.element(index);
            let place = match place {
                Place::Variable(_) => place.clone(),
                _ => self.line(element.span().start),
            };
            self.add(&key, place, element.span());
            match element.get_ref() {
                DeValue::Table(table) => self.check_table(&key, table)?,
                _ => return Err(self.given.invalid(&key.path, rule)),
            }
        }
        Ok(())
    }

    fn add(&mut self, key: &Parent, place: Place, span: Range<usize>) {
        let given = GivenKey {
            shown: key.shown.clone(),
            place,
            span,
        };
        self.given.keys.insert(key.path.clone(), given);
    }

    /// Puts the value of a variable into `table`.
    fn add_variable<'t>(
        &mut self,
        table: &mut DeTable<'t>,
        number: usize,
        variable: &'t Variable,
    ) -> Result<(), TomlError> {
        let key = self.schema.of_variable(&variable.name)?;
        // Behind the text, apart from those of all others.
        let start = self.text.len() + 1 + 2 * number;
        let span = start..start + 1;
        let value = at(&span, schema::value_of(key, &variable.text));
        let place = Place::Variable(variable.name.clone());
        // What the file says of it no longer counts.
        let below = format!("{}.", key.path);
        self.given
            .keys
            .retain(|path, _| path != key.path && !path.starts_with(&below));
        self.check_variable(key, &place, &value)?;
        let mut names = key.path.split('.').peekable();
        let mut here = table;
        let mut path = String::new();
        while let Some(name) = names.next() {
            path = joined(&path, name);
            let spanned = Spanned::new(span.clone(), name.to_owned().into());
            if names.peek().is_none() {
                here.remove(&spanned);
                here.insert(spanned, value);
                return Ok(());
            }
            let parent = Parent::root().child(String::new(), &path);
            if !self.given.has(&path) {
                self.add(&parent, place.clone(), span.clone());
            }
            let new = || Spanned::new(span.clone(), DeValue::Table(DeTable::new()));
            match here.entry(spanned).or_insert_with(new).get_mut() {
                DeValue::Table(table) => here = table,
                // Refused when the file was read.
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    fn check_variable(
        &mut self,
        key: &Key,
        place: &Place,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<(), TomlError> {
        let parent = Parent::root().child(key.path.to_owned(), key.path);
        self.add(&parent, place.clone(), value.span());
        if self.schema.is_list_of_tables(key.path) {
            self.check_list(&parent, place, value)?;
            // What is below has no lines.
            let below = format!("{}.", key.path);
            for (path, given) in &mut self.given.keys {
                if path.starts_with(&below) {
                    given.place = place.clone();
                }
            }
        }
        Ok(())
    }

    fn line(&self, offset_bytes: usize) -> Place {
        let before = self.text.bytes().take(offset_bytes);
        Place::Line {
            file: self.given.file.clone(),
            line: 1 + before.filter(|byte| *byte == b'\n').count(),
        }
    }

    fn syntax_error(&self, error: &toml::de::Error) -> TomlError {
        TomlError::Syntax {
            place: self.line(error.span().map_or(0, |span| span.start)),
            message: error.message().replace('\n', ", "),
        }
    }

    /// The error of a type, which knows the place in the text but not the key.
    fn value_error(&self, error: &toml::de::Error) -> TomlError {
        let rule = error::rule(error.message());
        let span = error.span().unwrap_or(0..0);
        let around = |key: &&GivenKey| key.span.start <= span.start && span.end <= key.span.end;
        let keys = self.given.keys.values();
        // A variable's tables have the span of its key.
        let innermost = |key: &&GivenKey| (key.span.len(), Reverse(key.shown.len()));
        match keys.filter(around).min_by_key(innermost) {
            Some(key) => TomlError::Invalid {
                place: match &key.place {
                    Place::Line { .. } => self.line(span.start),
                    other => other.clone(),
                },
                key: key.shown.clone(),
                rule,
            },
            None => TomlError::Syntax {
                place: self.line(span.start),
                message: rule,
            },
        }
    }
}

/// The value with this span for all that is in it.
fn at<'t>(span: &Range<usize>, value: DeValue<'t>) -> Spanned<DeValue<'t>> {
    let value = match value {
        DeValue::Array(mut elements) => {
            for element in elements.iter_mut() {
                *element = at(span, element.get_ref().clone());
            }
            DeValue::Array(elements)
        }
        DeValue::Table(table) => DeValue::Table(
            table
                .into_iter()
                .map(|(name, value)| {
                    let name = Spanned::new(span.clone(), name.into_inner());
                    (name, at(span, value.into_inner()))
                })
                .collect(),
        ),
        other => other,
    };
    Spanned::new(span.clone(), value)
}
