//! What stands in reports, in the account and in the collector's answers.

use std::collections::BTreeSet;
use std::fs;

use super::pages::{doc, name, quoted, rows};
use mote_test_support::site::Site;
use mote_test_support::{DEADLINE, Running, free_port, http_get, mote, wait_for};
use serde_json::Value;

/// A collector and an agent that has reported to it.
struct Pair {
    site: Site,
    url: String,
    _collector: Running,
}

impl Pair {
    fn new() -> Pair {
        let url = format!("http://127.0.0.1:{}", free_port());
        let site = Site::new(&format!("[server]\nurl = \"{url}\"\n"));
        let file = site.path("server.toml");
        let text = format!(
            "listen = \"{}\"\ndatabase = \"reports.db\"\n[templates.t.services]\nLoad = [\"get_linux_load\", 0.1]\n\
             [hosts.web]\nid = 1\ntemplates = [\"t\"]\n",
            url.trim_start_matches("http://")
        );
        fs::write(&file, text).expect("a file");
        let mut command = mote();
        command.arg("--config").arg(&file).arg("serve");
        let collector = Running::start("collector", &mut command, site.folder());
        wait_for("the collector", DEADLINE, || http_get(&url).ok());
        site.start();
        site.wait_for_status("a report", |status| {
            (status["reports"]["acknowledged"].as_u64()? > 0).then_some(())
        });
        Pair {
            site,
            url,
            _collector: collector,
        }
    }

    fn get(&self, path: &str) -> Value {
        let answer = http_get(&format!("{}{path}", self.url)).expect("an answer");
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}

fn first_names(text: &str) -> BTreeSet<String> {
    rows(text)
        .iter()
        .map(|row| name(&row[0]).to_owned())
        .collect()
}

fn keys(value: &Value) -> BTreeSet<String> {
    value
        .as_object()
        .expect("an object")
        .keys()
        .cloned()
        .collect()
}

#[test]
fn reports_accounts_and_pages_have_the_fields_of_the_docs() {
    let pair = Pair::new();
    let protocol = doc("protocol");
    let told = first_names(protocol.chapter("## Reports"));
    let page = pair.get("/api/reports?client_id=1&limit=1");
    let report = &page["reports"][0];
    assert!(told.is_subset(&keys(report)), "{told:?}, but {report}");
    assert!(page["next"].is_number(), "{page}");

    let delivery = doc("delivery");
    let told = first_names(delivery.beginning());
    let status = pair.site.status();
    assert_eq!(told, keys(&status["reports"]["dropped"]));

    let collector = doc("collector");
    let interface = collector.chapter("## HTTP interface");
    let (requests, account) = interface.split_once("**Accounting**").expect("both");
    let accounting = pair.get("/api/accounting?client_id=1");
    let client = &accounting["clients"][0];
    let told = first_names(account);
    let others = [
        "client_id",
        "runs",
        "runs_left_out",
        "boot",
        "first",
        "last",
    ];
    let others: BTreeSet<_> = others.map(str::to_owned).into();
    let of_client = &keys(client) - &others;
    assert!(of_client.is_subset(&told), "{client}");
    assert!(
        (&keys(&client["runs"][0]) - &others).is_subset(&told),
        "{client}"
    );
    for row in rows(account) {
        let is_there = of_client.contains(name(&row[0]));
        assert!(is_there || row[1].starts_with("Only if"), "{row:?}");
    }
    for counted in ["runs_left_out", "unnumbered"] {
        assert!(client[counted].is_number(), "{client}");
    }

    let requests = rows(requests);
    let has = |request: &str| requests.iter().any(|row| name(&row[0]) == request);
    for request in requests.iter().map(|row| name(&row[0])) {
        let (method, path) = request.split_once(' ').expect("method and path");
        let path = path.replace("{id}", "1");
        // These two it must have.
        let path = path.replace(
            "client_id=&service=&item=",
            "client_id=1&service=Load&item=",
        );
        // What is told live has no end.
        if method == "GET" && path != "/api/live" {
            let answer = http_get(&format!("{}{path}", pair.url)).expect("an answer");
            assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        }
        // A path that is there, but not for this method.
        if method == "POST" && !has(&format!("GET {path}")) {
            let answer = http_get(&format!("{}{path}", pair.url)).expect("an answer");
            assert_eq!(answer.status, 405, "{path}: {}", answer.body);
        }
    }
}

/// The lines of the queue are those of the docs: the names in their example and their table.
#[test]
fn the_queue_is_written_as_the_docs_say() {
    let pair = Pair::new();
    let delivery = doc("delivery");
    let chapter = delivery.chapter("## The files of the queue");
    let folder = pair.site.path("state/queue");
    let mut suffixes = BTreeSet::new();
    for entry in fs::read_dir(&folder).expect("the queue").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let (number, suffix) = name.split_once('.').expect("two parts");
        assert_eq!(number.len(), "00000000000000000017".len(), "{name}");
        assert!(
            chapter.contains(&format!("00000000000000000017.{suffix}")),
            "{name}"
        );
        suffixes.insert(suffix.to_owned());
        let text = fs::read_to_string(entry.path()).expect("text");
        for line in text.lines() {
            let (text, seal) = line.rsplit_once('*').expect("a seal");
            let sum = u32::from_str_radix(seal, 16).expect("hexadecimal digits");
            assert_eq!((sum, seal.len()), (crc32(text.as_bytes()), 8), "{line}");
            let totals = ["unstored", "dropped", "below"]
                .iter()
                .all(|it| text.contains(it));
            match (suffix, &text.split(' ').collect::<Vec<_>>()[..]) {
                ("reports", ["=", _, ahead, _]) => {
                    assert!(ahead.parse::<u64>().is_ok() && totals, "{line}")
                }
                ("reports", [number, at, ..]) => {
                    assert!(
                        number.parse::<u64>().is_ok() && at.parse::<u64>().is_ok(),
                        "{line}"
                    );
                }
                ("done", ["-", ..]) => assert!(totals, "{line}"),
                _ => panic!("{name}: {line}"),
            }
        }
    }
    assert!(suffixes.contains("reports"), "{suffixes:?}");
    assert!(quoted(chapter).any(|it| it == "unstored"));
}

/// Bit by bit, as the standard has it: not the code that is tested.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            if sum & 1 == 1 {
                (sum >> 1) ^ 0xEDB8_8320
            } else {
                sum >> 1
            }
        })
    })
}
