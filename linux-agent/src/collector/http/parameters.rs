//! What stands behind the `?`, and in the path.

use std::fmt;
use std::str::FromStr;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use serde::de::value::Error as Plain;
use serde::de::{DeserializeOwned, Deserializer, Error, Visitor};
use serde::forward_to_deserialize_any;

use super::app::Rules;
use super::refusal::Refusal;
use crate::client_name::ClientName;
use crate::collector::report::TIME_S;

/// All parameters of a query.
pub fn read<T: DeserializeOwned>(query: &str) -> Result<T, Refusal> {
    serde_urlencoded::from_str(query).map_err(|_| Refusal::bad(fault(query, names::<T>())))
}

/// The part of the path that differs.
pub fn in_path(part: Result<Path<String>, PathRejection>) -> Result<String, Refusal> {
    let part = part.map(|Path(part)| part);
    part.map_err(|_| Refusal::bad("the address has bytes that are no text in UTF-8"))
}

/// A parameter. An empty one, as an empty form field sends it, counts as absent.
pub fn given<T: FromStr>(name: &str, text: Option<&str>) -> Result<Option<T>, Refusal> {
    text.filter(|text| !text.is_empty())
        .map(str::parse)
        .transpose()
        .map_err(|_| Refusal::bad(format!("{name} is not a number, or out of range")))
}

/// An instant, in seconds since 1970-01-01 00:00 UTC; gives milliseconds.
pub fn instant(name: &str, text: Option<&str>) -> Result<Option<i64>, Refusal> {
    match given::<f64>(name, text)? {
        Some(time) if !TIME_S.contains(&time) => Err(Refusal::bad(format!(
            "{name} is not a time within {} to {} s since 1970-01-01 00:00 UTC",
            TIME_S.start(),
            TIME_S.end()
        ))),
        time => Ok(time.map(whole_ms)),
    }
}

/// The only client that is asked for. `None`: all.
pub fn only(client_id: Option<String>) -> Option<ClientName> {
    let client_id = client_id.filter(|it| !it.is_empty());
    client_id.map(|it| ClientName::from_text(&it))
}

/// Which one is meant by an id, or by the name of a host's table.
pub fn client_of(rules: &Rules, name: &str) -> ClientName {
    let id = ClientName::from_text(name);
    let mut hosts = rules.hosts.iter();
    match rules.hosts.contains_key(&id) {
        true => id,
        false => hosts
            .find(|(_, host)| host.label == name)
            .map_or(id, |(id, _)| id.clone()),
    }
}

/// Whole milliseconds of a time in seconds. Rounds to microseconds first: 1.123 s in binary is a little less than
/// 1123 ms, and would return the report of that very time again.
pub fn whole_ms(seconds: f64) -> i64 {
    ((seconds * 1e6).round() / 1e3).floor() as i64
}

fn fault(query: &str, names: &[&str]) -> String {
    let there_are = format!("there are {}", names.join(", "));
    let Ok(pairs) = serde_urlencoded::from_str::<Vec<(String, String)>>(query) else {
        return format!("the address has no such parameters as NAME=VALUE; {there_are}");
    };
    let unknown = pairs.iter().find(|(name, _)| !names.contains(&&**name));
    match unknown {
        Some((name, _)) => format!("there is no parameter {name:?} here; {there_are}"),
        None => "a parameter stands in the address more than once; name each once".to_owned(),
    }
}

/// Which parameters there are.
fn names<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut names: &'static [&'static str] = &[];
    // It never gives a value.
    let _ = T::deserialize(Names(&mut names));
    names
}

/// Asks a derived reader for the names of its fields.
struct Names<'n>(&'n mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Names<'_> {
    type Error = Plain;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Plain> {
        Err(Plain::custom(fmt::Error))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Plain> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Two {
        one: Option<String>,
        other: Option<String>,
    }

    #[test]
    fn what_is_wrong_with_a_query_is_told_in_one_sentence() {
        let told = |query: &str| read::<Two>(query).unwrap_err().sentence;
        let unknown = "there is no parameter \"what\" here; there are one, other";
        assert_eq!(told("what=1"), unknown);
        assert_eq!(told("one=1&what"), unknown);
        let twice = "a parameter stands in the address more than once; name each once";
        assert_eq!(told("one=1&one=2"), twice);
        let two = read::<Two>("one=a+b").ok().unwrap();
        assert_eq!((two.one.as_deref(), two.other), (Some("a b"), None));
    }

    #[test]
    fn an_instant_is_within_the_years_that_are_written_alike() {
        assert_eq!(instant("from", None).ok(), Some(None));
        assert_eq!(instant("from", Some("")).ok(), Some(None));
        assert_eq!(instant("from", Some("1.5")).ok(), Some(Some(1500)));
        for text in ["x", "-1", "253402300800", "inf", "NaN"] {
            let told = instant("from", Some(text)).unwrap_err().sentence;
            assert!(told.starts_with("from is not "), "{told}");
        }
    }

    #[test]
    fn a_time_that_was_given_out_comes_back_as_the_same_millisecond() {
        for ms in (1_795_339_484_000..1_795_339_485_000).chain([0, 1, 999]) {
            let given_out = (ms as f64 / 1000.0).to_string();
            assert_eq!(whole_ms(given_out.parse().unwrap()), ms);
        }
        assert_eq!(whole_ms(1.9996), 1999);
        assert_eq!(whole_ms(-0.5), -500);
        assert_eq!(whole_ms(1e300), i64::MAX);
    }
}
