//! The numbers in the data of a report.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The longest name of an item or a field, in bytes. What has a longer one has no history.
pub const MAX_NAME_BYTES: usize = 255;

/// Calls `found` with the item, the field and the value of each number.
///
/// A field is the key that a number stands under, and its item is what that stands in: `{"user": 1}` has the field
/// `user` of no item (`""`), `{"data": {"eth0": {"t_in": 1}}}` the field `t_in` of the item `eth0`, since `data` on the
/// outside only wraps the items. Deeper items are joined with `/`, and elements of lists have their position as key.
/// `true` counts as 1 and `false` as 0; texts are no numbers.
pub fn each(data: &RawValue, found: &mut dyn FnMut(&str, &str, f64)) {
    let mut reader = serde_json::Deserializer::from_str(data.get());
    let seed = Value {
        item: "",
        key: "",
        depth: 0,
        found,
    };
    // It was read as JSON when it arrived, so this cannot fail.
    let _ = seed.deserialize(&mut reader);
}

/// A value that stands under `key` in `item`.
struct Value<'a> {
    item: &'a str,
    key: &'a str,
    depth: u8,
    found: &'a mut dyn FnMut(&str, &str, f64),
}

/// Kept where the text has no escapes.
#[derive(Deserialize)]
struct Key<'t>(#[serde(borrow)] Cow<'t, str>);

impl Value<'_> {
    fn number(self, value: f64) {
        let has_name = !self.key.is_empty() && self.key.len() <= MAX_NAME_BYTES;
        if has_name && self.item.len() <= MAX_NAME_BYTES && value.is_finite() {
            (self.found)(self.item, self.key, value);
        }
    }

    /// Whether the item of what stands in this value has too long a name: then it need not be made.
    fn is_too_deep(&self) -> bool {
        self.item.len() + self.key.len() > MAX_NAME_BYTES
    }

    /// The item of what stands in this value.
    fn inside(&self) -> Cow<'_, str> {
        match (self.item, self.key) {
            ("", "data") if self.depth == 1 => Cow::Borrowed(""),
            ("", key) => Cow::Borrowed(key),
            (item, key) => Cow::Owned(format!("{item}/{key}")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.number(f64::from(u8::from(value)));
        Ok(())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.number(value as f64);
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.number(value as f64);
        Ok(())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.number(value);
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        if self.is_too_deep() {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        let item = self.inside().into_owned();
        while let Some(Key(key)) = map.next_key()? {
            map.next_value_seed(Value {
                item: &item,
                key: &key,
                depth: self.depth.saturating_add(1),
                found: &mut *self.found,
            })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        if self.is_too_deep() {
            while list.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        let item = self.inside().into_owned();
        for position in 0_usize.. {
            let element = list.next_element_seed(Value {
                item: &item,
                key: &position.to_string(),
                depth: self.depth.saturating_add(1),
                found: &mut *self.found,
            })?;
            if element.is_none() {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(data: &str) -> Vec<(String, String, f64)> {
        let data = RawValue::from_string(data.to_owned()).unwrap();
        let mut samples = Vec::new();
        each(&data, &mut |item, field, value| {
            samples.push((item.to_owned(), field.to_owned(), value));
        });
        samples
    }

    fn sample(item: &str, field: &str, value: f64) -> (String, String, f64) {
        (item.to_owned(), field.to_owned(), value)
    }

    #[test]
    fn numbers_are_found_wherever_they_stand() {
        assert_eq!(
            samples(r#"{"status": 0, "user": 1.5, "on": true, "text": "7", "none": null}"#),
            [
                sample("", "status", 0.0),
                sample("", "user", 1.5),
                sample("", "on", 1.0)
            ]
        );
        assert_eq!(
            samples(r#"{"status": 0, "data": {"eth0": {"t_in": 1}, "caf\u00e9": {"t_in": 2}}}"#),
            [
                sample("", "status", 0.0),
                sample("eth0", "t_in", 1.0),
                sample("café", "t_in", 2.0)
            ]
        );
        assert_eq!(
            samples(r#"{"load": [0.5, [7]], "a": {"data": {"b": -3}}}"#),
            [
                sample("load", "0", 0.5),
                sample("load/1", "0", 7.0),
                sample("a/data", "b", -3.0)
            ]
        );
    }

    #[test]
    fn what_has_no_name_or_too_long_a_one_is_left_out() {
        let long = "x".repeat(MAX_NAME_BYTES + 1);
        assert_eq!(
            samples(&format!(r#"{{"": 1, "{long}": 1, "{long}": {{"a": 1}}}}"#)),
            []
        );
        let longest = "x".repeat(MAX_NAME_BYTES);
        let data = format!(r#"{{"{longest}": {{"{longest}": 1}}}}"#);
        assert_eq!(samples(&data), [sample(&longest, &longest, 1.0)]);
    }
}
