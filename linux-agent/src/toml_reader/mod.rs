//! Reads settings files, those of the agent and those of the collector.
//!
//! It stands on the ground floor so that both may use it, and both refuse the same mistake in the same words. Each error
//! says where (file and line, or the environment variable) and what to write instead. A caller gives
//!
//! - a `Schema`: every key there is. A key outside of it is refused and the nearest one named.
//! - a type that takes its keys from a `Table`, each with its rule: a function from a `Value` to what it means. The words
//!   of a rule's error follow the key: "must be …".
//!
//! Rules that span several keys are checked afterwards; `Given::invalid` gives their errors the right place.
//!
//! The types do without serde, since `toml`'s deserializer, compiled anew for each type, took 90 KB of the agent.

mod error;
mod given;
mod schema;
mod table;
mod value;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::system::files;

pub use error::{Place, TomlError};
pub(crate) use given::Given;
use schema::joined;
pub(crate) use schema::{As, Key, Replaced, Schema, quoted};
pub(crate) use table::{FromTable, Table};
pub(crate) use value::Value;

/// An environment variable that gives a key instead of the file.
pub(crate) struct Variable {
    pub name: String,
    pub text: String,
}

/// Reads `text` as that of `file`, with `variables` over it.
pub(crate) fn parse<T: FromTable>(
    file: &Path,
    text: &str,
    schema: &Schema,
    variables: &[Variable],
) -> Result<(T, Given), TomlError> {
    let (values, given) = parse_values(file, text, schema, variables)?;
    let read = T::from_table(&Table::root(&given, &values))?;
    Ok((read, given))
}

type Values = BTreeMap<String, Value>;

fn parse_values(
    file: &Path,
    text: &str,
    schema: &Schema,
    variables: &[Variable],
) -> Result<(Values, Given), TomlError> {
    let line_ends = text.bytes().enumerate();
    let mut reader = Reader {
        line_ends: line_ends
            .filter(|(_, byte)| *byte == b'\n')
            .map(|(at, _)| at)
            .collect(),
        schema,
        variable: None,
        given: Given::new(file),
    };
    let table = DeTable::parse(text).map_err(|error| reader.syntax_error(&error))?;
    let mut values = reader.read_table(&KeyPath::root(), table.get_ref())?;
    for variable in variables {
        reader.variable = Some(variable.name.clone());
        reader.add_variable(&mut values, variable)?;
    }
    Ok((values, reader.given))
}

/// The text of a settings file.
pub(crate) fn read_text(file: &Path) -> Result<String, TomlError> {
    files::read_settings(file).map_err(|cause| TomlError::Read {
        file: file.to_owned(),
        cause,
    })
}

struct Reader<'a> {
    /// Where each line of the text ends: a collector's has tens of thousands, and each key has a place.
    line_ends: Vec<usize>,
    schema: &'a Schema,
    given: Given,
    /// The one that is read, once the text is.
    variable: Option<String>,
}

/// A key or an element of a list, and the table that it may be, in which further keys are looked up.
struct KeyPath {
    /// In the schema: `hosts.*`, `board[]`.
    pattern: String,
    /// As errors name it: `hosts.web`, `board`.
    shown: String,
    /// Of this one alone: `hosts.web`, `board.0`.
    path: String,
}

impl KeyPath {
    fn root() -> KeyPath {
        KeyPath {
            pattern: String::new(),
            shown: String::new(),
            path: String::new(),
        }
    }

    fn child(&self, pattern: String, name: &str) -> KeyPath {
        KeyPath {
            pattern,
            shown: joined(&self.shown, name),
            path: joined(&self.path, name),
        }
    }

    /// The element at `index` of this list.
    fn element(&self, index: usize) -> KeyPath {
        KeyPath {
            pattern: format!("{}[]", self.pattern),
            shown: self.shown.clone(),
            path: format!("{}.{index}", self.path),
        }
    }
}

