//! Where settings come from: a TOML file whose lines are remembered, and environment variables that
//! override it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use strsim::normalized_damerau_levenshtein as likeness;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{BOARD_KEYS, KEYS, OTHER_VARIABLES, SettingsError, VARIABLE_PREFIX};

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the settings file.
    Line {
        /// The file as it was named.
        file: PathBuf,
        /// Its line, from 1.
        line: usize,
    },
    /// In the environment variable of this name.
    Variable(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Line { file, line } => write!(f, "{}:{line}", file.display()),
            Place::Variable(name) => f.write_str(name),
        }
    }
}

/// Every value that was given, by its key, for instance `server.url`.
pub struct Values<'t> {
    file: FileText<'t>,
    given: Table<'t>,
}

/// Values by their keys.
pub type Table<'t> = BTreeMap<&'static str, Given<'t>>;

/// One value and where it was given.
#[derive(Clone)]
pub struct Given<'t> {
    pub value: DeValue<'t>,
    pub place: Place,
}

impl<'t> Values<'t> {
    /// Reads the text of `file`, then overrides it from `variables`.
    pub fn read(
        file: &'t Path,
        text: &'t str,
        variables: &'t [(String, String)],
    ) -> Result<Self, SettingsError> {
        let file = FileText { file, text };
        let given = BTreeMap::new();
        let mut values = Values { file, given };
        let table = DeTable::parse(text).map_err(|error| SettingsError::Syntax {
            place: file.place(error.span().map_or(0, |span| span.start)),
            message: error.message().to_owned(),
        })?;
        values.add_table("", table.into_inner())?;
        for (name, text) in variables {
            values.add_variable(name, text)?;
        }
        Ok(values)
    }

    pub fn get(&self, key: &str) -> Option<&Given<'t>> {
        self.given.get(key)
    }

    /// Whether any key of `table` was given.
    pub fn has_table(&self, table: &str) -> bool {
        self.given.keys().any(|key| is_below(key, table))
    }

    /// What `read` makes of the value of `key`, or `default` if it was not given. The error of
    /// `read` says what the value must be.
    pub fn get_or<T>(
        &self,
        key: &'static str,
        default: T,
        read: impl FnOnce(&DeValue<'t>) -> Result<T, String>,
    ) -> Result<T, SettingsError> {
        match self.get(key) {
            Some(given) => given.read(key, read),
            None => Ok(default),
        }
    }

    /// The `[[board]]` tables, each with its place, and with its values under [`BOARD_KEYS`].
    pub fn boards(&self) -> Result<Vec<(Place, Table<'t>)>, SettingsError> {
        let Some(given) = self.get("board") else {
            return Ok(Vec::new());
        };
        // A variable has no lines.
        let place = |offset_bytes| match &given.place {
            Place::Line { .. } => self.file.place(offset_bytes),
            variable => variable.clone(),
        };
        let rule = "must be a list of tables like [{ device = \"/dev/ttyACM0\", client_id = 7 }]";
        let invalid = |place| SettingsError::Invalid {
            place,
            key: "board",
            rule: rule.to_owned(),
        };
        let array = given.value.as_array();
        let array = array.ok_or_else(|| invalid(given.place.clone()))?;
        let mut boards = Vec::new();
        for board in array {
            let here = place(board.span().start);
            let Some(table) = board.get_ref().as_table() else {
                return Err(invalid(here));
            };
            let mut values = BTreeMap::new();
            for (name, value) in table {
                let place = place(name.span().start);
                let key = format!("board.{}", name.get_ref().escape_debug());
                let Some(known) = BOARD_KEYS.iter().find(|known| **known == key) else {
                    let nearest = nearest(|known| likeness_of_keys(known, &key));
                    return Err(SettingsError::UnknownKey {
                        place,
                        key,
                        nearest,
                    });
                };
                let value = value.get_ref().clone();
                values.insert(*known, Given { value, place });
            }
            boards.push((here, values));
        }
        Ok(boards)
    }

    fn add_table(&mut self, parent: &str, table: DeTable<'t>) -> Result<(), SettingsError> {
        for (name, value) in table {
            let place = self.file.place(name.span().start);
            let is_odd = name
                .get_ref()
                .contains(|it: char| it == '.' || it.is_control());
            let key = match (parent, is_odd) {
                ("", false) => name.get_ref().clone().into_owned(),
                (_, false) => format!("{parent}.{}", name.get_ref()),
                // In quotes, it is one name and not that of a table and a key in it.
                (_, true) => format!("{:?}", name.get_ref()),
            };
            let value = Spanned::into_inner(value);
            if let Some(known) = KEYS.iter().find(|known| **known == key) {
                self.given.insert(known, Given { value, place });
            } else if !KEYS.iter().any(|known| is_below(known, &key)) {
                let nearest = nearest(|known| likeness_of_keys(known, &key));
                return Err(SettingsError::UnknownKey {
                    place,
                    key,
                    nearest,
                });
            } else if let DeValue::Table(table) = value {
                self.add_table(&key, table)?;
            } else {
                return Err(SettingsError::NotATable { place, key });
            }
        }
        Ok(())
    }

    fn add_variable(&mut self, name: &str, text: &'t str) -> Result<(), SettingsError> {
        if OTHER_VARIABLES.contains(&name) {
            return Ok(());
        }
        let Some(key) = KEYS.iter().find(|key| variable(key) == name) else {
            return Err(SettingsError::UnknownVariable {
                name: name.escape_debug().to_string(),
                nearest: nearest_variable(name),
            });
        };
        let value = match DeValue::parse(text) {
            Ok(value) => value.into_inner(),
            Err(_) => DeValue::String(text.into()),
        };
        let place = Place::Variable(name.to_owned());
        self.given.insert(key, Given { value, place });
        Ok(())
    }
}

