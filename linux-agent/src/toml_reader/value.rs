//! A value as it was written.

use std::collections::BTreeMap;

use toml::de::DeValue;

/// What a key may be given as.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Integer(i128),
    Float(f64),
    Bool(bool),
    List(Vec<Value>),
    Table(BTreeMap<String, Value>),
    /// A date, or a number that no type can hold.
    Other,
}

impl Value {
    pub(super) fn from_toml(value: &DeValue<'_>) -> Value {
        match value {
            DeValue::String(text) => Value::Text(text.clone().into_owned()),
            DeValue::Integer(number) => {
                let read = i128::from_str_radix(number.as_str(), number.radix());
                read.map_or(Value::Other, Value::Integer)
            }
            DeValue::Float(number) => match number.as_str().parse::<f64>() {
                Ok(read) if read.is_finite() || is_word(number.as_str()) => Value::Float(read),
                _ => Value::Other,
            },
            DeValue::Boolean(truth) => Value::Bool(*truth),
            DeValue::Datetime(_) => Value::Other,
            DeValue::Array(elements) => {
                let elements = elements.iter().map(|it| Value::from_toml(it.get_ref()));
                Value::List(elements.collect())
            }
            DeValue::Table(table) => {
                let mut entries = BTreeMap::new();
                for (name, value) in table {
                    let value = Value::from_toml(value.get_ref());
                    entries.insert(name.get_ref().to_string(), value);
                }
                Value::Table(entries)
            }
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Value::List(elements) => Some(elements),
            _ => None,
        }
    }

    pub fn as_table(&self) -> Option<&BTreeMap<String, Value>> {
        match self {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The integer, if it is one of `N`.
    pub fn as_integer<N: TryFrom<i128>>(&self) -> Option<N> {
        match self {
            Value::Integer(number) => N::try_from(*number).ok(),
            _ => None,
        }
    }

    /// The number, with or without a point.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Value::Integer(number) => Some(*number as f64),
            Value::Float(number) => Some(*number),
            _ => None,
        }
    }
}

/// `inf` and `nan`, which are written out. Other numbers are infinite because no type can hold them.
fn is_word(number: &str) -> bool {
    number.ends_with(char::is_alphabetic)
}

#[cfg(test)]
impl Value {
    /// The one that is written so in TOML.
    pub fn written(text: &str) -> Value {
        Value::from_toml(DeValue::parse(text).unwrap().get_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_toml_says() {
        for (text, value) in [
            ("+1_000", Value::Integer(1000)),
            ("0xff", Value::Integer(255)),
            ("0o17", Value::Integer(15)),
            ("0b101", Value::Integer(5)),
            ("1_0.5e1", Value::Float(105.0)),
            ("-inf", Value::Float(f64::NEG_INFINITY)),
            ("1e999", Value::Other),
            ("9e99", Value::Float(9e99)),
            (&"9".repeat(50), Value::Other),
            ("1979-05-27", Value::Other),
        ] {
            assert_eq!(Value::written(text), value, "{text}");
        }
        assert!(matches!(Value::written("nan"), Value::Float(it) if it.is_nan()));
    }

    #[test]
    fn lists_and_tables_hold_values() {
        let table = Value::written("{ a = [true, { b = 'c' }] }");
        let inner = BTreeMap::from([("b".to_owned(), Value::Text("c".to_owned()))]);
        let list = Value::List(vec![Value::Bool(true), Value::Table(inner)]);
        assert_eq!(table.as_table().unwrap()["a"], list);
    }
}
