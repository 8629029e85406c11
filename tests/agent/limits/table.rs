//! The docs' table of limits against the constants of the code.

use std::collections::BTreeMap;
use std::time::Duration;

use mote_agent::agent::control;
use mote_agent::cli::enroll;
use mote_agent::delivery::{dead, untaken, uplink};
use mote_agent::gateway::{board, line, run};
use mote_agent::probes::kit::{asked, items};
use mote_agent::probes::{self, cgroups, cores, filesystem, processes, sysinfo, temperature};
use mote_agent::system::{log, secret};
use mote_agent::{agent, delivery, http, plugin, protocol, queue, settings};
use mote_core::{Interval, backoff, json};

const LIMITS: &str = include_str!("../../../linux-agent/docs/limits.md");
const FIRMWARE: [&str; 2] = [
    include_str!("../../../firmware/src/node.rs"),
    include_str!("../../../firmware/src/node/line.rs"),
];

/// Rows whose numbers are no constants: ranges of settings, which `settings` has tests of its own for, and words.
const WITHOUT_CONSTANT: &[&str] = &[
    "age of the orders (`config_update_interval_s`)",
    "one call with all redirects (`request_timeout_s`)",
    "bytes on disk (`queue.max_bytes`)",
    "age (`queue.max_age_s`)",
    "runs that are kept",
    "reports that are kept as they came",
    "history",
];

/// As the table writes it: the largest unit that leaves a whole number.
fn bytes(count: u64) -> String {
    match count {
        it if it >= 1 << 30 && it % (1 << 30) == 0 => format!("{} GiB", it >> 30),
        it if it >= 1 << 20 && it % (1 << 20) == 0 => format!("{} MiB", it >> 20),
        it if it > 2048 && it % (1 << 10) == 0 => format!("{} KiB", it >> 10),
        it => format!("{it} bytes"),
    }
}

