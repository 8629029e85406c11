//! Samples of which nothing is known, and plugins that nobody knows.

use std::fs;
use std::os::unix::fs::FileExt;

use mote_test_support::DEADLINE;
use mote_test_support::scripted_server::Server;
use mote_test_support::site::{Site, service};
use mote_test_support::wait_for;
use serde_json::Value;

/// Without a rate there is no report: a trigger finds each key in each report.
#[test]
fn a_sample_of_which_nothing_is_known_is_missed_and_not_sent() {
    let server = Server::new(r#"{"Cpu": ["get_linux_cpu", 0.1], "Up": ["host_alive_check", 0.1]}"#);
    let site = Site::of(&server);
    let procfs = site.path("proc");
    fs::create_dir(&procfs).unwrap();
    fs::write(procfs.join("uptime"), "5.00 1.00\n").unwrap();
    fs::write(procfs.join("stat"), "cpu  1000 0 0 1000 9 0 0 0 0 0\n").unwrap();
    let folder = procfs.to_str().unwrap();
    assert_eq!(site.call(&["--procfs", folder, "start"]).code, 0);

    let missed = || service(&site.status(), "Cpu")["missed"].as_u64().unwrap();
    let wait_until_missed = |count: u64| {
        wait_for("samples that are missed", DEADLINE, || {
            (missed() >= count).then_some(())
        });
    };
    server.wait_for_more("Up", 1);
    wait_until_missed(3);
    assert_eq!(server.brought("Cpu"), Vec::<Value>::new());

    // In place and as long as before, for the agent keeps the file open: user and idle grow, iowait goes back.
    let stat = fs::File::options().write(true).open(procfs.join("stat"));
    let write = |line: &[u8]| stat.as_ref().unwrap().write_all_at(line, 0).unwrap();
    write(b"cpu  2000 0 0 2000 8 0 0 0 0 0\n");
    server.wait_for_more("Cpu", 1);
    // All go back, and stay there.
    write(b"cpu  1000 0 0 1000 8 0 0 0 0 0\n");
    wait_until_missed(missed() + 3);
    for report in server.brought("Cpu") {
        for field in ["user", "nice", "system", "iowait", "steal", "idle"] {
            assert!(report["data"][field].is_number(), "{field} in {report}");
        }
    }

    let said = site.call(&["stop"]);
    assert!(said.out.starts_with("mote stopped, pid "), "{said:?}");
}

/// Its failure is reported once, and is no sample.
#[test]
fn status_tells_of_no_sample_of_a_plugin_that_is_unknown() {
    let site = Site::new("services = { Odd = [\"no_such_plugin\", 1] }");
    site.start();
    site.wait_for_status("the report of it", |status| {
        (status["reports"]["sampled"].as_u64() > Some(0)).then_some(())
    });
    let status = site.status();
    let odd = service(&status, "Odd");
    assert_eq!(
        (&odd["last"], &odd["next_in_s"]),
        (&Value::Null, &Value::Null)
    );
    assert!(odd["status"].as_i64() > Some(0), "{odd}");
    let text = site.call(&["status"]).out;
    let row = text.lines().find(|line| line.starts_with("Odd"));
    let cells: Vec<&str> = row.unwrap().split_whitespace().collect();
    assert_eq!(
        cells[..6],
        ["Odd", "no_such_plugin", "1", "s", "-", "-"],
        "{text}"
    );
}
