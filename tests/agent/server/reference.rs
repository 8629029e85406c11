//! The agent against a server of the Django family that it must work with unchanged, and the
//! collector against a client of that family. Both are in `reference_server/`, whose README says
//! what the server does on the wire.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use mote_test_support::django::{Django, Report};
use mote_test_support::site::said;
use mote_test_support::{DEADLINE, http_get, wait_for};
use serde_json::Value;

/// What `create_fixture` gives to host 1: name, plugin, interval in seconds. The first comes with
/// the host's own template, the others with that of its group.
const SERVICES: [(&str, &str, f64); 3] = [
    ("LinuxCPU", "get_linux_cpu", 1.0),
    ("LinuxMemory", "get_memory_info", 1.0),
    ("LinuxNetwork", "GetNetworkStatus", 2.0),
];

#[test]
fn the_servers_own_tests_pass() {
    let Some(django) = Django::prepare("json") else {
        return;
    };
    django.manage(&["check", "--fail-level", "WARNING"]);
    django.manage(&["test"]);
}

#[test]
fn reports_arrive_as_json() {
    reports_arrive("json");
}

#[test]
fn reports_arrive_as_forms() {
    reports_arrive("form");
}

fn reports_arrive(encoding: &str) {
    let Some(django) = Django::prepare(encoding) else {
        return;
    };
    let mut server = django.serve();
    let redirect = http_get(&django.url("api/client/config/1")).unwrap();
    assert_eq!(redirect.status, 301);
    assert_eq!(redirect.header("location"), "/api/client/config/1/");
    let begin_s = unix_time_s();
    let mut agent = django.start_agent();

    wait_for("two reports of each service", DEADLINE, || {
        server.assert_running();
        agent.assert_running();
        let reports = django.reports();
        let often = |(name, _, _)| times_s(&reports, name).len() >= 2;
        SERVICES.into_iter().all(often).then_some(())
    });
    assert_eq!(agent.terminate().code(), Some(0));

    // The test asked without the slash once; the rest was the agent, by way of the redirect.
    let log = server.output();
    let asked = |path: &str, status| {
        let line = format!("\"GET {path} HTTP/1.1\" {status} ");
        log.lines().filter(|have| have.contains(&line)).count()
    };
    assert!(asked("/api/client/config/1", 301) >= 2, "{log}");
    assert!(asked("/api/client/config/1/", 200) >= 1, "{log}");

    let reports = django.reports();
    let names: BTreeSet<&str> = reports.iter().map(|report| &*report.service_name).collect();
    assert_eq!(names, SERVICES.map(|(name, _, _)| name).into());
    assert_no_gap(&reports);
    let end_s = unix_time_s();
    for report in &reports {
        assert_eq!(report.client_id, 1);
        assert!((begin_s..end_s).contains(&report.time_s), "{report:?}");
        assert_eq!(report.data["status"], 0, "{report:?}");
        match &*report.service_name {
            "LinuxCPU" => assert_cpu(&report.data),
            "LinuxMemory" => assert_memory(&report.data),
            _ => assert_network(&report.data),
        }
    }
    // The reports themselves pass through the loopback interface.
    let received = |report: &Report| report.data["data"]["lo"]["t_in"].as_f64();
    let busiest_kib_s = reports.iter().filter_map(received).fold(0.0, f64::max);
    assert!(busiest_kib_s > 0.0, "no traffic on loopback: {reports:?}");
}

#[test]
fn a_changed_interval_is_taken_up() {
    let Some(django) = Django::prepare("json") else {
        return;
    };
    let mut server = django.serve();
    let mut agent = django.start_agent();
    // Counted by when it was sampled, however late it arrives; three in a row, so that a machine
    // that pauses now and then only takes longer.
    let mut wait_for_spacing = |cpu_s: f64| {
        let what = format!("LinuxCPU every {cpu_s} s and LinuxMemory every second");
        wait_for(&what, DEADLINE, || {
            server.assert_running();
            agent.assert_running();
            let reports = django.reports();
            let spaced = |name: &str, interval_s: f64| {
                let times_s = times_s(&reports, name);
                let gaps = times_s.windows(2).map(|pair| pair[1] - pair[0]);
                let last: Vec<f64> = gaps.rev().take(3).collect();
                last.len() == 3 && last.iter().all(|gap| (gap - interval_s).abs() < 0.5)
            };
            (spaced("LinuxCPU", cpu_s) && spaced("LinuxMemory", 1.0)).then_some(())
        });
    };
    wait_for_spacing(1.0);
    django.manage(&["set_interval", "LinuxCPU", "3"]);
    wait_for_spacing(3.0);
    django.manage(&["set_interval", "LinuxCPU", "2"]);
    wait_for_spacing(2.0);
    assert_no_gap(&django.reports());
}

