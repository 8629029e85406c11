use super::*;

fn json(body: &str) -> Result<Report, Invalid> {
    Report::parse(body.as_bytes())
}

fn with_data(data: &str) -> Result<Report, Invalid> {
    json(&format!(
        r#"{{"client_id":1,"service_name":"a","data":{data}}}"#
    ))
}

#[test]
fn the_first_character_decides() {
    let body = r#"{"client_id":1,"service_name":"a","data":{}}"#;
    for before in ["", " ", "\r\n\t "] {
        assert!(json(&format!("{before}{body}")).is_ok());
    }
    for body in ["", "\u{feff}{}", "[]", "x", "=", "\"{}\""] {
        let told = json(body).unwrap_err().to_string();
        let begins = "the body is neither a report as a JSON object nor one as form fields; ";
        assert!(told.starts_with(begins), "{told}");
    }
}

#[test]
fn both_encodings_say_the_same() {
    let json = json(
        r#"{"client_id": 7, "service_name": "Net é+&", "data": {"b": 1.50, "a": "x"},
            "time": 1795339484.886, "boot": "b 1", "seq": 17, "more": [1]}"#,
    )
    .unwrap();
    let form = Report::parse(
        b"client_id=7&service_name=Net+%C3%A9%2B%26&data=%7B%22b%22%3A+1.50%2C+%22a%22%3A+%22x%22%7D\
          &time=1795339484.886&boot=b+1&seq=17&more=1",
    )
    .unwrap();
    for report in [json, form] {
        assert_eq!(report.client_id, ClientName::Number(7));
        assert_eq!(report.service_name, "Net é+&");
        assert_eq!(report.data.get(), r#"{"b": 1.50, "a": "x"}"#);
        assert_eq!(report.time, Some(1_795_339_484.886));
        assert_eq!(report.boot.as_deref(), Some("b 1"));
        assert_eq!(report.seq, Some(17));
    }
}

