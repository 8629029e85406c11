//! What checks of the Nagios kind print, as fields of a report.
//!
//! A check ends with 0 (OK), 1 (WARNING), 2 (CRITICAL) or 3 (UNKNOWN). The first line of its output is for people. Behind a
//! `|` there, and behind the first one of the lines that follow, stands performance data: one
//! `'label'=value[unit];[warn];[crit];[min];[max]` after the other (Monitoring Plugins Development Guidelines, "Performance
//! data").

use serde_json::{Map, Number, Value};

/// The state UNKNOWN: the check could not find out.
pub const UNKNOWN: i32 = 3;

/// The states that a check may end with.
pub fn is_state(code: i32) -> bool {
    (0..=UNKNOWN).contains(&code)
}

/// `state` and `text`, and under `data` one item a label, if there is performance data.
pub fn fields(state: i32, output: &[u8]) -> Map<String, Value> {
    let output = String::from_utf8_lossy(output);
    let (first, rest) = output.split_once('\n').unwrap_or((&output, ""));
    let (text, performance) = first.split_once('|').unwrap_or((first, ""));
    let (_, more) = rest.split_once('|').unwrap_or_default();
    let mut fields = Map::new();
    fields.insert("state".to_owned(), state.into());
    fields.insert("text".to_owned(), text.trim().into());
    let mut items = Map::new();
    items.extend(Items(performance).chain(Items(more)));
    if !items.is_empty() {
        fields.insert("data".to_owned(), items.into());
    }
    fields
}

/// The items of performance data, without those that do not have its form.
struct Items<'a>(&'a str);

impl Iterator for Items<'_> {
    type Item = (String, Value);

    fn next(&mut self) -> Option<(String, Value)> {
        loop {
            self.0 = self.0.trim_start();
            if self.0.is_empty() {
                return None;
            }
            let label = self.label();
            let end = self.0.find(char::is_whitespace).unwrap_or(self.0.len());
            let (values, rest) = self.0.split_at(end);
            self.0 = rest;
            if let (Some(label), Some(values)) = (label, values.strip_prefix('='))
                && let Some(item) = item(values)
            {
                return Some((label, item));
            }
        }
    }
}

impl Items<'_> {
    /// Takes the label before `=`. In quotes it may hold anything, a quote as two.
    fn label(&mut self) -> Option<String> {
        let Some(quoted) = self.0.strip_prefix('\'') else {
            let end = self.0.find(|it: char| it == '=' || it.is_whitespace())?;
            let (label, rest) = self.0.split_at(end);
            self.0 = rest;
            return Some(label.to_owned()).filter(|it| !it.is_empty());
        };
        let mut label = String::new();
        let mut rest = quoted;
        loop {
            let Some((part, behind)) = rest.split_once('\'') else {
                self.0 = "";
                return None;
            };
            label.push_str(part);
            rest = behind;
            match behind.strip_prefix('\'') {
                Some(behind) => {
                    label.push('\'');
                    rest = behind;
                }
                None => break,
            }
        }
        self.0 = rest;
        Some(label).filter(|it| !it.is_empty())
    }
}

/// `value`, `unit`, `min` and `max` as numbers and text, `warn` and `crit` as ranges in the form of the guidelines.
fn item(values: &str) -> Option<Value> {
    let mut parts = values.split(';');
    let first = parts.next().unwrap_or_default();
    let mut item = Map::new();
    // `U` means that the value is unknown.
    if first != "U" {
        let end = first
            .find(|it: char| !matches!(it, '0'..='9' | '+' | '-' | '.' | ','))
            .unwrap_or(first.len());
        let (value, unit) = exponent(first).unwrap_or_else(|| first.split_at(end));
        if unit.contains(is_no_unit) {
            return None;
        }
        item.insert("value".to_owned(), number(value)?.into());
        if !unit.is_empty() {
            item.insert("unit".to_owned(), unit.into());
        }
    }
    for (name, part) in ["warn", "crit", "min", "max"].into_iter().zip(parts) {
        let is_range = matches!(name, "warn" | "crit");
        let value = match is_range {
            true => Some(Value::from(part)).filter(|_| !part.is_empty()),
            false => number(part).map(Value::from),
        };
        item.extend(value.map(|value| (name.to_owned(), value)));
    }
    Some(item.into())
}

/// A unit is "a string of zero or more characters, NOT including numbers, semicolons, or quotes". Else these are words
/// of a text with a `|` in it.
fn is_no_unit(letter: char) -> bool {
    matches!(letter, '0'..='9' | '\'' | '"')
}

