use super::*;
use std::borrow::ToOwned;
use std::format;
use std::string::{String as StdString, ToString};
use std::vec::Vec as StdVec;

type Small = Config<StdString, 3, 12>;

fn parse(document: &str) -> Result<Small, StdString> {
    Small::parse(document.as_bytes(), |name| name.to_owned()).map_err(|error| error.to_string())
}

fn listed(document: &str) -> StdVec<(StdString, StdString, u32)> {
    parse(document)
        .unwrap()
        .services()
        .iter()
        .map(|it| {
            (
                it.name.as_str().to_owned(),
                it.plugin.clone(),
                it.interval.as_millis(),
            )
        })
        .collect()
}

#[test]
fn reads_what_a_server_sends() {
    let document = r#" {"id": [1, {"a": null}], "services": {"CPU": ["get_cpu", 15],
        "Mem\u00f6\ud83d\ude00": [ "get_mem" , 60, "echo", {"x": [1]}]}, "more": "say \"hi\" \\"} "#;
    assert_eq!(
        listed(document),
        [
            ("CPU".to_owned(), "get_cpu".to_owned(), 15_000),
            ("Memö😀".to_owned(), "get_mem".to_owned(), 60_000)
        ]
    );
}

#[test]
fn no_services_is_an_order() {
    assert_eq!(listed(r#"{"\u0073ervices": {}}"#), []);
    assert_eq!(listed(r#"{"services": {}}"#), []);
}

#[test]
fn intervals_may_have_decimals() {
    assert_eq!(
        listed(r#"{"services":{"A":["p" ,	0.25 ],"B":["p",1e1,7]}}"#),
        [
            ("A".to_owned(), "p".to_owned(), 250),
            ("B".to_owned(), "p".to_owned(), 10_000)
        ]
    );
}

#[test]
fn each_fault_names_the_service_and_the_limit() {
    let bounds = "the interval must be a number from 0.1 s to 604800 s";
    let shape = "must be [plugin name, interval in seconds]";
    let plugin = "the plugin's name must be text of 1 to 12 bytes without control characters";
    for (services, sentence) in [
        (r#""A":["p",0]"#, format!("service \"A\": {bounds}")),
        (r#""A":["p",-5]"#, format!("service \"A\": {bounds}")),
        (r#""A":["p",604801]"#, format!("service \"A\": {bounds}")),
        (r#""A":["p","15"]"#, format!("service \"A\": {bounds}")),
        (r#""A":["p",015]"#, format!("service \"A\": {bounds}")),
        (r#""A":["p",1 5]"#, format!("service \"A\": {bounds}")),
        (r#""A":["p",[15]]"#, format!("service \"A\": {bounds}")),
        (r#""A":["p",null]"#, format!("service \"A\": {bounds}")),
        (
            r#""A":["p",99999999999]"#,
            format!("service \"A\": {bounds}"),
        ),
        (r#""A":["p"]"#, format!("service \"A\": {shape}")),
        (r#""A":[15,"p"]"#, format!("service \"A\": {shape}")),
        (r#""A":"p""#, format!("service \"A\": {shape}")),
        (r#""A":{}"#, format!("service \"A\": {shape}")),
        (r#""A":["",1]"#, format!("service \"A\": {plugin}")),
        (r#""A":["p\n",1]"#, format!("service \"A\": {plugin}")),
        (
            r#""A":["abcdefghijklm",1]"#,
            format!("service \"A\": {plugin}"),
        ),
        (
            r#""abcdefghijklm":["p",1]"#,
            "service \"abcdefghijkl\": the service's name must be text of 1 to 12 bytes without control characters".into(),
        ),
        (
            r#""A":["p",1],"A":["p",1]"#,
            "service \"A\": named twice".into(),
        ),
        (
            r#""A":["p",1],"B":["p",1],"C":["p",1],"D":["p",1]"#,
            "service \"D\": one more than the 3 services there is room for".into(),
        ),
    ] {
        let document = format!("{{\"services\":{{{services}}}}}");
        assert_eq!(parse(&document).unwrap_err(), sentence, "{document}");
    }
}

#[test]
fn what_is_no_document_says_so() {
    for (document, sentence) in [
        ("", "not a services document in JSON"),
        ("<html>", "not a services document in JSON"),
        ("[]", "not a services document in JSON"),
        ("{}", "the document has no `services` object"),
        (r#"{"services": null}"#, "not a services document in JSON"),
        (r#"{"services": []}"#, "not a services document in JSON"),
        (r#"{"services": {}} x"#, "not a services document in JSON"),
        (
            r#"{"services": {}, "services": {}}"#,
            "the document has two `services` objects",
        ),
        (r#"{"services": {"#, "not a services document in JSON"),
        (
            "{\"services\": {\"\u{1}\": 1}}",
            "service \"\\u{1}\": the service's name must be text of 1 to 12 bytes without control characters",
        ),
    ] {
        assert_eq!(parse(document).unwrap_err(), sentence, "{document}");
    }
}

#[test]
fn deep_nesting_is_refused_before_it_is_parsed() {
    let deep = format!("{{\"x\": {}", "[".repeat(100_000));
    assert_eq!(
        parse(&deep).unwrap_err(),
        "the document nests deeper than 8"
    );
    let in_a_string = format!("{{\"x\": \"\\\"{}\", \"services\": {{}}}}", "[".repeat(100));
    assert!(parse(&in_a_string).is_ok());
}

#[test]
fn every_cut_of_a_document_is_refused() {
    let document = r#"{"services":{"CPU":["get_cpu",15],"M":["get_mem",60]}}"#;
    for cut in 0..document.len() {
        assert!(parse(&document[..cut]).is_err(), "cut at {cut}");
    }
}

#[test]
fn junk_never_panics() {
    let mut runner = proptest::test_runner::TestRunner::default();
    let bytes = proptest::collection::vec(proptest::num::u8::ANY, 0..200);
    runner
        .run(&bytes, |bytes| {
            let _ = Small::parse(&bytes, |name| name.to_owned());
            Ok(())
        })
        .unwrap();
}
