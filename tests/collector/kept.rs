//! What is left of reports after a restart, a kill, or with another database in the place.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use mote_agent::collector::Collector;
use mote_test_support::http::Client;
use serde_json::json;

use super::running::{Running, new_folder, numbered, post_head, report, settings};

#[test]
fn a_restart_keeps_the_reports() {
    let collector = Running::new();
    for seq in 0..5 {
        let answer = collector.post_json(&report(json!({"boot": "b", "seq": seq})));
        assert_eq!(answer.status, 200);
    }
    let before = collector.get("/api/reports").json();
    let collector = Running::at(collector.stop());
    assert_eq!(collector.get("/api/reports").json(), before);
    let again = collector.post_json(&report(json!({"boot": "b", "seq": 4})));
    assert_eq!(again.status, 200);
    assert_eq!(collector.get("/api/reports").json(), before);
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    const FOLDER: &str = "MOTE_TEST_COLLECTOR_TO_KILL";
    if let Some(folder) = std::env::var_os(FOLDER) {
        // This is the child: a collector until it is killed.
        let folder = Path::new(&folder);
        let collector = Collector::bind(settings(folder)).unwrap();
        let address = collector.local_addr().to_string();
        std::fs::write(folder.join("address.new"), address).unwrap();
        std::fs::rename(folder.join("address.new"), folder.join("address")).unwrap();
        collector.run(std::future::pending());
        return;
    }
    let folder = new_folder();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kept::what_was_acknowledged_survives_a_kill"])
        .env(FOLDER, folder.path())
        .spawn()
        .unwrap();
    let address: SocketAddr = loop {
        match std::fs::read_to_string(folder.path().join("address")) {
            Ok(address) => break address.parse().unwrap(),
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
        assert!(child.try_wait().unwrap().is_none(), "the child has ended");
    };
    // The kill comes from another thread, in the middle of the stream of reports.
    let (told, acknowledgements) = std::sync::mpsc::channel();
    let killer = std::thread::spawn(move || {
        let mut count = 0;
        while acknowledgements.recv().is_ok() {
            count += 1;
            if count == 50 {
                child.kill().unwrap();
                child.wait().unwrap();
            }
        }
    });
    let mut client = Client::connect(address);
    let mut acknowledged = 0;
    loop {
        let body = report(json!({"boot": "b", "seq": acknowledged})).to_string();
        let head = post_head("application/json", body.len());
        if client.stream.write_all((head + &body).as_bytes()).is_err() {
            break;
        }
        match client.answer() {
            Some(answer) => assert_eq!(answer.status, 200),
            None => break,
        }
        acknowledged += 1;
        told.send(()).unwrap();
    }
    drop(told);
    killer.join().unwrap();

    let collector = Running::at(folder);
    let seqs: Vec<u64> = collector
        .reports("")
        .iter()
        .map(|report| report["seq"].as_u64().unwrap())
        .collect();
    assert!(acknowledged >= 50);
    let acknowledged_seqs: Vec<u64> = (0..acknowledged).collect();
    // The one that was under way may be there too.
    assert!(
        seqs.starts_with(&acknowledged_seqs),
        "{acknowledged}: {seqs:?}"
    );
    assert!(seqs.len() as u64 <= acknowledged + 1);
}

#[test]
fn reports_are_read_back_by_client_service_time_and_page() {
    let collector = Running::new();
    for seq in 0..12 {
        let client = if seq % 2 == 0 {
            json!(1)
        } else {
            json!("board-7")
        };
        let service = if seq % 3 == 0 {
            "LinuxLoad"
        } else {
            "LinuxCPU"
        };
        let extra = json!({"client_id": client, "service_name": service, "boot": "b", "seq": seq});
        assert_eq!(collector.post_json(&report(extra)).status, 200);
        // So that no two are received at the same time.
        std::thread::sleep(Duration::from_millis(3));
    }
    let seqs = |query: &str| -> Vec<u64> {
        let reports = collector.reports(query);
        let seqs = reports.iter().map(|report| report["seq"].as_u64().unwrap());
        seqs.collect()
    };
    assert_eq!(seqs(""), (0..12).collect::<Vec<_>>());
    assert_eq!(seqs("client_id=&service=&since=&limit=&after=").len(), 12);
    assert_eq!(seqs("client_id=1"), [0, 2, 4, 6, 8, 10]);
    assert_eq!(seqs("service=LinuxLoad"), [0, 3, 6, 9]);
    assert_eq!(seqs("client_id=board-7&service=LinuxLoad"), [3, 9]);
    assert_eq!(seqs("client_id=board-7&service=LinuxLoad&limit=1"), [3]);
    assert_eq!(seqs("client_id=nobody"), [0u64; 0]);
    assert_eq!(seqs("service=%27%20OR%201%3D1"), [0u64; 0]);

    let all = collector.reports("");
    for (index, report) in all.iter().enumerate() {
        let since = format!("since={}", report["received"]);
        assert_eq!(seqs(&since).len(), 11 - index, "exclusive: {since}");
    }
    assert_eq!(seqs("since=-1e300").len(), 12);
    assert_eq!(seqs("since=1e300").len(), 0);

    let mut after = 0;
    let mut pages = Vec::new();
    loop {
        let path = format!("/api/reports?client_id=1&limit=4&after={after}");
        let page = collector.get(&path).json();
        after = page["next"].as_i64().unwrap();
        match page["reports"].as_array().unwrap().len() {
            0 => break,
            count => pages.push(count),
        }
    }
    assert_eq!(pages, [4, 2]);

    for query in [
        "limit=0",
        "limit=10001",
        "limit=-1",
        "limit=x",
        "since=x",
        "since=NaN",
        "since=inf",
        "after=1.5",
        "clientid=1",
        "limit=1&limit=2",
    ] {
        let answer = collector.get(&format!("/api/reports?{query}"));
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.json()["error"].is_string(), "{query}");
    }
}