impl<'t> Given<'t> {
    /// What `read` makes of it, as the value of `key`.
    pub fn read<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'t>) -> Result<T, String>,
    ) -> Result<T, SettingsError> {
        read(&self.value).map_err(|rule| self.breaks(key, rule))
    }

    /// The error that as the value of `key` it breaks a rule.
    pub fn breaks(&self, key: &'static str, rule: String) -> SettingsError {
        SettingsError::Invalid {
            place: self.place.clone(),
            key,
            rule,
        }
    }
}

/// The environment variable that gives `key`.
pub fn variable(key: &str) -> String {
    format!("{VARIABLE_PREFIX}{}", key.to_uppercase().replace('.', "__"))
}

#[derive(Clone, Copy)]
struct FileText<'t> {
    file: &'t Path,
    text: &'t str,
}

impl FileText<'_> {
    fn place(&self, offset_bytes: usize) -> Place {
        let before = self.text.bytes().take(offset_bytes);
        Place::Line {
            file: self.file.to_owned(),
            line: 1 + before.filter(|byte| *byte == b'\n').count(),
        }
    }
}

fn is_below(key: &str, table: &str) -> bool {
    key.strip_prefix(table)
        .is_some_and(|rest| rest.starts_with('.'))
}

/// Names that are less alike than this have nothing to do with each other. `uri` is to `url` 0.67,
/// `port` is to `path` 0.5.
const NEAR: f64 = 0.6;

/// How alike two names are, from 0 to 1, and among equals how near.
type Likeness = (f64, f64);

/// The key or the table that is the most alike, if any is near.
fn nearest(likeness: impl Fn(&str) -> Likeness) -> Option<&'static str> {
    let tables = KEYS.iter().flat_map(|key| {
        let dots = key.match_indices('.');
        dots.filter_map(|(dot, _)| key.get(..dot))
    });
    let all = KEYS.iter().chain(BOARD_KEYS).copied().chain(tables);
    all.map(|name| (name, likeness(name)))
        .filter(|(_, (alike, _))| *alike >= NEAR)
        .max_by(|(_, a), (_, b)| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)))
        .map(|(name, _)| name)
}

/// Of a table, which no variable gives, the first key.
fn nearest_variable(name: &str) -> Option<String> {
    let wanted = name.strip_prefix(VARIABLE_PREFIX)?.to_lowercase();
    let found = nearest(|known| {
        let part = likeness_of_keys(known, &wanted.replace("__", "."));
        let whole = likeness(&known.replace('.', "_"), &wanted.replace("__", "_"));
        if wanted.contains("__") {
            part
        } else {
            (part.0.max(whole), part.1)
        }
    })?;
    let key = KEYS
        .iter()
        .find(|key| **key == found || is_below(key, found) || is_below(found, key));
    key.map(|key| variable(key))
}

/// The last part of a key counts, so that a key in the wrong table is found too; among equals, the
/// nearer table.
fn likeness_of_keys(key: &str, wanted: &str) -> Likeness {
    let alike = likeness(last_part(key), last_part(wanted));
    (alike, likeness(key, wanted))
}

