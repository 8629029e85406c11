//! Reports as bodies of requests.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::settings::{Encoding, FieldNames};

/// The body that carries a report, with the fields' names that the server wants. Empty for what is no report of ours,
/// which any server would refuse.
pub fn body_of<'r>(report: &'r [u8], encoding: Encoding, names: &FieldNames) -> Cow<'r, [u8]> {
    let fields = || serde_json::from_slice::<Fields<'r>>(report);
    match encoding {
        Encoding::Json if names.are_usual() => report.into(),
        Encoding::Json => fields()
            .map_or_else(|_| Vec::new(), |it| json(&it, names))
            .into(),
        Encoding::Form => fields()
            .map_or_else(|_| Vec::new(), |it| form(&it, names))
            .into(),
    }
}

fn json(fields: &Fields<'_>, names: &FieldNames) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, json) in fields.given() {
        body.push(if body.is_empty() { b'{' } else { b',' });
        let name = serde_json::Value::from(names.of(name)).to_string();
        body.extend_from_slice(name.as_bytes());
        body.push(b':');
        body.extend_from_slice(json.as_bytes());
    }
    body.push(b'}');
    body
}

fn form(fields: &Fields<'_>, names: &FieldNames) -> Vec<u8> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    for (name, json) in fields.given() {
        match serde_json::from_str::<String>(json) {
            Ok(text) => form.append_pair(names.of(name), &text),
            Err(_) => form.append_pair(names.of(name), json),
        };
    }
    form.finish().into_bytes()
}

/// The report's fields as JSON text; `data` stays as it is.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    client_id: &'a RawValue,
    #[serde(borrow)]
    service_name: &'a RawValue,
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(borrow)]
    time: Option<&'a RawValue>,
    #[serde(borrow)]
    boot: Option<&'a RawValue>,
    #[serde(borrow)]
    uptime: Option<&'a RawValue>,
    #[serde(borrow)]
    uptime_ms: Option<&'a RawValue>,
    #[serde(borrow)]
    age: Option<&'a RawValue>,
    #[serde(borrow)]
    seq: &'a RawValue,
}

impl<'a> Fields<'a> {
    /// Each field that is there, as JSON text.
    fn given(&self) -> impl Iterator<Item = (&'static str, &'a str)> {
        [
            ("client_id", Some(self.client_id)),
            ("service_name", Some(self.service_name)),
            ("data", Some(self.data)),
            ("time", self.time),
            ("boot", self.boot),
            ("uptime", self.uptime),
            ("uptime_ms", self.uptime_ms),
            ("age", self.age),
            ("seq", Some(self.seq)),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?.get())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use std::path::Path;

    fn form_encoded(report: &[u8], names: &FieldNames) -> Vec<u8> {
        body_of(report, Encoding::Form, names).into_owned()
    }

    fn names(fields: &str) -> FieldNames {
        let text = format!(
            "client_id = 1\n[server]\nurl = 'http://h'\nservice_report.fields = {fields}\n"
        );
        let settings = Settings::parse(Path::new("a"), Path::new("/"), &text, &[]).unwrap();
        settings.server().unwrap().field_names.clone()
    }

    #[test]
    fn fields_have_the_names_that_the_server_wants_in_both_encodings() {
        let names =
            names("{ client_id = 'client_ip', service_name = 'a \"b\"', seq = 'client_id' }");
        let report = br#"{"client_id":"10.0.0.1","service_name":"N","data":{"client_id":1.50},"time":1.500,"boot":"b","seq":7}"#;
        let json = body_of(report, Encoding::Json, &names);
        assert_eq!(
            str::from_utf8(&json).unwrap(),
            r#"{"client_ip":"10.0.0.1","a \"b\"":"N","data":{"client_id":1.50},"time":1.500,"boot":"b","client_id":7}"#
        );
        let form = form_encoded(report, &names);
        let pairs: Vec<(String, String)> = form_urlencoded::parse(&form).into_owned().collect();
        let keys: Vec<&str> = pairs.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(
            keys,
            ["client_ip", "a \"b\"", "data", "time", "boot", "client_id"]
        );
        let usual = FieldNames::default();
        assert_eq!(&*body_of(report, Encoding::Json, &usual), report);
        assert!(body_of(b"not a report", Encoding::Json, &names).is_empty());
    }

    #[test]
    fn a_form_holds_the_same_values() {
        let report = br#"{"client_id":"web 1","service_name":"N\u00f6t","data":{"status":0,"a":"x&y"},"time":1.5,"boot":"b","seq":7}"#;
        let form = form_encoded(report, &FieldNames::default());
        let pairs: Vec<(String, String)> = form_urlencoded::parse(&form).into_owned().collect();
        let expected = [
            ("client_id", "web 1"),
            ("service_name", "Nöt"),
            ("data", r#"{"status":0,"a":"x&y"}"#),
            ("time", "1.5"),
            ("boot", "b"),
            ("seq", "7"),
        ];
        assert_eq!(
            pairs,
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        let of_a_board = br#"{"client_id":7,"service_name":"N","data":{"status":0},"uptime":9,"uptime_ms":9250,"age":3,"seq":0,"time":5.250,"boot":"b"}"#;
        let form = String::from_utf8(form_encoded(of_a_board, &FieldNames::default())).unwrap();
        assert!(
            form.ends_with("&time=5.250&boot=b&uptime=9&uptime_ms=9250&age=3&seq=0"),
            "{form}"
        );
    }
}
