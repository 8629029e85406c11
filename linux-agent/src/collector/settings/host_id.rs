//! What a host is known by.

use std::fmt;

use serde::Serialize;
use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use serde::ser::Serializer;

/// What a host is known by: the number or the name that its agent says.
///
/// A text that is a number in plain decimal is that number, since a URL and a form cannot tell
/// `1` from `"1"`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostId {
    /// 0 to 4294967295.
    Number(u32),
    /// Anything else.
    Name(String),
}

impl HostId {
    /// The id that `text` stands for.
    pub fn new(text: &str) -> HostId {
        match text.parse::<u32>() {
            Ok(number) if number.to_string() == text => HostId::Number(number),
            _ => HostId::Name(text.to_owned()),
        }
    }
}

impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostId::Number(number) => number.fmt(f),
            HostId::Name(name) => name.fmt(f),
        }
    }
}

impl Serialize for HostId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            HostId::Number(number) => serializer.serialize_u32(*number),
            HostId::Name(name) => serializer.serialize_str(name),
        }
    }
}

impl<'de> Deserialize<'de> for HostId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<HostId, D::Error> {
        struct NumberOrName;

        impl Visitor<'_> for NumberOrName {
            type Value = HostId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a whole number from 0 to {} or a name", u32::MAX)
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<HostId, E> {
                u32::try_from(number)
                    .map(HostId::Number)
                    .map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<HostId, E> {
                u32::try_from(number)
                    .map(HostId::Number)
                    .map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
            }

            fn visit_str<E>(self, text: &str) -> Result<HostId, E> {
                Ok(HostId::new(text))
            }
        }

        deserializer.deserialize_any(NumberOrName)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_decimals_are_numbers() {
        assert_eq!(HostId::new("1"), HostId::Number(1));
        assert_eq!(HostId::new("4294967295"), HostId::Number(u32::MAX));
        for name in ["4294967296", "007", "+1", "-1", "1.0", "web", ""] {
            assert_eq!(HostId::new(name), HostId::Name(name.to_owned()));
        }
    }

    #[test]
    fn a_number_and_its_text_are_one_host() {
        let read = |json| serde_json::from_str::<HostId>(json).unwrap();
        assert_eq!(read("7"), read("\"7\""));
        assert_eq!(serde_json::to_string(&read("\"7\"")).unwrap(), "7");
        assert_eq!(serde_json::to_string(&read("\"a.b\"")).unwrap(), "\"a.b\"");
        for no_id in ["1.5", "[1]", "-1", "4294967296"] {
            assert!(serde_json::from_str::<HostId>(no_id).is_err(), "{no_id}");
        }
    }
}
