//! More services than there is time for.

use std::fs;

use mote_test_support::scripted_server::Server;
use mote_test_support::site::{Site, assert_balanced, service};
use mote_test_support::{DEADLINE, wait_for};
use serde_json::Value;

/// Each of the services looks at so many processes, ten times a second.
const SERVICES: usize = 200;
const PROCESSES: usize = 600;

#[test]
fn orders_for_more_than_there_is_time_for_do_not_stop_the_agent() {
    let services: Vec<String> = (0..SERVICES)
        .map(|n| format!(r#""S{n}": ["get_processes", 0.1]"#))
        .collect();
    let server = Server::new(&format!("{{{}}}", services.join(",")));
    let site = Site::of(&server);
    let procfs = site.path("proc");
    for pid in 1..=PROCESSES {
        let folder = procfs.join(pid.to_string());
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("stat"), format!("{pid} (x) S 1 1 1 0 -1 0\n")).unwrap();
    }
    fs::write(
        procfs.join("stat"),
        "cpu  1 2 3 4 5 6 7 8 9 0\nctxt 5\nprocesses 7\nprocs_running 1\n",
    )
    .unwrap();
    let folder = procfs.to_str().unwrap().to_owned();
    assert_eq!(site.call(&["--procfs", &folder, "start"]).code, 0);

    let asked = server.orders_asked();
    server.wait_for_more("S0", 2);
    let status = status_in_the_end(&site);
    assert_balanced(&status);
    assert_eq!(status["services"].as_array().unwrap().len(), SERVICES);
    assert!(
        service(&status, "S0")["missed"].as_u64().unwrap() > 0,
        "{status}"
    );

    server.be_good(r#"{"Cpu": ["get_linux_cpu", 0.1]}"#);
    server.wait_for_more_asked(asked);
    wait_for("the server's new orders", DEADLINE, || {
        let status = status_in_the_end(&site);
        (status["services"].as_array()?.len() == 1).then_some(())
    });
    let said = site.call(&["stop"]);
    assert!(said.out.starts_with("mote stopped, pid "), "{said:?}");
}

/// Who asks waits for no more than 10 s; on a busy machine a round of all services takes longer.
fn status_in_the_end(site: &Site) -> Value {
    wait_for("an answer", DEADLINE, || {
        let said = site.call(&["status", "--json"]);
        serde_json::from_str(&said.out).ok()
    })
}
