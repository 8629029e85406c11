//! A collector with more connections than it takes, and with clients that do nothing.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mote_agent::collector::{
    BODY_TIMEOUT, IDLE_TIMEOUT, MAX_BODIES_BYTES, MAX_BODY_BYTES, MAX_CONNECTIONS, STOP_TIMEOUT,
    WRITE_TIMEOUT,
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use mote_test_support::collector::{Program, write_secret};
use mote_test_support::processes::{self, open_files};
use mote_test_support::{DEADLINE, need, wait_for};

/// The collector of a host `web` with the usual limit of open files, and with more keys of its own and of the host.
fn collector(keys: &str, of_host: &str) -> Program {
    let folder = TempDir::new().unwrap();
    let toml = format!(
        "listen = \"127.0.0.1:0\"\ndatabase = \"reports.db\"\n{keys}\n[hosts.web]\nid = 1\n{of_host}"
    );
    fs::write(folder.path().join("server.toml"), toml).unwrap();
    write_secret(&folder.path().join("token"), TOKEN);
    Program::with_files(1024, folder)
}

pub fn connect(collector: &Program) -> TcpStream {
    let stream = TcpStream::connect(collector.address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// The beginning of an answer, up to its code; nothing if the connection ends or nothing comes in time.
pub fn status(stream: &mut TcpStream) -> String {
    let mut start = [0; 12];
    match stream.read_exact(&mut start) {
        Ok(()) => String::from_utf8_lossy(&start).into_owned(),
        Err(_) => String::new(),
    }
}

const TOKEN: &str = "token-of-the-web-host";

/// The head of a report whose body has so many bytes, and what it begins with.
fn post(bytes: usize, body: &str) -> String {
    format!(
        "POST /api/client/service/report/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Connection: close\r\nContent-Length: {bytes}\r\n\r\n{body}"
    )
}

const ASK: &[u8] = b"GET /api/client/config/1 HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[test]
fn the_connection_that_is_idle_the_longest_gives_way() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let raised = match hard {
        0..1200 => Err(format!(
            "this test needs 1200 open files, and may have {hard}"
        )),
        _ => setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_err(|errno| errno.to_string()),
    };
    let name = "the_connection_that_is_idle_the_longest_gives_way";
    let Some(()) = need(name, raised) else { return };
    let mut collector = collector("", "");
    let max = MAX_CONNECTIONS as usize;
    let mut held: Vec<_> = (0..max).map(|_| connect(&collector)).collect();
    // The first has asked since, so it is the one that waits the shortest.
    held[max - 1].write_all(ASK).unwrap();
    assert_eq!(status(&mut held[max - 1]), "HTTP/1.1 200");
    held[0].write_all(ASK).unwrap();
    assert_eq!(status(&mut held[0]), "HTTP/1.1 200");
    // The rest of the answer.
    assert!(held[0].read(&mut [0; 4096]).unwrap() > 0);

    let mut late: Vec<_> = (0..40).map(|_| connect(&collector)).collect();
    for stream in &mut late {
        stream.write_all(ASK).unwrap();
    }
    for stream in &mut late {
        assert_eq!(status(stream), "HTTP/1.1 200");
    }
    let files = open_files(collector.process.id());
    assert!((max..1024).contains(&files), "{files}");
    held[0].write_all(ASK).unwrap();
    assert_eq!(status(&mut held[0]), "HTTP/1.1 200");
    let mut ended = 0;
    for stream in &mut held[1..] {
        let short = Some(Duration::from_millis(1));
        stream.set_read_timeout(short).unwrap();
        ended += usize::from(matches!(stream.read(&mut [0; 4096]), Ok(0)));
    }
    assert_eq!(ended, 40);
    collector.process.assert_running();
    assert!(collector.process.terminate().success());
}

#[test]
fn a_connection_that_is_answered_gives_way_to_nobody() {
    let collector = collector("max_connections = 3", "");
    let mut half: Vec<_> = (0..3).map(|_| connect(&collector)).collect();
    let request = post(SMALL.len(), SMALL);
    let (first, second) = request.split_at(request.len() - 1);
    for stream in &mut half {
        stream.write_all(first.as_bytes()).unwrap();
    }
    // As long as their bodies are not complete.
    let mut late = connect(&collector);
    late.write_all(ASK).unwrap();
    late.set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    assert_eq!(status(&mut late), "", "it has to wait");
    half[1].write_all(second.as_bytes()).unwrap();
    assert_eq!(status(&mut half[1]), "HTTP/1.1 200");
    late.set_read_timeout(Some(DEADLINE)).unwrap();
    assert_eq!(status(&mut late), "HTTP/1.1 200");
    for stream in [0, 2] {
        half[stream].write_all(second.as_bytes()).unwrap();
        assert_eq!(status(&mut half[stream]), "HTTP/1.1 200");
    }
}

#[test]
fn a_process_that_may_open_few_files_says_so_and_takes_fewer_connections() {
    let folder = tempfile::tempdir().unwrap();
    let toml = "listen = \"127.0.0.1:0\"\ndatabase = \"reports.db\"\nmax_connections = 5000\n[hosts.web]\nid = 1\n";
    std::fs::write(folder.path().join("server.toml"), toml).unwrap();
    let collector = Program::with_files(100, folder);
    wait_for("a word of what is taken", DEADLINE, || {
        let said = collector.output();
        said.contains("at most 36 connections are taken")
            .then_some(())
    });
    let mut held: Vec<_> = (0..60).map(|_| connect(&collector)).collect();
    let last = held.last_mut().unwrap();
    last.write_all(ASK).unwrap();
    assert_eq!(status(last), "HTTP/1.1 200");
    assert!(open_files(collector.process.id()) < 100);
}

const SMALL: &str = r#"{"client_id":1,"service_name":"a","data":{}}"#;

/// More slow bodies than there is room for: those that come then are refused, and let go of what they had.
#[test]
fn bodies_share_their_room() {
    let collector = collector("", "");
    let places = MAX_BODIES_BYTES / MAX_BODY_BYTES;
    let text = "x".repeat(MAX_BODY_BYTES - 1);
    let small = || {
        let mut stream = connect(&collector);
        stream
            .write_all(post(SMALL.len(), SMALL).as_bytes())
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    // All but a byte, so that it is still awaited.
    let slow_one = |length: usize, body: &str| {
        let mut stream = connect(&collector);
        stream.write_all(post(length, body).as_bytes()).unwrap();
        stream
    };
    let mut slow: Vec<_> = (0..places)
        .map(|_| slow_one(MAX_BODY_BYTES, &text))
        .collect();
    wait_for("a refusal", DEADLINE, || {
        let mut whole = slow_one(MAX_BODY_BYTES - 1, &text);
        let answer = status(&mut whole);
        // It may have come before one of the others was read, which was refused instead.
        slow.push(slow_one(MAX_BODY_BYTES, &text));
        (answer == "HTTP/1.1 503").then_some(())
    });
    // A small one finds what is left between the large ones, until that is used up.
    let refused = wait_for("a refusal of a small one", DEADLINE, || {
        slow.push(slow_one(SMALL.len(), &SMALL[1..]));
        Some(small()).filter(|answer| answer.starts_with("HTTP/1.1 503"))
    });
    assert!(
        refused.to_lowercase().contains("retry-after: 1\r\n"),
        "{refused}"
    );
    let resident_kib = processes::status(collector.process.id(), "VmHWM");
    assert!(
        resident_kib < (3 * MAX_BODIES_BYTES) >> 10,
        "{resident_kib}"
    );
    drop(slow);
    wait_for("room again", DEADLINE, || {
        small().starts_with("HTTP/1.1 200").then_some(())
    });
}

/// Nobody without a token has a body kept.
#[test]
fn bodies_of_strangers_take_no_room() {
    let collector = collector("require_tokens = true", "token_file = \"token\"\n");
    let text = "x".repeat(MAX_BODY_BYTES - 1);
    let slow: Vec<_> = (0..MAX_BODIES_BYTES / MAX_BODY_BYTES + 1)
        .map(|_| {
            let mut stream = connect(&collector);
            stream
                .write_all(post(MAX_BODY_BYTES, &text).as_bytes())
                .unwrap();
            stream
        })
        .collect();
    let with_token = post(MAX_BODY_BYTES, SMALL).replace(
        "Host: localhost",
        &format!("Host: localhost\r\nAuthorization: Bearer {TOKEN}"),
    );
    let mut stream = connect(&collector);
    let padding = " ".repeat(MAX_BODY_BYTES - SMALL.len());
    stream
        .write_all((with_token + &padding).as_bytes())
        .unwrap();
    assert_eq!(status(&mut stream), "HTTP/1.1 200");
    // They have their answer at the end of what they send.
    for mut stream in slow {
        stream.write_all(b"x").unwrap();
        assert_eq!(status(&mut stream), "HTTP/1.1 401");
    }
}

/// Half of a report, and then the collector is told to end. Gives the connection once it waits for the other half.
fn post_half(collector: &Program) -> TcpStream {
    let mut stream = connect(collector);
    let head = format!(
        "POST /api/client/service/report/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Expect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        HALVES.concat().len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).unwrap();
    assert_eq!(go_on, *b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(HALVES[0].as_bytes()).unwrap();
    stream
}

const HALVES: [&str; 2] = [
    r#"{"client_id":1,"service_name":"a","data":{"status":0},"#,
    r#""boot":"b","seq":0}"#,
];

/// One that is done in half of the time is answered, one that is never done is cut.
#[test]
fn requests_under_way_have_their_time_when_the_collector_ends() {
    // On a machine that is so busy that this process comes too late itself, once more.
    for _ in 0..10 {
        let mut collector = collector("", "");
        let mut soon = post_half(&collector);
        let mut never = post_half(&collector);
        let began = Instant::now();
        collector.process.signal(Signal::SIGTERM);
        std::thread::sleep(STOP_TIMEOUT / 2);
        let sent = soon.write_all(HALVES[1].as_bytes());
        let is_in_time = began.elapsed() < STOP_TIMEOUT * 3 / 4;
        let answer = status(&mut soon);
        let mut rest = Vec::new();
        let _ = never.read_to_end(&mut rest);
        let cut = began.elapsed();
        assert!(collector.process.wait().success());
        assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
        assert!(cut >= STOP_TIMEOUT, "cut after {cut:?}");
        // The collector, too, may come too late for what came in time.
        if is_in_time && sent.is_ok() && answer == "HTTP/1.1 200" {
            return;
        }
    }
    panic!("no answer to a request that was under way");
}

/// It takes a little longer than the bound, and what lies in the kernel's buffers is no answer.
#[test]
fn an_answer_that_nobody_reads_is_cut() {
    let collector = collector("", "");
    let text = "x".repeat(200 << 10);
    for seq in 0..20 {
        let body = format!(
            r#"{{"client_id":1,"service_name":"a","data":{{"text":"{text}"}},"boot":"b","seq":{seq}}}"#
        );
        let mut stream = connect(&collector);
        write!(
            stream,
            "POST /api/client/service/report/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        // To its end, which comes a moment before the collector closes it.
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let mut before = usize::MAX;
    wait_for("the end of the others", DEADLINE, || {
        std::thread::sleep(Duration::from_millis(200));
        let last = std::mem::replace(&mut before, open_files(collector.process.id()));
        (last == before).then_some(())
    });
    let mut stream = connect(&collector);
    // Far more than the kernel keeps for one who does not read.
    for _ in 0..10 {
        let ask = b"GET /api/reports?limit=10000 HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(ask).unwrap();
    }
    let pages = 10 * 20 * text.len();
    wait_for("a connection", DEADLINE, || {
        (open_files(collector.process.id()) > before).then_some(())
    });
    let began = Instant::now();
    wait_for("its end", DEADLINE, || {
        (open_files(collector.process.id()) <= before).then_some(())
    });
    let took = began.elapsed();
    assert!(took >= WRITE_TIMEOUT - Duration::from_secs(2), "{took:?}");
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.len() < pages, "{}", rest.len());
}

/// It takes as long as the longest of the bounds.
#[test]
fn clients_that_do_nothing_have_their_time() {
    let collector = collector("", "");
    let post = b"POST /api/client/service/report/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                 Content-Length: 100\r\n\r\n{";
    let cases: [(&str, &[u8], Duration, &str); 4] = [
        ("nothing", b"", IDLE_TIMEOUT, ""),
        ("half a head", b"GET / HTTP/1.1\r\nHo", IDLE_TIMEOUT, ""),
        ("idle after a request", ASK, IDLE_TIMEOUT, "HTTP/1.1 200"),
        ("half a body", post, BODY_TIMEOUT, "HTTP/1.1 408"),
    ];
    std::thread::scope(|scope| {
        for (name, sent, limit, answer) in cases {
            let mut stream = connect(&collector);
            scope.spawn(move || {
                let began = Instant::now();
                stream.write_all(sent).unwrap();
                let mut text = Vec::new();
                let _ = stream.read_to_end(&mut text);
                let took = began.elapsed();
                assert!(text.starts_with(answer.as_bytes()), "{name}");
                assert_eq!(text.is_empty(), answer.is_empty(), "{name}");
                assert!(took >= limit - Duration::from_secs(1), "{name}: {took:?}");
            });
        }
    });
}

/// The log's thread has a file table of its own. A signal that it took would be lost: the descriptor that wakes the
/// others is not in there.
#[test]
fn a_thread_without_the_process_files_takes_no_signals() {
    let collector = collector("", "");
    let process = collector.process.id();
    let threads = wait_for("a thread with a table of its own", DEADLINE, || {
        let folder = fs::read_dir(format!("/proc/{process}/task")).unwrap();
        let mut threads: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
        // All others share standard input.
        threads.retain(|thread| !thread.join("fd/0").exists());
        (!threads.is_empty()).then_some(threads)
    });
    for thread in threads {
        let name = fs::read_to_string(thread.join("comm")).unwrap();
        let status = fs::read_to_string(thread.join("status")).unwrap();
        let blocked = status.lines().find_map(|it| it.strip_prefix("SigBlk:"));
        let blocked = u64::from_str_radix(blocked.unwrap().trim(), 16).unwrap();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            let bit = 1 << (signal as u64 - 1);
            assert_ne!(blocked & bit, 0, "{signal} and the thread {name}");
        }
    }
}
