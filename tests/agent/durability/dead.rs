//! Reports that the server will not take.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use mote_test_support::scripted_server::{Answer, Server, good};
use mote_test_support::site::{Site, server_settings};

const SERVICES: &str = r#"{"Bad": ["get_linux_load", 0.5], "Weak": ["host_alive_check", 0.5],
    "Good": ["get_linux_cpu", 0.5]}"#;

/// A report is given up after this many tries.
const MAX_TRIES: usize = 5;

#[test]
fn what_is_refused_or_fails_for_ever_is_kept_and_the_rest_arrives() {
    let server = Server::new(SERVICES);
    server.script(|request| {
        if request.is_report_of("Bad") {
            Answer::status(400, "no such service")
        } else if request.is_report_of("Weak") {
            Answer::status(500, "it broke")
        } else {
            good(SERVICES, request)
        }
    });
    let site = Site::new(&server_settings(&server.url(), ""));
    let mut agent = site.run_until_up();
    let status = site.wait_for_status("letters of both", |status| {
        let dropped = &status["reports"]["dropped"];
        let is_enough = dropped["refused"].as_u64()? >= 20 && dropped["gave_up"].as_u64()? >= 20;
        // Nothing waits for its neighbours: a try or two of theirs come between, no more.
        let is_short = status["reports"]["queued"].as_u64()? < 20;
        (is_enough && is_short).then(|| status.clone())
    });
    let reports = &status["reports"];
    let count = |name: &str| reports["dropped"][name].as_u64().unwrap();
    let letters = reports["dead_letters"].as_u64().unwrap();
    // One may be about to be written.
    assert!(letters <= count("refused") + count("gave_up"), "{reports}");
    let text = site.call(&["status"]).out;
    assert!(text.contains("\ndead letters: "), "{text}");

    let mut seqs: Vec<u64> = server.acknowledged("Good").iter().map(seq).collect();
    let all = seqs.len();
    // Where both others failed and none of these came between, the server looked away: then what is fresh goes first.
    seqs.sort_unstable();
    seqs.dedup();
    assert_eq!(seqs.len(), all, "each once");
    let weak = server.brought("Weak");
    for report in &weak {
        let tries = weak.iter().filter(|it| it["seq"] == report["seq"]).count();
        assert!(tries <= MAX_TRIES, "{report}: {tries} tries");
    }
    for report in server.brought("Bad") {
        let bad = server.brought("Bad");
        let tries = bad.iter().filter(|it| it["seq"] == report["seq"]).count();
        // One failure may be the server's.
        assert!(tries <= 2, "{report}: {tries} tries");
    }

    assert!(agent.terminate().success());
    let folder = site.path("state/dead");
    let file = folder.join("dead.jsonl");
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&file), 0o600);
    let text = fs::read_to_string(&file).unwrap();
    let letters: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for (service, reason) in [("Bad", "400"), ("Weak", "500")] {
        let of_service = letters
            .iter()
            .filter(|it| it["report"]["service_name"] == service);
        let of_service: Vec<&Value> = of_service.collect();
        assert!(of_service.len() >= 20, "{service}: {}", of_service.len());
        for letter in of_service {
            assert!(
                letter["reason"].as_str().unwrap().contains(reason),
                "{letter}"
            );
            assert!(letter["report"]["data"].is_object(), "{letter}");
        }
    }
    assert!(
        letters
            .iter()
            .all(|it| it["report"]["service_name"] != "Good")
    );

    // They are counted after a restart as well.
    let mut agent = site.run_until_up();
    let again = site.wait_for_status("a status", |status| {
        status["reports"]["dead_letters"].as_u64()
    });
    assert!(again >= letters.len() as u64, "{again}");
    assert!(agent.terminate().success());
}

fn seq(report: &Value) -> u64 {
    report["seq"].as_u64().unwrap()
}

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}
