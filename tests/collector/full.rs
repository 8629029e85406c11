//! A collector all of whose places are taken by clients that send or listen slowly.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use super::access::ask;
use super::limits::{connect, status};
use super::live::Ear;
use mote_test_support::collector::Program;

fn collector(max_connections: u32) -> Program {
    Program::new(&format!(
        "listen = \"127.0.0.1:0\"\ndatabase = \"reports.db\"\nmax_connections = {max_connections}\n[hosts.web]\nid = 1\n"
    ))
}

/// Sends the beginning of a request.
fn begin(collector: &Program, text: &str) -> TcpStream {
    let mut stream = connect(collector);
    stream.write_all(text.as_bytes()).unwrap();
    stream
}

const ASK: &str = "GET /api/client/config/1 HTTP/1.1\r\nHost: localhost\r\n";

/// What stalls gives way; what comes slowly, and what stalls for a shorter time, does not.
fn gives_way(head: &str, body: &str) {
    let collector = collector(3);
    let mut held = [(); 3].map(|()| begin(&collector, head));
    let mut late = begin(&collector, &format!("{ASK}\r\n"));
    late.set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let mut spaces = 0;
    while status(&mut late).is_empty() {
        spaces += PIECE;
        assert!(spaces < SPACES, "nobody gives way");
        held[0].write_all(&[b' '; PIECE]).unwrap();
    }
    let said = collector.output();
    let sentence = "all 3 connections are taken and none is idle, so new ones wait: if the clients are yours, raise \
                    `max_connections` in the collector's settings";
    assert_eq!(said.matches(sentence).count(), 1, "{said}");
    assert_eq!(status(&mut held[1]), "");
    for (index, sent) in [(0, spaces), (2, 0)] {
        let rest = " ".repeat(SPACES - sent) + body;
        held[index].write_all(rest.as_bytes()).unwrap();
        assert_eq!(status(&mut held[index]), "HTTP/1.1 200", "{index}");
    }
}

/// So many in a fifth of a second are no drip.
const PIECE: usize = 64;

const SPACES: usize = 100 * PIECE;

/// Three that send a byte five times a second hold no place.
fn drips(head: &str) {
    let collector = collector(3);
    let mut held = [(); 3].map(|()| begin(&collector, head));
    let mut late = begin(&collector, &format!("{ASK}\r\n"));
    late.set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let mut bytes = 0;
    while status(&mut late).is_empty() {
        bytes += 1;
        // Long before such a request is too long in all.
        assert!(bytes < 100, "nobody gives way");
        for stream in &mut held {
            let _ = stream.write_all(b" ");
        }
    }
}

#[test]
fn a_head_that_drips_gives_way() {
    drips(&format!("{ASK}A:"));
}

#[test]
fn a_body_that_drips_gives_way() {
    drips(
        "POST /api/client/service/report/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: 1000\r\n\r\n",
    );
}

#[test]
fn half_a_head_gives_way() {
    gives_way(&format!("{ASK}A:"), "b\r\n\r\n");
}

#[test]
fn half_a_body_gives_way() {
    let body = r#"{"client_id":1,"service_name":"a","data":{}}"#;
    let head = format!(
        "POST /api/client/service/report/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        SPACES + body.len()
    );
    gives_way(&head, body);
}

#[test]
fn who_listens_leaves_places_to_others() {
    for (connections, streams) in [(3, 1), (9, 2)] {
        let collector = collector(connections);
        let lines = format!("Host: {}\r\n", collector.address);
        let mut ears: Vec<Ear> = (0..streams).map(|_| Ear::open(&collector, "")).collect();
        for ear in &mut ears {
            ear.event();
        }
        for _ in 0..connections {
            let answer = ask(collector.address, "GET", "/api/live", &lines, "");
            assert_eq!(answer.status, 503, "{}", answer.body);
            assert_eq!(answer.header("retry-after"), "60");
        }
        let answer = ask(collector.address, "GET", "/api/hosts", &lines, "");
        assert_eq!(answer.status, 200);
    }
}