#[test]
fn what_was_sampled_while_the_server_was_down_arrives_when_it_is_back() {
    let Some(django) = Django::prepare("json") else {
        return;
    };
    let server = django.serve();
    let mut agent = django.start_agent();
    let queued = || {
        let said = said(&mut django.mote(&["status", "--json"]));
        let status: Value = serde_json::from_str(&said.out).ok()?;
        status["reports"]["queued"].as_u64()
    };
    wait_for("the first reports", DEADLINE, || {
        agent.assert_running();
        (django.reports().len() >= 3).then_some(())
    });

    // KILL: connections break, and a report may be stored without its acknowledgement.
    drop(server);
    let down_s = unix_time_s();
    // Several refreshes fail meanwhile.
    wait_for("some reports in the queue", DEADLINE, || {
        agent.assert_running();
        (queued()? >= 6).then_some(())
    });
    let up_s = unix_time_s();
    let mut server = django.serve();

    let reports = wait_for("reports from before and after", DEADLINE, || {
        server.assert_running();
        agent.assert_running();
        let reports = django.reports();
        let while_down = |report: &&Report| (down_s..up_s).contains(&report.time_s);
        let queued = reports.iter().filter(while_down).count();
        let fresh = reports.iter().filter(|report| report.time_s > up_s).count();
        (queued >= 3 && fresh >= 3 && missing(&reports).is_empty()).then_some(reports)
    });
    assert_no_gap(&reports);
    assert_eq!(agent.terminate().code(), Some(0));
    // The last delivery leaves nothing behind either.
    assert_no_gap(&django.reports());
}

/// Reports go to a Redis of the server's, and its triggers look at each.
#[test]
fn what_was_sampled_while_redis_was_away_arrives_when_it_is_back() {
    let Some(django) = Django::prepare_with_redis("form") else {
        return;
    };
    let redis = django.serve_redis();
    let mut server = django.serve();
    let mut agent = django.start_agent();
    wait_for("the first reports", DEADLINE, || {
        agent.assert_running();
        (django.reports().len() >= 6).then_some(())
    });
    // KILL, while reports arrive; orders go on, and each report is answered with 500.
    drop(redis);
    let away_s = unix_time_s();
    let answers = |status: u16| {
        let line = format!("POST /api/client/service/report/ HTTP/1.1\" {status} ");
        server.output().matches(&line).count()
    };
    wait_for("failed reports and a queue", DEADLINE, || {
        let said = said(&mut django.mote(&["status", "--json"]));
        let status: Value = serde_json::from_str(&said.out).ok()?;
        (answers(500) >= 3 && status["reports"]["queued"].as_u64()? >= 30).then_some(())
    });
    let back_s = unix_time_s();
    let mut redis = django.serve_redis();

    let while_away = |it: &&Report| (away_s..back_s).contains(&it.time_s);
    let stored = wait_for("reports from before and after", DEADLINE, || {
        agent.assert_running();
        redis.assert_running();
        let stored = django.stored();
        let behind = stored.iter().any(|it| it.time_s > back_s + 5.0);
        let mut in_order = stored.clone();
        in_order.sort_by_key(|it| it.seq);
        (behind && missing(&in_order).is_empty()).then_some(stored)
    });
    assert!(stored.iter().filter(while_away).count() >= 15);
    // Each service is back before the backlog: a sample of each from the outage's end is among the first.
    let first = stored.iter().position(|it| it.time_s >= away_s).unwrap();
    let soon = &stored[first..first + 3 * SERVICES.len()];
    let middle_s = away_s.midpoint(back_s);
    for (name, _, _) in SERVICES {
        let is_fresh = |it: &Report| it.service_name == name && it.time_s > middle_s;
        assert!(soon.iter().any(is_fresh), "{name}: {soon:#?}");
    }
    assert_eq!(agent.terminate().code(), Some(0));
    assert_no_gap(&django.reports());
    // A trigger that could not be worked out would have answered 500 to all that follows.
    let triggers = django.manage(&["dump_triggers"]);
    let states: Vec<Value> = triggers
        .lines()
        .map(|it| serde_json::from_str(it).unwrap())
        .collect();
    let raised: Vec<_> = states.iter().map(|it| it["is_raised"].as_bool()).collect();
    assert_eq!(raised, [Some(false), Some(true)], "{triggers}");
    server.assert_running();
}

/// When a service was sampled, each sample once however often it was delivered.
fn times_s(reports: &[Report], service_name: &str) -> Vec<f64> {
    let of_service = reports.iter().filter(|it| it.service_name == service_name);
    let by_seq: BTreeMap<u64, f64> = of_service.map(|it| (it.seq, it.time_s)).collect();
    by_seq.into_values().collect()
}