fn last_part(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str, variables: &[(&str, &str)]) -> String {
        let variables: Vec<_> = variables
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect();
        match Values::read(Path::new("a.toml"), text, &variables) {
            Ok(_) => panic!("{text} was taken"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest() {
        for (text, error) in [
            (
                "client_id = 1\n\nclient-id = 2",
                "a.toml:3: there is no setting `client-id`; the nearest is `client_id`",
            ),
            (
                "[server]\nuri = 1",
                "a.toml:2: there is no setting `server.uri`; the nearest is `server.url`",
            ),
            (
                "[queue]\nmax_age = 1",
                "a.toml:2: there is no setting `queue.max_age`; the nearest is `queue.max_age_s`",
            ),
            (
                "request_timeout_s = 1",
                "a.toml:1: there is no setting `request_timeout_s`; the nearest is `server.request_timeout_s`",
            ),
            (
                "[server]\nservice_report = { pth = \"x\" }",
                "a.toml:2: there is no setting `server.service_report.pth`; the nearest is `server.service_report.path`",
            ),
            (
                "\"server.url\" = 1",
                "a.toml:1: there is no setting `\"server.url\"`; the nearest is `server.url`",
            ),
            (
                "[[service]]\nname = 1",
                "a.toml:1: there is no setting `service`; the nearest is `services`",
            ),
            (
                "[servr]\nurl = \"http://h\"",
                "a.toml:1: there is no setting `servr`; the nearest is `server`",
            ),
            (
                "[server.service_reports]\npath = \"p\"",
                "a.toml:1: there is no setting `server.service_reports`; the nearest is `server.service_report`",
            ),
        ] {
            assert_eq!(refusal(text, &[]), error);
        }
    }

    #[test]
    fn nothing_is_suggested_where_nothing_is_near() {
        for (text, key) in [
            ("log_level = 1", "log_level"),
            ("[server]\nport = 1", "server.port"),
            ("[server]\ntoast = 1", "server.toast"),
            ("[logging]\npath = 1", "logging"),
            ("\"\" = 1", ""),
        ] {
            let error = refusal(text, &[]);
            assert!(
                error.ends_with(&format!(": there is no setting `{key}`")),
                "{error}"
            );
        }
        for name in ["MOTE_LOG_LEVEL", "MOTE_X", "MOTE_", "MOTE_SERVER__PORT"] {
            assert_eq!(
                refusal("", &[(name, "1")]),
                format!("the environment variable {name} names no setting")
            );
        }
    }

    #[test]
    fn a_name_with_control_characters_is_shown_without_them() {
        for (text, variable, shown) in [
            ("\"a\\nb\" = 1", "MOTE_CLIENT_ID", r#"`"a\nb"`"#),
            (
                "[server]\n\"a\\u001b\" = 1",
                "MOTE_CLIENT_ID",
                r#"`"a\u{1b}"`"#,
            ),
            ("", "MOTE_\u{1b}[2J", r"MOTE_\u{1b}[2J names"),
        ] {
            let error = refusal(text, &[(variable, "1")]);
            assert!(error.contains(shown), "{error}");
        }
    }

    #[test]
    fn a_value_in_place_of_a_table_is_refused() {
        assert_eq!(
            refusal("client_id = 1\nserver = \"h\"", &[]),
            "a.toml:2: `server` must be a table"
        );
        assert_eq!(
            refusal("[[queue]]\nmax_bytes = 1", &[]),
            "a.toml:1: `queue` must be a table"
        );
    }

    #[test]
    fn what_is_not_toml_is_named_with_its_line() {
        for (text, start) in [
            ("a = 1\nb = [1,", "a.toml:2: this is not TOML: "),
            ("\n\nclient_id 1", "a.toml:3: this is not TOML: "),
            ("plugins = []\nplugins = []", "a.toml:2: this is not TOML: "),
        ] {
            let error = refusal(text, &[]);
            assert!(error.starts_with(start), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn an_unknown_variable_is_named_with_the_nearest() {
        for (name, nearest) in [
            ("MOTE_SERVER_URL", "MOTE_SERVER__URL"),
            ("MOTE_SERVER", "MOTE_SERVER__URL"),
            ("MOTE_SERVR", "MOTE_SERVER__URL"),
            ("MOTE_URL", "MOTE_SERVER__URL"),
            ("MOTE_SERVER__URI", "MOTE_SERVER__URL"),
            ("MOTE_QUEUE", "MOTE_QUEUE__MAX_BYTES"),
            ("MOTE_QUEUE_MAX_AGE_S", "MOTE_QUEUE__MAX_AGE_S"),
            ("MOTE_SERVICE", "MOTE_SERVICES"),
            ("MOTE_CLIENTID", "MOTE_CLIENT_ID"),
        ] {
            assert_eq!(
                refusal("", &[(name, "http://h")]),
                format!(
                    "the environment variable {name} names no setting; the nearest is {nearest}"
                )
            );
        }
    }

    #[test]
    fn a_variable_overrides_the_file_and_is_toml_or_else_a_string() {
        let variables = |value: &str| vec![("MOTE_CLIENT_ID".to_owned(), value.to_owned())];
        let given = |value: &str| {
            let variables = variables(value);
            let values = Values::read(Path::new("a.toml"), "client_id = 1", &variables).unwrap();
            let given = values.get("client_id").unwrap();
            assert_eq!(given.place.to_string(), "MOTE_CLIENT_ID");
            match &given.value {
                DeValue::Integer(number) => format!("integer {number}"),
                DeValue::String(text) => format!("string {text}"),
                other => format!("{other:?}"),
            }
        };
        assert_eq!(given("2"), "integer 2");
        assert_eq!(given("\"2\""), "string 2");
        assert_eq!(given("web-1"), "string web-1");
        assert_eq!(given(""), "string ");
        assert_eq!(given("1\nstate_dir = 2"), "string 1\nstate_dir = 2");
    }

    #[test]
    fn other_variables_of_the_project_are_no_settings() {
        let variables = [("MOTE_ALLOW_SKIP".to_owned(), "1".to_owned())];
        assert!(Values::read(Path::new("a.toml"), "", &variables).is_ok());
    }
}
