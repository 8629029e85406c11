//! The reports of ticks together, to a real collector.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use mote_test_support::collector::Program;
use mote_test_support::site::{Site, server_settings};

const ORDERS: &str = r#"
listen = "127.0.0.1:0"
database = "reports.db"
[templates.t.services]
Cpu = ["get_linux_cpu", 0.1]
Memory = ["get_memory_info", 0.1]
Load = ["get_linux_load", 0.1]
Alive = ["host_alive_check", 0.1]
[hosts.web]
id = 1
templates = ["t"]
"#;

/// Everything that an agent sent, by connection.
type Sent = Arc<Mutex<Vec<Vec<u8>>>>;

/// Passes connections on to the collector and keeps what the agent says.
fn overheard(collector: SocketAddr) -> (SocketAddr, Sent) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let sent = Sent::default();
    let noted = Arc::clone(&sent);
    thread::spawn(move || {
        for agent in listener.incoming() {
            let agent = agent.unwrap();
            let Ok(server) = TcpStream::connect(collector) else {
                continue;
            };
            let mut sent = noted.lock().unwrap();
            sent.push(Vec::new());
            let nth = sent.len() - 1;
            drop(sent);
            let (from, to) = (server.try_clone().unwrap(), agent.try_clone().unwrap());
            thread::spawn(move || pass_on(from, to, |_| {}));
            let noted = Arc::clone(&noted);
            thread::spawn(move || {
                pass_on(agent, server, |bytes| {
                    noted.lock().unwrap()[nth].extend_from_slice(bytes);
                });
            });
        }
    });
    (address, sent)
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, heard: impl Fn(&[u8])) {
    let mut bytes = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        heard(&bytes[..count]);
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

/// How many requests for this path began.
fn requests(sent: &Sent, path: &str) -> usize {
    let head = format!("POST {path} HTTP/1.1\r\n").into_bytes();
    let sent = sent.lock().unwrap();
    let windows = sent.iter().flat_map(|bytes| bytes.windows(head.len()));
    windows.filter(|it| *it == head).count()
}

#[test]
fn a_real_collector_gets_fewer_requests_than_reports_and_each_report_once() {
    let collector = Program::new(ORDERS);
    let (address, sent) = overheard(collector.address);
    let site = Site::new(&server_settings(&format!("http://{address}"), ""));
    let mut agent = site.run_until_up();
    site.wait_for_status("reports", |status| {
        (status["reports"]["acknowledged"].as_u64()? >= 100).then_some(())
    });
    // Without orders nothing more is sampled. Empty ones count when they are said again a minute later, so the agent
    // gets one service that does not come due.
    let rare = ORDERS.replace(", 0.1]", ", 86400]");
    fs::write(collector.folder.path().join("server.toml"), rare).unwrap();
    let status = site.wait_for_status("an end", |status| {
        agent.assert_running();
        let services = status["services"].as_array()?;
        let are_rare = services.iter().all(|it| it["interval_s"] == 86400.0);
        let is_empty = status["reports"]["queued"] == 0;
        (are_rare && is_empty).then(|| status.clone())
    });
    let reports = &status["reports"];
    let sampled = reports["sampled"].as_u64().unwrap();
    assert_eq!(reports["acknowledged"], sampled, "{reports}");

    let account = collector.get("/api/accounting?client_id=1", "").json()["clients"][0].clone();
    assert_eq!(account["received"], sampled, "{account}");
    assert_eq!(
        (&account["duplicates"], &account["gaps"]),
        (&0.into(), &0.into())
    );
    let single = requests(&sent, "/api/client/service/report/");
    let batched = requests(&sent, "/api/client/service/reports");
    assert!(batched > 0);
    // Each request with several brings two at least; four services are due at once.
    assert!(
        2 * (single + batched) < sampled as usize,
        "{single} + {batched} requests for {sampled} reports"
    );
}
