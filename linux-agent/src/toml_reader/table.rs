//! A table of a settings file, from which a type takes its keys.

use std::collections::BTreeMap;

use super::error::TomlError;
use super::given::Given;
use super::schema::{joined, quoted};
use super::value::Value;

/// What is read from a table of a settings file.
pub(crate) trait FromTable: Sized {
    fn from_table(table: &Table<'_>) -> Result<Self, TomlError>;
}

/// A table of a settings file. All its keys are in the schema.
pub(crate) struct Table<'a> {
    given: &'a Given,
    /// Of this one alone, as [`Given`] knows it: `hosts.web`, `board.0`.
    path: String,
    entries: &'a BTreeMap<String, Value>,
}

impl<'a> Table<'a> {
    pub(super) fn root(given: &'a Given, entries: &'a BTreeMap<String, Value>) -> Table<'a> {
        Table {
            given,
            path: String::new(),
            entries,
        }
    }

    /// The value of the key `name`, if it was given. The error of `rule` says what it must be.
    pub fn get<T>(
        &self,
        name: &str,
        rule: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Result<Option<T>, TomlError> {
        match self.entries.get(name) {
            None => Ok(None),
            Some(value) => self
                .checked(&joined(&self.path, name), rule(value))
                .map(Some),
        }
    }

    /// Each element of the list `name` by `rule`; none if it was not given.
    #[cfg(any(test, feature = "serve"))] // The agent has none.
    pub fn list<T>(
        &self,
        name: &str,
        rule: impl Fn(&Value) -> Result<T, String>,
    ) -> Result<Vec<T>, TomlError> {
        let Some(value) = self.entries.get(name) else {
            return Ok(Vec::new());
        };
        let path = joined(&self.path, name);
        let Some(elements) = value.as_list() else {
            return Err(self
                .given
                .invalid(&path, "must be a list like [\"a\", \"b\"]"));
        };
        let elements = elements.iter().enumerate();
        elements
            .map(|(index, element)| self.checked(&format!("{path}.{index}"), rule(element)))
            .collect()
    }

    /// Each value in the table `name` by `rule`; none if there is no such table.
    pub fn each<T>(
        &self,
        name: &str,
        rule: impl Fn(&Value) -> Result<T, String>,
    ) -> Result<BTreeMap<String, T>, TomlError> {
        let mut read = BTreeMap::new();
        let Some(table) = self.below(name) else {
            return Ok(read);
        };
        for (name, value) in table.entries {
            let path = joined(&table.path, &quoted(name));
            read.insert(name.clone(), self.checked(&path, rule(value))?);
        }
        Ok(read)
    }

    /// `[name]`
    pub fn table<T: FromTable>(&self, name: &str) -> Result<Option<T>, TomlError> {
        self.below(name).map(|it| T::from_table(&it)).transpose()
    }

    /// Each `[[name]]`
    pub fn tables<T: FromTable>(&self, name: &str) -> Result<Vec<T>, TomlError> {
        let elements = self.entries.get(name).and_then(Value::as_list);
        let path = joined(&self.path, name);
        let elements = elements.unwrap_or_default().iter().enumerate();
        elements
            .filter_map(|(index, element)| self.at(format!("{path}.{index}"), element))
            .map(|it| T::from_table(&it))
            .collect()
    }

    /// Each `[name.ANY]`
    #[cfg(any(test, feature = "serve"))] // The agent has none.
    pub fn named_tables<T: FromTable>(&self, name: &str) -> Result<BTreeMap<String, T>, TomlError> {
        let mut tables = BTreeMap::new();
        let Some(parent) = self.below(name) else {
            return Ok(tables);
        };
        for (name, value) in parent.entries {
            if let Some(table) = self.at(joined(&parent.path, &quoted(name)), value) {
                tables.insert(name.clone(), T::from_table(&table)?);
            }
        }
        Ok(tables)
    }

    fn below(&self, name: &str) -> Option<Table<'a>> {
        self.at(joined(&self.path, name), self.entries.get(name)?)
    }

    /// What the schema calls a table is one, or the file was refused.
    fn at(&self, path: String, value: &'a Value) -> Option<Table<'a>> {
        Some(Table {
            given: self.given,
            path,
            entries: value.as_table()?,
        })
    }

    fn checked<T>(&self, path: &str, value: Result<T, String>) -> Result<T, TomlError> {
        value.map_err(|rule| self.given.invalid(path, rule))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::toml_reader::{As, Key, Schema, Variable, parse};

    const SCHEMA: Schema = Schema {
        keys: &[
            Key::new("flag", As::Toml),
            Key::new("names", As::Names),
            Key::new("inner.names", As::Names),
            Key::new("tables", As::Toml),
            Key::new("tables[].flag", As::Toml),
            Key::new("any.*.flag", As::Toml),
            Key::new("each.*", As::Text),
        ],
        replaced: &[],
        variable_prefix: "V_",
    };

    fn text(value: &Value) -> Result<String, String> {
        let text = value.as_str().map(str::to_owned);
        text.ok_or_else(|| "must be text".to_owned())
    }

    fn truth(value: &Value) -> Result<bool, String> {
        match value {
            Value::Bool(truth) => Ok(*truth),
            _ => Err("must be true or false".to_owned()),
        }
    }

    #[derive(Debug, Default, PartialEq)]
    struct Inner {
        flag: Option<bool>,
        names: Vec<String>,
    }

    impl FromTable for Inner {
        fn from_table(table: &Table<'_>) -> Result<Inner, TomlError> {
            Ok(Inner {
                flag: table.get("flag", truth)?,
                names: table.list("names", text)?,
            })
        }
    }

    #[derive(Debug, PartialEq)]
    struct Outer {
        own: Inner,
        inner: Option<Inner>,
        tables: Vec<Inner>,
        any: BTreeMap<String, Inner>,
        each: BTreeMap<String, String>,
    }

    impl FromTable for Outer {
        fn from_table(table: &Table<'_>) -> Result<Outer, TomlError> {
            Ok(Outer {
                own: Inner::from_table(table)?,
                inner: table.table("inner")?,
                tables: table.tables("tables")?,
                any: table.named_tables("any")?,
                each: table.each("each", text)?,
            })
        }
    }

    fn read(text: &str, variable: Option<(&str, &str)>) -> Result<Outer, String> {
        let variable = variable.map(|(name, text)| Variable {
            name: name.to_owned(),
            text: text.to_owned(),
        });
        let variables: Vec<_> = variable.into_iter().collect();
        let read = parse(Path::new("f"), text, &SCHEMA, &variables);
        read.map(|(outer, _)| outer)
            .map_err(|error| error.to_string())
    }

    fn flag(flag: bool) -> Inner {
        Inner {
            flag: Some(flag),
            ..Inner::default()
        }
    }

    #[test]
    fn tables_of_each_kind_are_read() {
        let text = "flag = true\n[[tables]]\nflag = false\n[[tables]]\n[any.\"a.b\"]\nflag = true\n[each]\nx = 'y'\n";
        let expected = Outer {
            own: flag(true),
            inner: None,
            tables: vec![flag(false), Inner::default()],
            any: BTreeMap::from([("a.b".to_owned(), flag(true))]),
            each: BTreeMap::from([("x".to_owned(), "y".to_owned())]),
        };
        assert_eq!(read(text, None), Ok(expected));
        let inner = read("flag = false", Some(("V_INNER__NAMES", "a,b")))
            .unwrap()
            .inner;
        assert_eq!(inner.unwrap().names, ["a", "b"]);
    }

    #[test]
    fn a_value_that_breaks_its_rule_is_named_where_it_stands() {
        for (text, error) in [
            ("\nflag = 1", "f:2: `flag` must be true or false"),
            (
                "names = 'a'",
                "f:1: `names` must be a list like [\"a\", \"b\"]",
            ),
            ("names = [\n'a',\n1]", "f:3: `names` must be text"),
            (
                "[[tables]]\n[[tables]]\n\nflag = 1",
                "f:4: `tables.flag` must be true or false",
            ),
            (
                "[any.\"a.b\"]\nflag = 1",
                "f:2: `any.\"a.b\".flag` must be true or false",
            ),
            (
                "[each]\na = ''\n'b.c' = 1",
                "f:3: `each.\"b.c\"` must be text",
            ),
        ] {
            assert_eq!(read(text, None), Err(error.to_owned()), "{text}");
        }
        assert_eq!(
            read("names = ['a']", Some(("V_NAMES", "[1]"))),
            Err("V_NAMES: `names` must be text".to_owned())
        );
    }
}