#[test]
fn while_the_database_is_locked_agents_are_told_to_come_back() {
    let collector = Running::new();
    let path = collector.folder.path().join("reports.db");
    let other = rusqlite::Connection::open(path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    for _ in 0..2 {
        let answer = collector.post_json(&report(json!({"boot": "b", "seq": 1})));
        assert_eq!(answer.status, 503);
        assert!(answer.json()["error"].is_string());
    }
    assert_eq!(collector.reports("").len(), 0, "reading goes on");
    other.execute_batch("ROLLBACK").unwrap();
    let answer = collector.post_json(&report(json!({"boot": "b", "seq": 1})));
    assert_eq!(answer.status, 200);
    assert_eq!(collector.reports("").len(), 1);
}

#[test]
fn what_is_acknowledged_is_never_in_a_deleted_file() {
    for gone in [
        &["reports.db"][..],
        &["reports.db", "reports.db-wal", "reports.db-shm"],
    ] {
        let collector = Running::new();
        assert_eq!(collector.post_json(&numbered(1)).status, 200);
        for file in gone {
            std::fs::remove_file(collector.folder.path().join(file)).unwrap();
        }
        assert_eq!(collector.post_json(&numbered(2)).status, 503, "{gone:?}");
        collector.deliver(&numbered(2));
        assert_eq!(collector.seqs(), [2]);
        let collector = Running::at(collector.stop());
        assert_eq!(collector.seqs(), [2], "{gone:?}");
    }
}

#[test]
fn a_database_that_is_put_aside_keeps_its_reports_and_gets_no_more() {
    let collector = Running::new();
    assert_eq!(collector.post_json(&numbered(1)).status, 200);
    let path = collector.folder.path().join("reports.db");
    let aside = new_folder();
    std::fs::rename(&path, aside.path().join("reports.db")).unwrap();
    collector.deliver(&numbered(2));
    assert_eq!(Running::at(aside).seqs(), [1]);
    assert_eq!(Running::at(collector.stop()).seqs(), [2]);
}

#[test]
fn a_deleted_log_takes_no_report_with_it() {
    let collector = Running::new();
    assert_eq!(collector.post_json(&numbered(1)).status, 200);
    std::fs::remove_file(collector.folder.path().join("reports.db-wal")).unwrap();
    assert_eq!(collector.post_json(&numbered(2)).status, 503);
    collector.deliver(&numbered(3));
    assert_eq!(collector.post_json(&numbered(2)).status, 200);
    let mut seqs = collector.seqs();
    seqs.sort_unstable();
    assert_eq!(seqs, [1, 2, 3]);
}

#[test]
fn a_database_that_takes_the_place_is_gone_on_with() {
    let backup = Running::new();
    assert_eq!(backup.post_json(&numbered(7)).status, 200);
    let backup = backup.stop();
    let collector = Running::new();
    assert_eq!(collector.post_json(&numbered(1)).status, 200);
    let path = collector.folder.path().join("reports.db");
    std::fs::copy(backup.path().join("reports.db"), path.with_extension("new")).unwrap();
    std::fs::rename(path.with_extension("new"), &path).unwrap();
    assert_eq!(collector.get("/api/reports").status, 503);
    collector.deliver(&numbered(8));
    assert_eq!(collector.seqs(), [7, 8]);
    assert_eq!(Running::at(collector.stop()).seqs(), [7, 8]);
}

#[test]
fn while_no_database_can_be_opened_agents_are_told_to_come_back() {
    let collector = Running::new();
    let path = collector.folder.path().join("reports.db");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    for _ in 0..3 {
        assert_eq!(collector.post_json(&numbered(1)).status, 503);
        assert_eq!(collector.get("/").status, 503);
    }
    std::fs::remove_dir(&path).unwrap();
    collector.deliver(&numbered(1));
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "somebody else's").unwrap();
    assert_eq!(collector.post_json(&numbered(2)).status, 503);
    let folder = collector.stop();
    let kept = std::fs::read_to_string(folder.path().join("reports.db")).unwrap();
    assert_eq!(kept, "somebody else's");
}
