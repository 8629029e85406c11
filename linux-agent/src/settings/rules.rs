//! What the values of settings must be. Each function gives the value, or the rule that it breaks.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use mote_core::Interval;
use ureq::http::Uri;

use crate::plugin::is_plugin_name;
use crate::protocol::is_text;
use crate::toml_reader::Value;

pub fn integer<N: TryFrom<i128>>(
    value: &Value,
    min: i128,
    max: i128,
    unit: &str,
) -> Result<N, String> {
    value
        .as_integer()
        .filter(|number| (min..=max).contains(number))
        .and_then(|number| N::try_from(number).ok())
        .ok_or_else(|| format!("must be an integer from {min} to {max} ({unit})"))
}

pub fn seconds(value: &Value, min: f64, max: f64) -> Result<Duration, String> {
    value
        .as_number()
        .filter(|seconds| (min..=max).contains(seconds))
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| format!("must be a number from {min} to {max} (seconds)"))
}

pub fn path(value: &Value) -> Result<String, String> {
    value
        .as_str()
        .filter(|path| !path.is_empty() && !path.contains('\0'))
        .map(str::to_owned)
        .ok_or_else(|| "must be a path in quotes".into())
}

/// `None` for an empty path.
pub fn optional_path(value: &Value) -> Result<Option<String>, String> {
    match value.as_str() {
        Some("") => Ok(None),
        _ => path(value).map(Some),
    }
}

/// The name of a user. `None` for an empty one, which means `else_whom`.
pub fn user(value: &Value, else_whom: &str) -> Result<Option<String>, String> {
    match value.as_str() {
        Some("") => Ok(None),
        Some(name) if !name.contains(char::is_control) => Ok(Some(name.to_owned())),
        _ => Err(format!("must be the name of a user, or \"\" {else_whom}")),
    }
}

/// A command has so many texts at most, its path among them.
const MAX_WORDS: usize = 32;
/// None of them has more bytes.
const MAX_WORD: usize = 200;

pub fn plugin_names(value: &Value) -> Result<Vec<String>, String> {
    let names = value.as_list().and_then(|names| {
        names
            .iter()
            .map(Value::as_str)
            .map(|name| name.filter(|name| is_plugin_name(name)).map(str::to_owned))
            .collect()
    });
    names.ok_or_else(|| "must be a list of file names without `/` and without a leading dot".into())
}

pub fn plugin_name(value: &Value) -> Result<String, String> {
    let name = value.as_str().filter(|name| is_plugin_name(name));
    name.map(str::to_owned)
        .ok_or_else(|| "must be a name without `/` and without a leading dot".into())
}

pub fn command(value: &Value) -> Result<Vec<String>, String> {
    let is_word = |word: &&str| word.len() <= MAX_WORD && !word.contains('\0');
    let words: Option<Vec<String>> = value.as_list().and_then(|words| {
        let words = words.iter().map(Value::as_str);
        words
            .map(|it| it.filter(is_word).map(str::to_owned))
            .collect()
    });
    words
        .filter(|it| (1..=MAX_WORDS).contains(&it.len()))
        .filter(|it| it.first().is_some_and(|path| path.starts_with('/')))
        .ok_or_else(|| {
            format!(
                "must be an absolute path and what stands behind it, like [\"/usr/lib/nagios/plugins/check_disk\", \
                 \"-w\", \"10%\"]: at most {MAX_WORDS} texts of at most {MAX_WORD} bytes"
            )
        })
}

pub fn one_of<T: Copy>(value: &Value, choices: &[(&str, T)]) -> Result<T, String> {
    let choice = choices
        .iter()
        .find(|(name, _)| value.as_str() == Some(name));
    choice.map(|(_, choice)| *choice).ok_or_else(|| {
        let names: Vec<_> = choices
            .iter()
            .map(|(name, _)| format!("{name:?}"))
            .collect();
        format!("must be {}", names.join(" or "))
    })
}

/// As [`one_of`], in capital or small letters.
pub fn method<T: Copy>(value: &Value, choices: &[(&str, T)]) -> Result<T, String> {
    match value {
        Value::Text(text) => one_of(&Value::Text(text.to_ascii_uppercase()), choices),
        other => one_of(other, choices),
    }
}

/// The name of a field of a report.
pub fn field_name(value: &Value) -> Result<String, String> {
    value
        .as_str()
        .filter(|name| !name.is_empty() && is_text(name, MAX_FIELD_NAME))
        .map(str::to_owned)
        .ok_or_else(|| {
            format!("must be a name of 1 to {MAX_FIELD_NAME} bytes without control characters")
        })
}