impl Reader<'_> {
    fn read_table(&mut self, parent: &KeyPath, table: &DeTable<'_>) -> Result<Values, TomlError> {
        let mut values = Values::new();
        for (name, value) in table {
            let place = self.place(name.span());
            let shown = quoted(name.get_ref());
            let pattern = self.schema.find(&parent.pattern, &shown);
            let key = parent.child(pattern.clone().unwrap_or_default(), &shown);
            if pattern.is_none() {
                return Err(self.schema.refuse(place, &parent.pattern, &key.shown));
            }
            let value = self.read_value(&key, place, value)?;
            values.insert(name.get_ref().to_string(), value);
        }
        Ok(values)
    }

    fn read_value(
        &mut self,
        key: &KeyPath,
        place: Place,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<Value, TomlError> {
        self.add(key, place.clone());
        if self.schema.is_list_of_tables(&key.pattern) {
            return self.read_list_of_tables(key, value.get_ref());
        }
        match value.get_ref() {
            DeValue::Table(table) if self.schema.is_table(&key.pattern) => {
                Ok(Value::Table(self.read_table(key, table)?))
            }
            _ if self.schema.is_table(&key.pattern) => {
                let key = key.shown.clone();
                Err(TomlError::NotATable { place, key })
            }
            value => {
                for (index, element) in value.as_array().into_iter().flatten().enumerate() {
                    let place = self.place(element.span());
                    self.add(&key.element(index), place);
                }
                Ok(Value::from_toml(value))
            }
        }
    }

    fn read_list_of_tables(
        &mut self,
        key: &KeyPath,
        list: &DeValue<'_>,
    ) -> Result<Value, TomlError> {
        let shown = &key.shown;
        let rule = format!("must be a list of tables: give each of them under [[{shown}]]");
        let DeValue::Array(elements) = list else {
            return Err(self.given.invalid(&key.path, rule));
        };
        let mut tables = Vec::new();
        for (index, element) in elements.iter().enumerate() {
            let key = key.element(index);
            let place = self.place(element.span());
            self.add(&key, place);
            let DeValue::Table(table) = element.get_ref() else {
                return Err(self.given.invalid(&key.path, rule));
            };
            tables.push(Value::Table(self.read_table(&key, table)?));
        }
        Ok(Value::List(tables))
    }

    fn add(&mut self, key: &KeyPath, place: Place) {
        self.given.add(&key.path, &key.shown, place);
    }

    /// Puts the value of a variable into the `values` of the file.
    fn add_variable(&mut self, values: &mut Values, variable: &Variable) -> Result<(), TomlError> {
        let key = self.schema.of_variable(&variable.name)?;
        // What the file says of it no longer counts.
        self.given.forget(key.path);
        let place = Place::Variable(variable.name.clone());
        let value = Spanned::new(0..0, schema::value_of(key, &variable.text));
        let path = KeyPath::root().child(key.path.to_owned(), key.path);
        let value = self.read_value(&path, place.clone(), &value)?;
        let mut names = key.path.split('.').peekable();
        let mut here = values;
        let mut path = String::new();
        while let Some(name) = names.next() {
            path = joined(&path, name);
            if names.peek().is_none() {
                here.insert(name.to_owned(), value);
                return Ok(());
            }
            if !self.given.has(&path) {
                self.given.add(&path, &path, place.clone());
            }
            let new = || Value::Table(Values::new());
            match here.entry(name.to_owned()).or_insert_with(new) {
                Value::Table(table) => here = table,
                // Refused when the file was read.
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    /// Where the bytes `span` of what is read begin. A variable has no lines.
    fn place(&self, span: Range<usize>) -> Place {
        match &self.variable {
            Some(name) => Place::Variable(name.clone()),
            None => self.line(span.start),
        }
    }

    fn line(&self, offset_bytes: usize) -> Place {
        let before = self.line_ends.partition_point(|end| *end < offset_bytes);
        Place::Line {
            file: self.given.file().to_owned(),
            line: 1 + before,
        }
    }

    fn syntax_error(&self, error: &toml::de::Error) -> TomlError {
        TomlError::Syntax {
            place: self.line(error.span().map_or(0, |span| span.start)),
            message: error.message().replace('\n', ", "),
        }
    }
}
