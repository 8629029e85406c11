//! What tells clients apart: the number or the name that a server knows a host or a board by.

use std::fmt;

use mote_core::ClientId;
use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use serde::ser::{Serialize, Serializer};

use crate::protocol::{MAX_CLIENT_NAME, is_text};
use crate::toml_reader::Value;

/// The number or the name that a server knows a client by.
///
/// Reading one keeps the difference between `7` and `"7"`. Where it cannot show, as in a URL, a form or an environment
/// variable, [`from_text`](Self::from_text) decides.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClientName {
    /// A server's primary key.
    Number(u32),
    /// 1 to [`MAX_CLIENT_NAME`] bytes without control characters.
    Name(String),
}

impl ClientName {
    /// The one that a plain text stands for: the number if it is one in plain decimal, else the name.
    pub fn from_text(text: &str) -> ClientName {
        match text.parse::<u32>() {
            Ok(number) if number.to_string() == text => ClientName::Number(number),
            _ => ClientName::Name(text.to_owned()),
        }
    }

    /// The one that a settings file names.
    pub(crate) fn from_setting(value: &Value) -> Result<ClientName, String> {
        let client = match value {
            Value::Text(name) => Some(ClientName::Name(name.clone())),
            number => number.as_integer().map(ClientName::Number),
        };
        let client = client.filter(ClientName::is_valid);
        client.ok_or_else(|| format!("must be {}", what_it_is()))
    }

    /// Whether a name has its bounds.
    pub fn is_valid(&self) -> bool {
        match self {
            ClientName::Number(_) => true,
            ClientName::Name(name) => !name.is_empty() && is_text(name, MAX_CLIENT_NAME),
        }
    }

    /// As reports carry it.
    pub fn id(&self) -> ClientId<'_> {
        match self {
            ClientName::Number(number) => ClientId::Number(*number),
            ClientName::Name(name) => ClientId::Name(name),
        }
    }
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientName::Number(number) => number.fmt(f),
            ClientName::Name(name) => name.fmt(f),
        }
    }
}

impl Serialize for ClientName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.id().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ClientName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ClientName, D::Error> {
        deserializer.deserialize_any(NumberOrName)
    }
}

fn what_it_is() -> String {
    format!(
        "an integer from 0 to {}, or a name of 1 to {MAX_CLIENT_NAME} bytes without control characters",
        u32::MAX
    )
}

struct NumberOrName;

impl NumberOrName {
    fn number<E: Error>(
        &self,
        number: Option<u32>,
        given: Unexpected<'_>,
    ) -> Result<ClientName, E> {
        let number = number.map(ClientName::Number);
        number.ok_or_else(|| E::invalid_value(given, self))
    }
}

impl Visitor<'_> for NumberOrName {
    type Value = ClientName;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&what_it_is())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<ClientName, E> {
        self.number(number.try_into().ok(), Unexpected::Unsigned(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<ClientName, E> {
        self.number(number.try_into().ok(), Unexpected::Signed(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<ClientName, E> {
        let name = ClientName::Name(text.to_owned());
        match name.is_valid() {
            true => Ok(name),
            false => Err(E::invalid_value(Unexpected::Str(text), &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_decimals_are_numbers() {
        assert_eq!(ClientName::from_text("1"), ClientName::Number(1));
        assert_eq!(
            ClientName::from_text("4294967295"),
            ClientName::Number(u32::MAX)
        );
        for name in ["4294967296", "007", "+1", "-1", "1.0", "web", ""] {
            let expected = ClientName::Name(name.to_owned());
            assert_eq!(ClientName::from_text(name), expected);
        }
    }

    #[test]
    fn json_keeps_a_number_and_a_name_apart() {
        let read = |json: &str| serde_json::from_str::<ClientName>(json);
        for json in ["0", "4294967295", "\"7\"", "\"a.b\"", "\"é\""] {
            let client = read(json).unwrap();
            assert_eq!(serde_json::to_string(&client).unwrap(), json);
        }
        assert_ne!(read("7").unwrap(), read("\"7\"").unwrap());
        let long = format!("\"{}\"", "x".repeat(65));
        for no_id in ["1.5", "[1]", "-1", "4294967296", "\"\"", "\"a\\n\"", &long] {
            assert!(read(no_id).is_err(), "{no_id}");
        }
    }
}
