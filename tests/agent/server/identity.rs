//! Whatever a server does: what the agent counts as acknowledged is what this server has taken, no more and no less.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Scene, each, seqs};
use mote_test_support::scripted_server::{Answer, Request};
use mote_test_support::{DEADLINE, wait_for};

/// How a server answers to the report of this number.
type Odd = fn(u64) -> Answer;

fn raw(head: &str) -> Answer {
    Answer::Raw(head.as_bytes().to_vec())
}

fn pieces(pieces: &[&str]) -> Answer {
    let pieces = pieces.iter().map(|it| it.as_bytes().to_vec());
    Answer::Pieces(pieces.collect())
}

/// Some of them take every third report, or else nothing would come through.
const SERVERS: &[(&str, Odd)] = &[
    ("takes all", |_| Answer::ok("{}")),
    ("says 201", |_| Answer::status(201, "made")),
    ("says 204", |_| pieces(&["HTTP/1.1 204 x\r\n\r\n"])),
    ("head and body apart", |_| {
        pieces(&["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", "ok"])
    }),
    ("no length and no end", |_| {
        pieces(&["HTTP/1.1 200 OK\r\n\r\n"])
    }),
    ("less than promised", |_| {
        pieces(&["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"])
    }),
    ("chunks without the last", |_| {
        pieces(&["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"])
    }),
    ("more than it promised", |_| {
        pieces(&[
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        ])
    }),
    ("a flood of a body", |_| Answer::Flood(4 << 20)),
    ("two announcements first", |_| {
        pieces(&["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"])
    }),
    ("503 to every second", |seq| {
        every(2, seq, Answer::status(503, "later"))
    }),
    ("500 to most", |seq| {
        every(3, seq, Answer::status(500, "fault"))
    }),
    ("404 to most", |seq| {
        every(3, seq, Answer::status(404, "no"))
    }),
    ("400 to most", |seq| {
        every(3, seq, Answer::status(400, "no"))
    }),
    ("429 to most", |seq| {
        every(3, seq, Answer::status(429, "slow"))
    }),
    ("a redirection to nowhere", |seq| {
        every(
            3,
            seq,
            Answer::status(302, "").with_header("Location", "/elsewhere"),
        )
    }),
    ("half a head", |seq| {
        every(3, seq, raw("HTTP/1.1 200 OK\r\nContent-"))
    }),
    ("no HTTP", |seq| {
        every(3, seq, raw("220 mail.example ESMTP\r\n"))
    }),
    ("nothing, and closes", |seq| every(3, seq, raw(""))),
    ("announces only", |seq| {
        every(3, seq, raw("HTTP/1.1 102 x\r\n\r\n"))
    }),
    ("dribbles its head", |seq| {
        every(
            20,
            seq,
            Answer::Dribble(b"HTTP/1.1 ".to_vec(), Duration::from_millis(50)),
        )
    }),
];

fn every(count: u64, seq: u64, otherwise: Answer) -> Answer {
    match seq.is_multiple_of(count) {
        true => Answer::ok("{}"),
        false => otherwise,
    }
}

#[test]
fn what_is_acknowledged_is_what_the_server_took() {
    each(SERVERS, |(what, odd)| {
        let mut scene = Scene::new();
        let odd = *odd;
        scene.answer_reports(move |request: &Request| {
            odd(request.report()["seq"].as_u64().unwrap())
        });
        wait_for("reports", DEADLINE, || {
            (scene.server.brought("Good").len() >= 12).then_some(())
        });
        // From now on it takes nothing, so that both counts come to rest.
        scene.answer_reports(|_| Answer::status(503, "enough"));
        let taken = || -> BTreeSet<u64> {
            seqs(&scene.server.acknowledged("Good"))
                .into_iter()
                .collect()
        };
        let acknowledged = scene.site.wait_for_status(what, |status| {
            let acknowledged = status["reports"]["acknowledged"].as_u64()?;
            (acknowledged == taken().len() as u64).then_some(acknowledged)
        });
        assert!(acknowledged > 0, "{what}");
        // It stays so while the agent goes on.
        let before = scene.server.brought("Good").len();
        wait_for("further attempts", DEADLINE, || {
            (scene.server.brought("Good").len() > before + 2).then_some(())
        });
        let status = scene.site.status();
        assert_eq!(
            status["reports"]["acknowledged"], acknowledged,
            "{what}: {status}"
        );
        assert_eq!(taken().len() as u64, acknowledged, "{what}");
        scene.assert_alive();
    });
}