#[test]
fn older_clients_and_boards_say_less() {
    let old = json(r#"{"client_id":"web","service_name":"a","data":{}}"#).unwrap();
    assert_eq!(old.client_id, ClientName::Name("web".to_owned()));
    assert_eq!((old.time, old.boot, old.seq), (None, None, None));
    let board =
        json(r#"{"client_id":7,"service_name":"a","data":{},"uptime":3600,"seq":0}"#).unwrap();
    assert_eq!((board.uptime, board.seq), (Some(3600.0), Some(0)));
}

#[test]
fn a_number_and_its_text_are_one_client() {
    let client = |id| {
        json(&format!(
            r#"{{"client_id":{id},"service_name":"a","data":{{}}}}"#
        ))
    };
    assert_eq!(client("7").unwrap().client_id, ClientName::Number(7));
    assert_eq!(client("\"7\"").unwrap().client_id, ClientName::Number(7));
}

#[test]
fn an_array_is_no_report() {
    let values = r#"1,"a",{},1.5,1.5,"b",0"#;
    for body in [format!("[{values}]"), format!(" \n[{values}]")] {
        let told = json(&body).unwrap_err().to_string();
        assert!(told.starts_with("the body is neither"), "{told}");
    }
}

#[test]
fn the_error_in_the_data_is_found() {
    let error = |data| with_data(data).unwrap().error;
    let data = r#"{"status":1,"error":"\"x\" is not"}"#;
    assert_eq!(error(data).as_deref(), Some("\"x\" is not"));
    assert_eq!(error(r#"{"error":1}"#), None);
    assert_eq!(error("{}"), None);
}

#[test]
fn data_is_an_object_of_finite_numbers() {
    for data in [
        "[]",
        "1",
        "null",
        "\"{}\"",
        "{",
        "{\"a\":NaN}",
        "{\"a\":Infinity}",
        "{\"a\":1e999}",
        "{\"a\":01}",
        "{\"a\":1,}",
    ] {
        assert!(with_data(data).is_err(), "{data}");
    }
    assert!(with_data("{\"a\":1e308}").is_ok());
}

#[test]
fn depth_is_limited_in_data_and_skipped_elsewhere() {
    let nested = |depth| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert!(with_data(&nested(100)).is_ok());
    let told = with_data(&nested(100_000)).unwrap_err().to_string();
    assert!(told.starts_with("data is no JSON at line 1, "), "{told}");
    let elsewhere = nested(100_000);
    let body = format!(r#"{{"client_id":1,"service_name":"a","data":{{}},"more":{elsewhere}}}"#);
    assert!(json(&body).is_ok());
}

#[test]
fn times_end_with_the_year_9999() {
    let at = |time: &str| {
        let form = format!("client_id=1&service_name=a&data={{}}&time={time}");
        let form = Report::parse(form.as_bytes());
        let body = format!(r#"{{"client_id":1,"service_name":"a","data":{{}},"time":{time}}}"#);
        assert_eq!(json(&body).is_ok(), form.is_ok(), "{time}");
        json(&body).map(|report| report.time)
    };
    for time in ["0", "0.0", "1795339484.886", "253402300799"] {
        assert_eq!(at(time), Ok(time.parse().ok()));
    }
    for time in [
        "-0.001",
        "-1795339484",
        "253402300800",
        "1795339484886",
        "1e300",
    ] {
        assert_eq!(
            at(time).unwrap_err().to_string(),
            "time is not within 0 to 253402300799 s since 1970-01-01 00:00 UTC",
            "{time}"
        );
    }
}

#[test]
fn a_number_that_no_run_reaches_is_refused() {
    let with = |seq: i64| {
        json(&format!(
            r#"{{"client_id":1,"service_name":"a","data":{{}},"seq":{seq}}}"#
        ))
    };
    assert_eq!(
        with(1_099_511_627_775).unwrap().seq,
        Some(1_099_511_627_775)
    );
    for seq in [-1, 1_099_511_627_776, i64::MAX] {
        assert_eq!(
            with(seq).unwrap_err().to_string(),
            "seq is not within 0 to 1099511627775; number the reports of a run from 0"
        );
    }
}

#[test]
fn the_longest_service_name_of_an_agent_is_taken() {
    let name = "ü".repeat(99) + "/x";
    assert_eq!(name.len(), MAX_NAME);
    let body = format!(r#"{{"client_id":1,"service_name":"{name}","data":{{}}}}"#);
    assert_eq!(json(&body).unwrap().service_name, name);
}

#[test]
fn what_is_wrong_is_named_in_words_of_its_own() {
    let told = |body: &str| json(body).unwrap_err().to_string();
    for (body, sentence) in [
        (
            "{}",
            "client_id is not a whole number below 2^32 or a name; ",
        ),
        (
            r#"{"client_id":1.5}"#,
            "client_id is not a whole number below 2^32 or a name; ",
        ),
        (
            r#"{"client_id":1,"data":{}}"#,
            "service_name is not a text; ",
        ),
        (
            r#"{"client_id":1,"service_name":"a"}"#,
            "data is not a JSON object; ",
        ),
        (
            r#"{"client_id":1,"service_name":"a","data":{},"time":"now"}"#,
            "time is not a number; ",
        ),
        (
            r#"{"client_id":1,"service_name":"a","data":{},"boot":1}"#,
            "boot is not a text; ",
        ),
        (
            r#"{"client_id":1,"service_name":"a","data":{},"seq":9223372036854775808}"#,
            "seq is not a whole number; ",
        ),
        (
            r#"{"client_id":1,"client_id":1,"service_name":"a","data":{}}"#,
            "the body is no report; ",
        ),
        (
            r#"{"client_id":1,"service_name":"a","data":[]}"#,
            "data is no JSON object; ",
        ),
    ] {
        assert_eq!(told(body), format!("{sentence}{SUCH_AS}"));
    }
    assert_eq!(
        told("{\"client_id\":1"),
        "the body ends within its JSON; send all of it"
    );
    assert_eq!(
        told("{\n\"client_id\":x}"),
        "the body is no JSON at line 2, column 13; write it with a JSON library"
    );
    assert!(json(SUCH_AS.strip_prefix("send such as ").unwrap()).is_ok());
}

#[test]
fn the_wrong_field_of_a_form_is_named_too() {
    let told = |form: &str| Report::parse(form.as_bytes()).unwrap_err().to_string();
    let good = "client_id=1&service_name=a&data={}";
    for (form, sentence) in [
        (
            "service_name=a&data={}".to_owned(),
            "client_id is not a whole number below 2^32 or a name; ",
        ),
        (
            "client_id=1&data={}".to_owned(),
            "service_name is not a text; ",
        ),
        (
            "client_id=1&service_name=a".to_owned(),
            "data is not a JSON object; ",
        ),
        (
            "client_id=1&service_name=a&data=[]".to_owned(),
            "data is no JSON object; ",
        ),
        (format!("{good}&time=abc"), "time is not a number; "),
        (format!("{good}&time="), "time is not a number; "),
        (format!("uptime=1,5&{good}"), "uptime is not a number; "),
        (format!("{good}&seq=1.5"), "seq is not a whole number; "),
        (format!("{good}&seq=x"), "seq is not a whole number; "),
        (
            format!("{good}&seq=9223372036854775808"),
            "seq is not a whole number; ",
        ),
    ] {
        assert_eq!(told(&form), format!("{sentence}{SUCH_AS}"), "{form}");
    }
    assert_eq!(
        told(&format!("{good}&client_id=2")),
        "client_id stands there more than once; send it once"
    );
}

#[test]
fn what_is_no_report_is_told_in_one_line() {
    let long = "x".repeat(MAX_NAME + 1);
    for body in [
        String::new(),
        "{}".to_owned(),
        "[]".to_owned(),
        "\u{0}\u{1}".to_owned(),
        r#"{"client_id":1.5,"service_name":"a","data":{}}"#.to_owned(),
        r#"{"client_id":null,"service_name":"a","data":{}}"#.to_owned(),
        r#"{"client_id":1,"service_name":"","data":{}}"#.to_owned(),
        r#"{"client_id":1,"service_name":"a\n","data":{}}"#.to_owned(),
        format!(r#"{{"client_id":1,"service_name":"{long}","data":{{}}}}"#),
        format!(r#"{{"client_id":1,"service_name":"a","data":{{}},"boot":"{long}"}}"#),
        r#"{"client_id":1,"service_name":"a","data":{},"seq":-1}"#.to_owned(),
        r#"{"client_id":1,"service_name":"a","data":{},"seq":9223372036854775808}"#.to_owned(),
        r#"{"client_id":1,"service_name":"a","data":{},"time":"now"}"#.to_owned(),
        r#"{"client_id":1,"service_name":"a","data":{},"data":{}}"#.to_owned(),
    ] {
        let told = json(&body).unwrap_err().to_string();
        assert!(!told.contains('\n'), "{told}");
    }
    for form in [
        "",
        "client_id=1&service_name=a",
        "client_id=1&service_name=a&data=x",
        "client_id=1&service_name=a&data={}&time=inf",
        "client_id=1&service_name=a&data={}&time=NaN",
        "client_id=1&service_name=a&data={}&uptime=-inf",
        "client_id=1&service_name=a&data={}&seq=1.5",
        "client_id=1&client_id=2&service_name=a&data={}",
        "\u{0}%zz&&&=",
    ] {
        assert!(Report::parse(form.as_bytes()).is_err(), "{form}");
    }
}