fn size(count: usize) -> String {
    bytes(count as u64)
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

/// What and bound of each row.
fn rows() -> BTreeMap<&'static str, &'static str> {
    let lines = LIMITS.lines().filter_map(|line| line.strip_prefix("| "));
    let cells = lines.map(|line| line.split(" | ").collect::<Vec<_>>());
    let cells = cells.filter(|it| !it[0].starts_with("**") && it[0] != "what");
    let mut rows = BTreeMap::new();
    for cells in cells {
        assert_eq!(cells.len(), 4, "{cells:?}");
        assert_ne!(cells[3].trim_matches([' ', '|']), "", "a test of {cells:?}");
        assert_eq!(rows.insert(cells[0], cells[1]), None, "{cells:?}");
    }
    rows
}

fn of_the_agent() -> Vec<(&'static str, String)> {
    let ms = |it: u32| seconds(Duration::from_millis(it.into()));
    let token = secret::TOKEN_BYTES;
    vec![
        ("services of an agent", protocol::MAX_SERVICES.to_string()),
        ("name of a service or plugin", size(protocol::MAX_NAME)),
        (
            "interval of a service",
            format!("{} to {}", Interval::MIN, Interval::MAX),
        ),
        ("services document", size(protocol::MAX_DOCUMENT)),
        ("its `ETag`", size(http::MAX_TAG)),
        ("its nesting", json::MAX_DEPTH.to_string()),
        (
            "redirects, within the origin only",
            http::MAX_REDIRECTS.to_string(),
        ),
        (
            "head of an answer",
            format!("{}, 128 headers", size(http::MAX_HEAD)),
        ),
        (
            "heads (1xx) that only announce an answer",
            http::MAX_INTERIM.to_string(),
        ),
        (
            "body of an answer to a report, once its head has come",
            seconds(http::ANSWER_WAIT),
        ),
        (
            "a server's own words, as far as they are shown",
            format!("{} characters", http::MAX_WORDS),
        ),
        (
            "addresses of a server's name",
            http::MAX_ADDRESSES.to_string(),
        ),
        (
            "answer to a report, as far as it is read",
            bytes(http::MAX_ANSWER),
        ),
        (
            "reports of one request, where the server takes several",
            format!(
                "{}, {}",
                uplink::together::MAX_TOGETHER,
                size(uplink::together::MAX_TOGETHER_BYTES)
            ),
        ),
        (
            "single reports after an answer to several that means nothing",
            seconds(http::AGAIN_AFTER),
        ),
        ("`Retry-After`", seconds(http::MAX_RETRY_AFTER)),
        (
            "delay after failures",
            format!(
                "{} to {}, {} for rare reporters",
                ms(backoff::FIRST_MS),
                ms(uplink::MAX_DELAY_MS),
                ms(2 * uplink::MAX_DISTANCE_MS)
            ),
        ),
        (
            "failures of one report while others are taken",
            uplink::ATTEMPTS.to_string(),
        ),
        (
            "failures of the way to the server for one report meanwhile",
            uplink::WAY_TRIES.to_string(),
        ),
        (
            "failing services that are remembered",
            uplink::MAX_FAILING.to_string(),
        ),
        (
            "services that `status` names as not taken",
            untaken::MAX_REMEMBERED.to_string(),
        ),
        (
            "token",
            format!("{} to {} bytes", token.start(), token.end()),
        ),
        ("file with a token or key", bytes(secret::MAX_SECRET)),
        ("code of an enrolment", size(enroll::MAX_CODE)),
        ("report", size(probes::MAX_REPORT)),
        ("items of a report", items::MAX_ITEMS.to_string()),
        ("temperature sensors", temperature::MAX_SENSORS.to_string()),
        ("mounts", probes::MAX_MOUNTS.to_string()),
        (
            "processes that are looked at",
            processes::MAX_PROCESSES.to_string(),
        ),
        (
            "file of the kernel that is read whole",
            size(probes::MAX_FILE),
        ),
        (
            "texts and addresses of LinuxSysInfo",
            format!(
                "{} bytes, {} addresses",
                sysinfo::MAX_TEXT,
                sysinfo::MAX_ADDRESSES
            ),
        ),
        (
            "groups of `get_cgroups`",
            format!("{} of {}", cgroups::MAX_REPORTED, cgroups::MAX_GROUPS),
        ),
        (
            "file of a group, name of a group",
            format!("{}, {}", size(cgroups::MAX_TEXT), size(cgroups::MAX_NAME)),
        ),
        (
            "CPUs of `get_cpu_cores`",
            format!("the {} busiest of {}", cores::MAX_CORES, cores::MAX_COUNTED),
        ),
        (
            "wait for file systems that hang",
            format!("{} ms a sample", filesystem::BUDGET.as_millis()),
        ),
        (
            "threads that hang for it",
            format!(
                "{} a service, {} in all",
                probes::MAX_WORKERS,
                probes::MAX_THREADS
            ),
        ),
        (
            "wait for drivers (links of interfaces, frequencies of CPUs)",
            format!("{} ms, once a second", asked::BUDGET.as_millis()),
        ),
        (
            "threads that ask for them",
            format!("1 a service, {} in all for each", probes::MAX_THREADS),
        ),
        (
            "files that the probes keep open",
            probes::MAX_OPEN.to_string(),
        ),
        ("at a time", plugin::MAX_RUNNING.to_string()),
        (
            "time (`plugin_timeout_s`)",
            format!(
                "0.1 s to 3600 s, KILL {} later",
                seconds(plugin::KILL_AFTER)
            ),
        ),
        ("output", size(plugin::MAX_OUTPUT_BYTES)),
        (
            "complaints on standard error",
            format!(
                "{} kept, {} read",
                size(plugin::MAX_ERROR_BYTES),
                size(plugin::MAX_COMPLAINT_BYTES)
            ),
        ),
        (
            "memory (address space) of a process",
            bytes(plugin::MAX_MEMORY_BYTES),
        ),
        (
            "files of a process",
            format!(
                "{}, of {} each",
                plugin::MAX_FILES,
                bytes(plugin::MAX_FILE_BYTES)
            ),
        ),
        (
            "processes and threads of the plugins' user, unless that is root",
            plugin::MAX_PROCESSES.to_string(),
        ),
        (
            "request to the runner of plugins",
            size(plugin::MAX_REQUEST_BYTES),
        ),
        (
            "its answer, once the run must be over",
            seconds(plugin::ANSWER_TIME),
        ),
        ("window of the backlog in memory", size(queue::WINDOW_BYTES)),
        (
            "in memory while the disk is out of order",
            size(queue::MEMORY_BYTES),
        ),
        (
            "ranges of delivered reports, a segment of 1 MiB",
            queue::MAX_DONE_RANGES.to_string(),
        ),
        ("dead letters", bytes(dead::MAX_DEAD_BYTES)),
        ("last delivery at the end", seconds(agent::LAST_DELIVERY)),
        ("boards", settings::MAX_BOARDS.to_string()),
        (
            "line, services document included",
            format!("{} bytes", line::MAX_LINE),
        ),
        ("`boot` of a board", size(line::MAX_BOOT)),
        (
            "window against duplicates",
            format!("{} numbers", run::WINDOW),
        ),
        ("unsent bytes to a board", size(board::MAX_OUTGOING)),
        (
            "threads: loop, log, 2 that send and store",
            format!(
                "{}, up to {} that start plugins, one each to ask the name service, read settings anew, read the token and read certificates, one a service that asks drivers, and those that hang for file systems",
                2 + delivery::WORKERS,
                plugin::MAX_STARTING
            ),
        ),
        ("open files", super::MAX_FILES.to_string()),
        (
            "memory beside the program's own code, with 256 services, 16 boards, 16 plugins",
            format!("{} MiB", super::MAX_OWN_MIB),
        ),
        (
            "callers of the control socket",
            control::MAX_CONNECTIONS.to_string(),
        ),
        (
            "a request there",
            format!(
                "{} within {}",
                size(control::MAX_REQUEST),
                seconds(control::MAX_AGE)
            ),
        ),
        (
            "log file",
            format!("{}, and the one before", bytes(log::MAX_FILE)),
        ),
        (
            "lines that wait for the log's disk",
            log::MAX_WAITING.to_string(),
        ),
        ("settings file", bytes(settings::MAX_SETTINGS)),
        ("client id", size(protocol::MAX_CLIENT_NAME)),
    ]
}

#[cfg(feature = "tls")]
fn of_tls() -> Vec<(&'static str, String)> {
    use mote_agent::http::MAX_CERTIFICATES;
    vec![("file with certificates", bytes(MAX_CERTIFICATES))]
}

#[cfg(feature = "serve")]
fn of_the_collector() -> Vec<(&'static str, String)> {
    use mote_agent::cli::ask;
    use mote_agent::collector;
    vec![
        (
            "connections (`max_connections`)",
            collector::MAX_CONNECTIONS.to_string(),
        ),
        (
            "connections of commands on its machine, besides",
            collector::MAX_OWN_CONNECTIONS.to_string(),
        ),
        ("answer that such a command reads", bytes(ask::MAX_ANSWER)),
        (
            "head of a request",
            format!("{}, 100 headers", size(collector::MAX_HEAD_BYTES)),
        ),
        ("body of a report", size(collector::MAX_BODY_BYTES)),
        (
            "all bodies that are being read",
            size(collector::MAX_BODIES_BYTES),
        ),
        (
            "reports of one request, unpacked",
            format!(
                "{}, {}",
                protocol::MAX_BATCH_REPORTS,
                size(protocol::MAX_BATCH_BYTES)
            ),
        ),
        (
            "how far a body in zstd looks back",
            size(collector::MAX_WINDOW_BYTES as usize),
        ),
        (
            "reason of an exception among many reports",
            format!("{} characters", collector::MAX_SENTENCE),
        ),
        ("`boot` of a report", size(collector::MAX_BOOT_BYTES)),
        ("`seq` of a report", (collector::SEQ_END - 1).to_string()),
        ("TLS handshake", seconds(collector::HANDSHAKE_TIMEOUT)),
        (
            "idle connection, head of a request",
            seconds(collector::IDLE_TIMEOUT),
        ),
        ("body of a request", seconds(collector::BODY_TIMEOUT)),
        (
            "answer that nobody reads",
            seconds(collector::WRITE_TIMEOUT),
        ),
        (
            "requests under way at the end",
            seconds(collector::STOP_TIMEOUT),
        ),
        (
            "wait of the answer to a wrong code",
            seconds(collector::MAX_GUESS_DELAY),
        ),
        (
            "codes and tokens of a host",
            format!("{} of each", collector::MAX_PER_HOST),
        ),
        (
            "streams of who listens (`/api/live`)",
            format!(
                "{}, at most one in {} connections",
                collector::MAX_STREAMS,
                collector::STREAM_SHARE
            ),
        ),
        (
            "pause within a request while others wait for its place",
            format!(
                "{}, beside {} bytes a second",
                seconds(collector::STALL),
                collector::MIN_PACE
            ),
        ),
        (
            "password",
            format!(
                "{} to {} bytes",
                collector::PASSWORD_BYTES.start(),
                collector::PASSWORD_BYTES.end()
            ),
        ),
        (
            "wait after five wrong passwords of an address",
            seconds(collector::MAX_LOGIN_WAIT),
        ),
        (
            "addresses whose wrong passwords are remembered",
            collector::MAX_LOGIN_ADDRESSES.to_string(),
        ),
        (
            "passwords that are compared at a time, that wait",
            format!("{}, {}", collector::MAX_HASHING, collector::MAX_LOGINS),
        ),
        (
            "body of a log-in, an enrolment, an invitation, a silence",
            size(collector::MAX_JSON_BYTES),
        ),
        (
            "cost of a password's hash in the settings",
            format!(
                "{}, {} passes, {} lanes",
                bytes(u64::from(collector::MAX_MEMORY_KIB) << 10),
                collector::MAX_PASSES,
                collector::MAX_LANES
            ),
        ),
        (
            "sessions of a user",
            format!(
                "{}, for {} days",
                collector::MAX_SESSIONS,
                collector::SESSION_LIFE_S / 86_400
            ),
        ),
        (
            "hosts of a code for a group",
            collector::MAX_INVITED.to_string(),
        ),
        ("alarms of a host", collector::MAX_ALARMS.to_string()),
        (
            "text of an alarm in the settings",
            size(collector::MAX_ALARM_TEXT),
        ),
        ("receivers of messages", collector::MAX_TARGETS.to_string()),
        (
            "silences, length of one",
            format!(
                "{}, {} days",
                collector::MAX_SILENCES,
                collector::MAX_SILENCE_S / 86_400.0
            ),
        ),
        ("reason of a silence", size(collector::MAX_REASON)),
        (
            "messages that wait, for so long",
            format!(
                "{}, {} h",
                collector::MAX_MESSAGES,
                collector::MAX_MESSAGE_AGE_MS / 3_600_000
            ),
        ),
        (
            "a POST, a step of a mail",
            format!(
                "{}, {}",
                seconds(collector::WEBHOOK_TIMEOUT),
                seconds(collector::MAIL_TIMEOUT)
            ),
        ),
        (
            "hosts and alarms named in a message, listed as JSON",
            format!("{}, {}", collector::MAX_NAMED, collector::MAX_LISTED),
        ),
        (
            "alarms of a host in an hour, by item",
            collector::MAX_REMEMBERED.to_string(),
        ),
        (
            "events that a host began anew",
            format!("{} an hour", collector::MAX_SAID),
        ),
        (
            "alarms that are over, in an answer",
            collector::MAX_ALARM_HISTORY.to_string(),
        ),
        ("events in an answer", collector::MAX_EVENTS.to_string()),
        (
            "rows of alarms, silences, messages, events",
            format!("{} of each", collector::MAX_ALARM_ROWS),
        ),
        (
            "changes of alarms while the database is out of order",
            collector::MAX_UNWRITTEN.to_string(),
        ),
        ("queries that wait", collector::MAX_WAITING.to_string()),
        ("time of a query", seconds(collector::MAX_QUERY_TIME)),
        (
            "numbers of a report that have a history",
            collector::MAX_HISTORY_COLUMNS.to_string(),
        ),
        (
            "name of a field or an item in the history",
            format!("{} bytes", collector::MAX_HISTORY_NAME),
        ),
        (
            "numbers in no block yet",
            format!(
                "{}, {}",
                collector::MAX_CELLS,
                size(collector::MAX_CELLS * size_of::<f64>())
            ),
        ),
        (
            "services that a client has reported",
            collector::MAX_SERVICES_OF_CLIENT.to_string(),
        ),
        ("bins of a series", collector::MAX_BINS.to_string()),
        (
            "columns of a series",
            format!(
                "{}, {} bins in all",
                collector::MAX_COLUMNS,
                collector::MAX_VALUES
            ),
        ),
        ("gaps within a run", collector::MAX_RANGES.to_string()),
        (
            "page of reports",
            format!(
                "{}, about {}",
                collector::MAX_PAGE,
                size(collector::MAX_PAGE_BYTES)
            ),
        ),
        (
            "lines about clients in the log",
            format!(
                "{} in {}, the same once",
                collector::MAX_LINES,
                seconds(collector::SAY_AGAIN)
            ),
        ),
        (
            "runs in the accounting",
            format!(
                "{} a client, {} in all",
                collector::MAX_RUNS,
                collector::MAX_RUNS_IN_ALL
            ),
        ),
    ]
}

/// The firmware is a workspace of its own, so its constants are read as text.
fn of_the_firmware() -> Vec<(&'static str, String)> {
    let number = |name: &str| {
        let start = format!("const {name}: ");
        let line = FIRMWARE
            .iter()
            .flat_map(|file| file.lines())
            .find_map(|line| line.trim().trim_start_matches("pub ").strip_prefix(&start));
        let value = line.and_then(|line| line.split_once(" = "));
        let (_, value) = value.unwrap_or_else(|| panic!("no {name}"));
        let digits = value.trim_end_matches([';', ',']).replace('_', "");
        digits.parse::<u64>().expect("a number")
    };
    vec![
        (
            "services, bytes of a name",
            format!("{}, {}", number("SERVICES"), number("NAME")),
        ),
        ("reports that wait in the ring", number("RING").to_string()),
        (
            "line of a report, of a document",
            format!("{}, {} bytes", number("MAX_LINE"), number("LINE")),
        ),
        (
            "time until a report is sent again",
            format!(
                "{} s to {} s",
                number("FIRST_RETRY_MS") / 1000,
                number("MAX_RETRY_MS") / 1000
            ),
        ),
    ]
}

#[test]
fn the_table_says_what_the_code_does() {
    let mut rows = rows();
    let mut expected = of_the_agent();
    expected.extend(of_the_firmware());
    #[cfg(feature = "tls")]
    expected.extend(of_tls());
    #[cfg(feature = "serve")]
    expected.extend(of_the_collector());
    for (what, bound) in &expected {
        let found = rows.remove(what);
        assert_eq!(found, Some(bound.as_str()), "{what}");
    }
    for what in WITHOUT_CONSTANT {
        assert!(rows.remove(what).is_some(), "no row {what}");
    }
    // A row of which nobody knows whether it is true.
    if cfg!(all(feature = "serve", feature = "tls")) {
        assert_eq!(rows, BTreeMap::new());
    }
}