/// Splits a number with an exponent, such as `1.2e-05s`, from its unit.
fn exponent(text: &str) -> Option<(&str, &str)> {
    let at = text.find(['e', 'E'])?;
    let digits = text.get(at + 1..)?.trim_start_matches(['+', '-']);
    let count = digits
        .find(|it: char| !it.is_ascii_digit())
        .unwrap_or(digits.len());
    if count == 0 || number(text.get(..at)?).is_none() {
        return None;
    }
    Some(text.split_at(text.len() - digits.len() + count))
}

/// With its own digits where JSON can write them so. A decimal comma comes from checks that ignore `LC_ALL`.
fn number(text: &str) -> Option<Number> {
    let text = text.replace(',', ".");
    serde_json::from_str(&text).ok().or_else(|| {
        let value = text.parse::<f64>().ok()?;
        Number::from_f64(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(output: &str) -> Value {
        Value::Object(fields(0, output.as_bytes()))
    }

    #[test]
    fn text_and_performance_data_become_fields() {
        // What check_disk and check_load of Debian's monitoring-plugins print.
        assert_eq!(
            of("DISK OK - free space: / 81221 MiB (34%);| /=156372MiB;221915;234245;0;246574\n"),
            json!({
                "state": 0,
                "text": "DISK OK - free space: / 81221 MiB (34%);",
                "data": {"/": {"value": 156372, "unit": "MiB", "warn": "221915", "crit": "234245", "min": 0, "max": 246574}},
            })
        );
        assert_eq!(
            of(
                "LOAD OK - total load average: 0.24, 0.06, 0.02|load1=0.240;5.000;10.000;0; load5=0.060;4.000;6.000;0; "
            ),
            json!({
                "state": 0,
                "text": "LOAD OK - total load average: 0.24, 0.06, 0.02",
                "data": {
                    "load1": {"value": 0.240, "warn": "5.000", "crit": "10.000", "min": 0},
                    "load5": {"value": 0.060, "warn": "4.000", "crit": "6.000", "min": 0},
                },
            })
        );
    }

    #[test]
    fn performance_data_goes_on_in_the_lines_that_follow() {
        let output = "DISK OK - free space|/=2643MB;5948;5958;0;5968\n/ 15272 MB (77%);\n/boot 68 MB (69%);\n\
                      / 15272 MB|/boot=68MB;88;93;0;98\n/home=69357MB;253404;253409;0;253414\n";
        let fields = of(output);
        assert_eq!(fields["text"], "DISK OK - free space");
        let labels: Vec<_> = fields["data"].as_object().unwrap().keys().collect();
        assert_eq!(labels, ["/", "/boot", "/home"]);
        assert_eq!(fields["data"]["/home"]["max"], 253_414);
    }

    #[test]
    fn labels_units_ranges_and_unknown_values_are_understood() {
        let data = |text: &str| of(&format!("x|{text}"))["data"].clone();
        assert_eq!(data("'a b'=1"), json!({"a b": {"value": 1}}));
        assert_eq!(
            data("'it''s = 1'=2%"),
            json!({"it's = 1": {"value": 2, "unit": "%"}})
        );
        assert_eq!(
            data("time=0.002722s;;;0.000000"),
            json!({"time": {"value": 0.002722, "unit": "s", "min": 0.0}})
        );
        assert_eq!(
            data("a=5;@1:2;~:10;;"),
            json!({"a": {"value": 5, "warn": "@1:2", "crit": "~:10"}})
        );
        assert_eq!(data("a=U;1"), json!({"a": {"warn": "1"}}));
        assert_eq!(
            data("a=-.5c b=+3 c=1.5e-05s d=2E3"),
            json!({
                "a": {"value": -0.5, "unit": "c"},
                "b": {"value": 3.0},
                "c": {"value": 1.5e-05, "unit": "s"},
                "d": {"value": 2e3},
            })
        );
        assert_eq!(data("a=1,5s"), json!({"a": {"value": 1.5, "unit": "s"}}));
        // A unit that begins like an exponent.
        assert_eq!(data("a=3eggs"), json!({"a": {"value": 3, "unit": "eggs"}}));
    }

    #[test]
    fn what_has_not_the_form_is_left_out_and_nothing_else() {
        let data = |text: &str| of(&format!("x|{text}"))["data"].clone();
        assert_eq!(
            data("nonsense a=1 =2 b= c=x d=4"),
            json!({"a": {"value": 1}, "d": {"value": 4}})
        );
        // Of checks that are asked for a text with a `|`, such as check_procs -C 'x|a=1'.
        assert_eq!(data("a=1' b=2\" c=3d4 d=5"), json!({"d": {"value": 5}}));
        assert_eq!(data("'never closed=1"), Value::Null);
        assert_eq!(data(""), Value::Null);
        assert_eq!(of(""), json!({"state": 0, "text": ""}));
        assert_eq!(of("\u{fffd}\n"), json!({"state": 0, "text": "\u{fffd}"}));
    }
}
