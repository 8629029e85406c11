//! Reports as the fields of a form.

use serde::Deserialize;
use serde_json::value::RawValue;

/// An encoded report as the fields of a form, for servers that read those.
pub fn form_encoded(report: &[u8]) -> Vec<u8> {
    let Ok(fields) = serde_json::from_slice::<Fields<'_>>(report) else {
        // Reports are our own JSON; one that is not would be refused by any server.
        return Vec::new();
    };
    let mut form = form_urlencoded::Serializer::new(String::new());
    for (name, value) in [
        ("client_id", Some(fields.client_id)),
        ("service_name", Some(fields.service_name)),
        ("data", Some(fields.data)),
        ("time", fields.time),
        ("boot", fields.boot),
        ("uptime", fields.uptime),
        ("age", fields.age),
        ("seq", Some(fields.seq)),
    ] {
        let Some(json) = value.map(RawValue::get) else {
            continue;
        };
        match serde_json::from_str::<String>(json) {
            Ok(text) => form.append_pair(name, &text),
            Err(_) => form.append_pair(name, json),
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
    age: Option<&'a RawValue>,
    #[serde(borrow)]
    seq: &'a RawValue,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_holds_the_same_values() {
        let report = br#"{"client_id":"web 1","service_name":"N\u00f6t","data":{"status":0,"a":"x&y"},"time":1.5,"boot":"b","seq":7}"#;
        let form = form_encoded(report);
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
        let of_a_board = br#"{"client_id":7,"service_name":"N","data":{"status":0},"uptime":9,"age":3,"seq":0,"time":5.250,"boot":"b"}"#;
        let form = String::from_utf8(form_encoded(of_a_board)).unwrap();
        assert!(
            form.ends_with("&time=5.250&boot=b&uptime=9&age=3&seq=0"),
            "{form}"
        );
    }
}