/// The numbers before the last, from 0 where a run begins, that never arrived.
fn missing(reports: &[Report]) -> Vec<u64> {
    let have: BTreeSet<u64> = reports.iter().map(|report| report.seq).collect();
    let last = have.last().copied().unwrap_or_default();
    (0..last).filter(|seq| !have.contains(seq)).collect()
}

fn assert_no_gap(reports: &[Report]) {
    assert_eq!(missing(reports), [0; 0]);
    let boots: BTreeSet<&str> = reports.iter().map(|report| &*report.boot).collect();
    assert_eq!(boots.len(), 1, "more than one run: {boots:?}");
}

fn assert_cpu(data: &Value) {
    let shares: Vec<f64> = ["user", "nice", "system", "iowait", "steal", "idle"]
        .iter()
        .filter_map(|name| data[name].as_f64())
        .collect();
    // A share whose counter went backwards is left out, and only the kernel's iowait and idle do.
    assert!(shares.len() >= 4, "{data}");
    assert!(shares.iter().all(|share| (0.0..=100.0).contains(share)));
    assert!(
        (shares.iter().sum::<f64>() - 100.0).abs() < 0.1,
        "together not 100 %: {data}"
    );
}

fn assert_memory(data: &Value) {
    let kib = |name: &str| {
        data[name]
            .as_f64()
            .unwrap_or_else(|| panic!("{name}: {data}"))
    };
    assert_eq!(kib("MemTotal"), mem_total_kib());
    let used = kib("MemTotal") - kib("MemFree") - kib("Buffers") - kib("Cached");
    assert_eq!(kib("MemUsage"), used);
    assert!((kib("MemUsage_p") - used * 100.0 / kib("MemTotal")).abs() <= 0.01);
}

fn mem_total_kib() -> f64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap();
    let line = text.lines().find(|line| line.starts_with("MemTotal:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .unwrap()
}

fn assert_network(data: &Value) {
    let interfaces = data["data"].as_object();
    let interfaces = interfaces.unwrap_or_else(|| panic!("no interfaces: {data}"));
    for rates in interfaces.values() {
        for name in ["t_in", "t_out"] {
            // An interface that just appeared has no rate yet.
            let rate_kib_s = rates[name].as_f64().unwrap_or_default();
            assert!(rate_kib_s >= 0.0, "{data}");
        }
    }
    // What the loopback interface sends, it receives.
    assert_eq!(interfaces["lo"]["t_in"], interfaces["lo"]["t_out"]);
}

fn unix_time_s() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_secs_f64()
}

#[cfg(feature = "serve")]
mod collector {
    use std::fs;
    use std::process::Command;

    use serde_json::Value;
    use tempfile::TempDir;

    use mote_test_support::django::{need_python, project};
    use mote_test_support::{DEADLINE, Running, free_port, http_get, mote, run, wait_for};

    #[test]
    fn an_old_client_works_with_it_unchanged() {
        let Some(python) = need_python() else { return };
        let folder = TempDir::new().unwrap();
        let port = free_port();
        let settings = folder.path().join("server.toml");
        let text = format!(
            r#"
            listen = "127.0.0.1:{port}"
            database = "reports.db"

            [templates.linux.services]
            LinuxCPU = ["get_linux_cpu", 15]

            [groups.old]
            templates = ["linux"]

            [hosts.oldest]
            id = 1
            groups = ["old"]
            "#
        );
        fs::write(&settings, text).unwrap();
        let serve = &mut mote();
        serve.arg("--config").arg(&settings).arg("serve");
        let mut server = Running::start("collector", serve, folder.path());
        let url = format!("http://127.0.0.1:{port}");
        wait_for("the collector", DEADLINE, || {
            server.assert_running();
            http_get(&format!("{url}/api/client/config/1")).ok()
        });

        let mut client = Command::new(python);
        client
            .arg(project().join("reference_client.py"))
            .args([&url, "1"])
            .env("NO_PROXY", "127.0.0.1");
        let printed = run(&mut client).unwrap_or_else(|failure| panic!("{failure}"));
        let round: Value = serde_json::from_str(&printed).unwrap();
        let services = serde_json::json!({"LinuxCPU": ["get_linux_cpu", 15]});
        assert_eq!(round["services"], services);

        let stored = http_get(&format!("{url}/api/reports?client_id=1")).unwrap();
        let stored: Value = serde_json::from_str(&stored.body).unwrap();
        let reports = stored["reports"].as_array().unwrap();
        assert_eq!(reports.len(), 1, "{stored}");
        for name in ["service_name", "data"] {
            assert_eq!(reports[0][name], round[name], "{stored}");
        }
        assert_eq!(server.terminate().code(), Some(0));
    }
}
