//! The agent against servers that stall, lie, flood, redirect and fail. Whatever they do: it goes on sampling, says
//! once what is wrong, keeps its last good orders and accounts for every report.

mod answers;
mod away;
mod documents;
mod identity;
mod orders;
#[cfg(feature = "serve")]
mod real_batches;
#[cfg(feature = "serve")]
mod reference;
mod reports;
mod tags;
mod together;
mod untaken;

use mote_test_support::scripted_server::{Answer, Request, Server};
use mote_test_support::site::{Site, server_settings};
use mote_test_support::{DEADLINE, Running, wait_for};
use serde_json::Value;

/// The orders that are in force whatever else the server says.
const GOOD: &str = r#"{"Good": ["get_linux_cpu", 0.1]}"#;

/// A server and its agent.
struct Scene {
    server: Server,
    site: Site,
    agent: Running,
}

impl Scene {
    /// All is well: the agent has reported.
    fn new() -> Scene {
        Scene::with(GOOD)
    }

    fn with(services: &str) -> Scene {
        let server = Server::new(services);
        let keys = "request_timeout_s = 2";
        let site = Site::new(&server_settings(&server.url(), keys));
        let agent = site.run();
        let scene = Scene {
            server,
            site,
            agent,
        };
        scene.server.wait_for_more("Good", 1);
        scene
    }

    /// From now on requests for orders are answered like this; reports are taken.
    fn answer_orders(&self, answer: Answer) {
        self.server
            .script(move |request: &Request| match request.asks_for_orders() {
                true => answer.clone(),
                false => Answer::ok("{}"),
            });
    }

    /// From now on reports are answered like this, and orders are good.
    fn answer_reports(&self, answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) {
        self.server
            .script(move |request: &Request| match request.asks_for_orders() {
                true => Answer::ok(format!("{{\"services\": {GOOD}}}")),
                false => answer(request),
            });
    }

    /// Waits until a key of the status's `server` names `sentence`.
    fn wait_for_reason(&self, key: &str, sentence: &str) -> Value {
        let what = format!("{key}: {sentence}");
        self.site.wait_for_status(&what, |status| {
            let reason = status["server"][key].as_str()?;
            reason.contains(sentence).then(|| status.clone())
        })
    }

    /// Waits until the server is well again to the agent.
    fn wait_for_health(&self) {
        self.site.wait_for_status("a healthy server", |status| {
            (status["server"]["healthy"] == true).then_some(())
        });
    }

    /// Fails the test if the agent is not well; nor is it if a report is missing in its account, which
    /// [`Site::status`] looks at.
    fn assert_alive(&mut self) {
        self.agent.assert_running();
        self.site.status();
        let log = self.agent.output();
        assert!(!log.contains("panicked"), "{log}");
    }
}

/// Runs a test for each case, all at the same time: they mostly wait.
fn each<T: Sync>(cases: &[T], test: impl Fn(&T) + Sync) {
    std::thread::scope(|scope| {
        for case in cases {
            scope.spawn(|| test(case));
        }
    });
}

/// The numbers of reports.
fn seqs(reports: &[Value]) -> Vec<u64> {
    reports
        .iter()
        .map(|report| report["seq"].as_u64().expect("a number"))
        .collect()
}

/// Waits until every report up to the last one of now has been acknowledged.
fn wait_for_all(scene: &Scene, services: &[&str]) {
    let sampled = scene.site.status()["reports"]["sampled"].as_u64();
    let sampled = sampled.expect("a number");
    wait_for("all reports", DEADLINE, || {
        let of = |service: &&str| seqs(&scene.server.acknowledged(service));
        let mut have: Vec<u64> = services.iter().flat_map(of).collect();
        have.sort_unstable();
        have.dedup();
        have.starts_with(&(0..sampled).collect::<Vec<_>>())
            .then_some(())
    });
}