/// The longest name of a field of a report, in bytes.
const MAX_FIELD_NAME: usize = 64;

pub fn url(value: &Value) -> Result<String, String> {
    let text = value.as_str();
    address(text.ok_or(NO_ADDRESS)?)
}

const NO_ADDRESS: &str =
    "must be an address like \"http://127.0.0.1:9000\", without a user, `?` or `#`";

/// The address of a server, without slashes at its end.
pub fn address(text: &str) -> Result<String, String> {
    let rule = NO_ADDRESS;
    if text.contains(['@', '?', '#']) {
        return Err(rule.into());
    }
    let uri: Uri = text.parse().map_err(|_| rule)?;
    if uri.scheme_str() == Some("https") && !cfg!(feature = "tls") {
        return Err("must start with http://, since this build speaks no TLS".into());
    }
    let authority = uri.authority().ok_or(rule)?;
    // What follows the host is nothing or a colon and a valid port.
    let rest = authority.as_str().strip_prefix(authority.host());
    let port_is_valid = rest.is_some_and(|rest| rest.is_empty() || authority.port_u16() > Some(0));
    if !matches!(uri.scheme_str(), Some("http" | "https"))
        || authority.host().is_empty()
        || !port_is_valid
    {
        return Err(rule.into());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

pub fn url_path(value: &Value) -> Result<String, String> {
    value
        .as_str()
        .filter(|path| !path.trim_matches('/').is_empty())
        .filter(|path| path.bytes().all(|byte| byte.is_ascii_graphic()))
        .filter(|path| !path.contains(['?', '#']))
        .map(str::to_owned)
        .ok_or_else(|| "must be a path of visible ASCII characters without `?` or `#`".into())
}

pub fn services_document(value: &Value) -> Result<String, String> {
    let rule = r#"must be a table like { LinuxCPU = ["get_linux_cpu", 15] }"#;
    let table = value.as_table().ok_or(rule)?;
    let mut services = serde_json::Map::new();
    for (name, service) in table {
        let value = json(service).ok_or_else(|| {
            if has_impossible_interval(service) {
                let (min, max) = (Interval::MIN, Interval::MAX);
                format!("must give {name:?} an interval that is a number from {min} to {max}")
            } else {
                rule.to_owned()
            }
        })?;
        services.insert(name.clone(), value);
    }
    Ok(serde_json::json!({ "services": services }).to_string())
}

/// Whether only the interval cannot be written in JSON. Other intervals are checked when the document is read.
fn has_impossible_interval(service: &Value) -> bool {
    let mut values = service.as_list().into_iter().flatten();
    let is_possible = |value: &Value| json(value).is_some();
    values.next().is_some_and(is_possible) && values.next().is_some_and(|it| !is_possible(it))
}

/// `None` for what JSON cannot hold: dates, infinities and integers beyond 64 bits.
fn json(value: &Value) -> Option<serde_json::Value> {
    Some(match value {
        Value::Text(text) => text.as_str().into(),
        Value::Integer(number) => i64::try_from(*number).ok()?.into(),
        Value::Float(number) => serde_json::Number::from_f64(*number)?.into(),
        Value::Bool(truth) => (*truth).into(),
        Value::Other => return None,
        Value::List(values) => values.iter().map(json).collect::<Option<Vec<_>>>()?.into(),
        Value::Table(table) => {
            let mut object = serde_json::Map::new();
            for (name, value) in table {
                object.insert(name.clone(), json(value)?);
            }
            object.into()
        }
    })
}

/// `path` seen from `folder`. Each leading `..` takes one name off the folder, which is right because
/// the folder holds no symbolic links any more.
pub fn below(folder: &Path, path: &str) -> PathBuf {
    let mut result = folder.to_owned();
    let mut rest = Path::new(path).components();
    loop {
        let here = rest.clone();
        match rest.next() {
            Some(Component::CurDir) => {}
            Some(Component::ParentDir) => {
                result.pop();
            }
            _ => return result.join(here.as_path()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        Value::written(text)
    }

    #[test]
    fn numbers_keep_their_bounds() {
        let within = |text| integer(&value(text), 2, 5, "bytes");
        assert_eq!((within("2"), within("0b101")), (Ok(2), Ok(5)));
        for text in ["1", "6", "-2", "3.0", "\"3\"", "99999999999999999999"] {
            let rule = "must be an integer from 2 to 5 (bytes)".to_owned();
            assert_eq!(within(text), Err(rule), "{text}");
        }
        let within = |text| seconds(&value(text), 0.1, 5.0);
        assert_eq!(within("0.1"), Ok(Duration::from_millis(100)));
        assert_eq!(within("5"), Ok(Duration::from_secs(5)));
        for text in ["0.09", "5.01", "-1", "nan", "inf", "\"1\"", "1e400"] {
            let rule = "must be a number from 0.1 to 5 (seconds)".to_owned();
            assert_eq!(within(text), Err(rule), "{text}");
        }
    }

    #[test]
    fn addresses() {
        let taken = |text: &str| url(&Value::Text(text.to_owned()));
        for (text, expected) in [
            ("http://h", "http://h"),
            ("http://127.0.0.1:9000/", "http://127.0.0.1:9000"),
            ("http://[::1]:9000/base/", "http://[::1]:9000/base"),
            ("http://h:65535", "http://h:65535"),
        ] {
            assert_eq!(taken(text), Ok(expected.to_owned()));
        }
        assert_eq!(
            taken("https://h/"),
            match cfg!(feature = "tls") {
                true => Ok("https://h".to_owned()),
                false => Err("must start with http://, since this build speaks no TLS".to_owned()),
            }
        );
        let rule = "must be an address like \"http://127.0.0.1:9000\", without a user, `?` or `#`";
        for text in [
            "",
            "h",
            "h:9000",
            "/h",
            "http://",
            "http:///a",
            "http://:80",
            "ftp://h",
            "http://h:0",
            "http://h:",
            "http://h:65536",
            "http://h:x",
            "http://u:p@h",
            "http://h/a?b",
            "http://h/a#b",
            "http://a b",
            "http://[::1",
        ] {
            assert_eq!(taken(text), Err(rule.to_owned()), "{text}");
        }
        assert_eq!(url(&value("1")), Err(rule.to_owned()));
    }

    #[test]
    fn paths_of_addresses() {
        assert_eq!(url_path(&value("\"/a/b/\"")), Ok("/a/b/".to_owned()));
        for text in [
            "\"\"", "\"/\"", "\"a b\"", "\"a?b\"", "\"a#b\"", "\"ä\"", "1",
        ] {
            let rule = "must be a path of visible ASCII characters without `?` or `#`".to_owned();
            assert_eq!(url_path(&value(text)), Err(rule), "{text}");
        }
    }

    #[test]
    fn paths_and_names_of_files() {
        assert_eq!(path(&value("'../a'")), Ok("../a".to_owned()));
        for text in ["''", "\"a\\u0000\"", "1"] {
            assert_eq!(
                path(&value(text)),
                Err("must be a path in quotes".to_owned())
            );
        }
        assert_eq!(
            plugin_names(&value("['a', 'b.sh']")),
            Ok(vec!["a".to_owned(), "b.sh".to_owned()])
        );
        for text in ["'a'", "['a', 1]", "['a/b']", "['.a']", "['']"] {
            let rule = "must be a list of file names without `/` and without a leading dot";
            assert_eq!(plugin_names(&value(text)), Err(rule.to_owned()), "{text}");
        }
    }

    #[test]
    fn services_become_a_server_s_document() {
        assert_eq!(
            services_document(&value("{ A = ['b', 0x10, true], C = { d = -0.5 } }")),
            Ok(r#"{"services":{"A":["b",16,true],"C":{"d":-0.5}}}"#.to_owned())
        );
        for text in ["[]", "{ A = [inf, 1] }", "{ A = 1979-05-27 }"] {
            let rule = r#"must be a table like { LinuxCPU = ["get_linux_cpu", 15] }"#;
            assert_eq!(
                services_document(&value(text)),
                Err(rule.to_owned()),
                "{text}"
            );
        }
        for interval in ["nan", "-inf", "1979-05-27", "99999999999999999999"] {
            let text = format!("{{ B = ['b', 1], A = ['b', {interval}] }}");
            let rule = "must give \"A\" an interval that is a number from 0.1 s to 604800 s";
            assert_eq!(
                services_document(&value(&text)),
                Err(rule.to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn relative_paths_start_at_the_folder() {
        for (relative, expected) in [
            ("var", "/x/conf/var"),
            ("./var", "/x/conf/var"),
            ("../var", "/x/var"),
            ("../../../../var", "/var"),
            ("/var/a", "/var/a"),
            // What `link` is, only the file system knows.
            ("link/../var", "/x/conf/link/../var"),
        ] {
            assert_eq!(below(Path::new("/x/conf"), relative), Path::new(expected));
        }
    }
}
