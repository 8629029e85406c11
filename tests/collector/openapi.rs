//! `docs/openapi.json` against the router and against what is really answered.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;

use serde_json::{Value, json};

use super::access::ask;
use super::live::Ear;
use mote_test_support::collector::{Program, bearer, write_secret};
use mote_test_support::root;
use mote_test_support::users::user;

const PASSWORD: &str = "correct horse battery";

fn document() -> Value {
    let file = root().join("linux-agent/docs/openapi.json");
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

/// Each path with each of its methods.
fn documented(document: &Value) -> BTreeSet<(String, String)> {
    let paths = document["paths"].as_object().unwrap().iter();
    paths
        .flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().keys();
            let methods = methods.filter(|it| *it != "parameters");
            methods.map(move |method| (path.clone(), method.clone()))
        })
        .collect()
}

#[test]
fn what_is_routed_is_what_is_documented() {
    let source = root().join("linux-agent/src/collector/http/mod.rs");
    let source = fs::read_to_string(source).unwrap();
    let mut routed = BTreeSet::new();
    for route in source.split(".route(").skip(1) {
        let (path, rest) = route.split_once(',').unwrap();
        let path = path.trim().trim_matches('"');
        // Both are one.
        let path = match path.trim_end_matches('/') {
            "" => "/",
            path => path,
        };
        let rest = rest.split(".fallback").next().unwrap();
        for method in ["get", "post", "put", "patch", "delete"] {
            if rest.contains(&format!("{method}(")) {
                routed.insert((path.to_owned(), method.to_owned()));
            }
        }
    }
    assert!(routed.len() > 15, "{routed:?}");
    assert_eq!(documented(&document()), routed);
}

/// What of a value is not as its schema says: the few keywords that the document uses.
fn faults(document: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    if let Some(name) = schema["$ref"].as_str() {
        let pointer = name.strip_prefix('#').unwrap();
        let schema = document
            .pointer(pointer)
            .unwrap_or_else(|| panic!("{name}"));
        return faults(document, schema, value, at);
    }
    let fault = |what: &str| vec![format!("{at}: {what}: {value}")];
    if let Some(choices) = schema["oneOf"].as_array() {
        let fitting = choices
            .iter()
            .filter(|it| faults(document, it, value, at).is_empty());
        return if fitting.count() == 1 {
            vec![]
        } else {
            fault("not one of them")
        };
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(it) if it.is_i64() || it.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let kinds = match &schema["type"] {
        Value::String(one) => vec![one.as_str()],
        several => several
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it.as_str().unwrap())
            .collect(),
    };
    let is_number = kind == "integer" && kinds.contains(&"number");
    if !kinds.contains(&kind) && !is_number {
        return fault("of another kind");
    }
    let choices = schema["enum"].as_array();
    if choices.is_some_and(|it| !it.contains(value)) {
        return fault("not one of the texts");
    }
    let mut found = Vec::new();
    if let Some(elements) = value.as_array().filter(|_| !schema["items"].is_null()) {
        for (index, element) in elements.iter().enumerate() {
            found.extend(faults(
                document,
                &schema["items"],
                element,
                &format!("{at}[{index}]"),
            ));
        }
    }
    if let Some(fields) = value.as_object() {
        for name in schema["required"].as_array().into_iter().flatten() {
            if !fields.contains_key(name.as_str().unwrap()) {
                found.push(format!("{at}: without {name}"));
            }
        }
        for (name, value) in fields {
            let at = format!("{at}.{name}");
            let further = &schema["additionalProperties"];
            match &schema["properties"][name] {
                Value::Null if *further == json!(false) => {
                    found.push(format!("{at}: not documented"))
                }
                Value::Null if further.is_object() => {
                    found.extend(faults(document, further, value, &at))
                }
                Value::Null => {}
                schema => found.extend(faults(document, schema, value, &at)),
            }
        }
    }
    found
}

#[test]
fn a_value_that_is_not_as_documented_is_found() {
    let document = document();
    let host = json!({"client_id": 1, "label": "a", "groups": [], "state": "late", "services": []});
    let schema = json!({"$ref": "#/components/schemas/Host"});
    let count = |value: &Value| faults(&document, &schema, value, "it").len();
    assert_eq!(count(&host), 0);
    for (name, wrong) in [
        ("client_id", json!(1.5)),
        ("client_id", json!(null)),
        ("label", json!(1)),
        ("state", json!("gone")),
        ("groups", json!([1])),
        ("last", json!("now")),
        ("more", json!(1)),
        ("services", json!([{"name": "x"}])),
    ] {
        let mut host = host.clone();
        host[name] = wrong;
        assert!(count(&host) > 0, "{host}");
    }
    assert_eq!(count(&json!({})), 5);
}

/// Asks, and holds what comes to the document.
struct Checker {
    document: Value,
    address: SocketAddr,
    seen: RefCell<BTreeSet<(String, String)>>,
}

impl Checker {
    fn schema(&self, path: &str, method: &str, status: u16) -> Value {
        let answers = &self.document["paths"][path][method]["responses"];
        assert!(answers.is_object(), "{method} {path}");
        let schema = |answer: &Value| {
            let mut kinds = answer["content"].as_object().unwrap().values();
            kinds.next().unwrap()["schema"].clone()
        };
        match status {
            200 => schema(&answers["200"]),
            _ => schema(&self.document["components"]["responses"]["Error"]),
        }
    }

    fn check(&self, path: &str, method: &str, status: u16, told: &Value) {
        let schema = self.schema(path, method, status);
        let faults = faults(&self.document, &schema, told, "it");
        assert_eq!(faults, Vec::<String>::new(), "{method} {path}");
        if status == 200 {
            self.seen
                .borrow_mut()
                .insert((path.to_owned(), method.to_owned()));
        }
    }

    fn call(
        &self,
        path: &str,
        method: &str,
        rest: &str,
        lines: &str,
        body: &str,
        expected: u16,
    ) -> Value {
        let target = format!("{}{rest}", path.split('{').next().unwrap());
        let lines = format!("Host: {}\r\n{lines}", self.address);
        let answer = ask(self.address, &method.to_uppercase(), &target, &lines, body);
        assert_eq!(
            answer.status, expected,
            "{method} {target}: {}",
            answer.body
        );
        let told = answer.json();
        self.check(path, method, expected, &told);
        let cookie = answer
            .header("set-cookie")
            .split(';')
            .next()
            .unwrap()
            .to_owned();
        if cookie.is_empty() {
            told
        } else {
            json!(cookie)
        }
    }
}

#[test]
fn what_is_answered_is_as_documented() {
    let folder = tempfile::tempdir().unwrap();
    let toml = format!(
        r#"
        listen = "127.0.0.1:0"
        database = "reports.db"
        read_token_file = "reader"
        [hosts.web]
        id = 1
        templates = ["t"]
        groups = ["g"]
        reports_for = ["board"]
        [hosts.board]
        [groups.g]
        templates = ["u"]
        [templates.t.services]
        CPU = ["get_linux_cpu", 15]
        [templates.u.services]
        Late = ["get_linux_load", 0.1]
        {}"#,
        user("ada", "admin", PASSWORD)
    );
    fs::write(folder.path().join("server.toml"), toml).unwrap();
    write_secret(&folder.path().join("reader"), "token-of-whoever-reads");
    let collector = Program::start(folder);
    let checker = Checker {
        document: document(),
        address: collector.address,
        seen: RefCell::default(),
    };
    let reader = format!("Authorization: {}\r\n", bearer("token-of-whoever-reads"));
    let call = |path: &str, method: &str, rest: &str, lines: &str, body: &str, status| {
        checker.call(path, method, rest, lines, body, status)
    };
    let get = |path: &str, rest: &str, status| call(path, "get", rest, &reader, "", status);

    let report = |client: Value, seq: u64| {
        let data = json!({"status": 0, "data": {"eth0": {"in": 1.5}}, "user": seq});
        json!({"client_id": client, "service_name": "CPU", "time": 1_700_000_000 + seq, "uptime": 5,
            "boot": "b", "seq": seq, "data": data})
        .to_string()
    };
    let one = "/api/client/service/report";
    call(one, "post", "", "", &report(json!(1), 0), 200);
    call(one, "post", "", "", &report(json!(1), 2), 200);
    call(one, "post", "", "", "{}", 400);
    call(one, "post", "", "", &report(json!("nobody"), 0), 404);
    let lines = format!(
        "{}\n{}\n[]\n",
        report(json!("board"), 0),
        report(json!("nobody"), 0)
    );
    call("/api/client/service/reports", "post", "", "", &lines, 200);
    call("/api/client/config/{id}", "get", "1", "", "", 200);
    call("/api/client/config/{id}", "get", "nobody", "", "", 404);

    for path in ["/api/hosts", "/api/reports", "/api/accounting"] {
        get(path, "", 200);
        get(path, "?client_id=1", 200);
        get(path, "?what=1", 400);
        call(path, "get", "", "", "", 401);
    }
    get("/api/reports", "?limit=0", 400);
    get(
        "/api/series",
        "?client_id=1&service=CPU&from=1699999990&to=1700000010&width=20",
        200,
    );
    get("/api/series", "?client_id=1&service=CPU", 200);
    get("/api/series", "?client_id=1&service=None", 404);
    get("/api/openapi.json", "", 200);
    let event = Ear::open(&collector, &reader).event();
    checker.check("/api/live", "get", 200, &event.data);

    call("/api/me", "get", "", "", "", 200);
    get("/api/me", "", 200);
    let login = json!({"user": "ada", "password": PASSWORD}).to_string();
    let cookie = call("/api/login", "post", "", "", &login, 200);
    let cookie = format!("Cookie: {}\r\n", cookie.as_str().unwrap());
    call("/api/login", "post", "", "", "{}", 400);
    call("/api/me", "get", "", &cookie, "", 200);
    call("/api/enter", "post", "", "", "{\"code\": \"x\"}", 403);
    call("/api/invitations", "get", "", &cookie, "", 200);
    call("/api/invitations", "get", "", &reader, "", 403);
    let invited = call(
        "/api/invitations",
        "post",
        "",
        &cookie,
        "{\"group\": \"g\"}",
        200,
    );
    let enrolment = json!({"code": invited["code"], "client_id": "new"}).to_string();
    get("/api/alarms", "", 200);
    get("/api/events", "", 200);
    get("/api/events", "?limit=x", 400);
    let silence = json!({"client_id": 1, "for_s": 60, "reason": "quiet"}).to_string();
    let silence = call("/api/silences", "post", "", &cookie, &silence, 200);
    get("/api/alarms", "?client_id=1", 200);
    let id = silence["id"].to_string();
    call("/api/silences/{id}", "delete", &id, &cookie, "", 200);
    call("/api/silences/{id}", "delete", &id, &cookie, "", 404);
    call("/api/enroll", "post", "", "", &enrolment, 200);
    call("/api/enroll", "post", "", "", &enrolment, 403);
    get("/api/hosts", "?client_id=new", 200);
    call("/api/logout", "post", "", &cookie, "", 200);

    // These three are no JSON, or are tried by `access`.
    let elsewhere = ["/", "/page/{name}", "/api/enter"];
    let mut all = documented(&checker.document);
    all.retain(|(path, _)| !elsewhere.contains(&&**path));
    assert_eq!(*checker.seen.borrow(), all);
}
