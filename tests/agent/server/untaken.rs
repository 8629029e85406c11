//! One service whose reports the server does not take, beside another one whose it takes.

use super::{Scene, each};
use mote_test_support::scripted_server::Answer;

const BOTH: &str = r#"{"Good": ["get_linux_cpu", 0.2], "Bad": ["get_memory_info", 0.2]}"#;
const SAID: &str = "the server takes no reports of \"Bad\", for ";
const OVER: &str = "the server takes the reports of all services again";

/// It may be chance for half a minute, and after a time-out it is tried less often.
#[test]
fn a_service_that_is_never_taken_is_named_until_it_is() {
    let cases = [
        (
            Answer::status(503, "db is full"),
            "it says \"db is full\"",
            0,
        ),
        (Answer::Raw(Vec::new()), "closed the connection", 0),
        (Answer::Silence, "did not answer in time", 0),
        (
            Answer::status(302, "").with_header("Location", "/login"),
            "leads to /login",
            0,
        ),
        (Answer::status(401, "whose?"), "it says \"whose?\"", 150),
        (
            Answer::status(404, "no such name"),
            "it says \"no such name\"",
            0,
        ),
        (Answer::status(500, "KeyError"), "it says \"KeyError\"", 0),
    ];
    each(&cases, |(answer, words, code)| {
        let mut scene = Scene::with(BOTH);
        let answer = answer.clone();
        scene.server.script(move |request| match request {
            it if it.asks_for_orders() => Answer::ok(format!("{{\"services\": {BOTH}}}")),
            it if it.is_report_of("Bad") => answer.clone(),
            _ => Answer::ok("{}"),
        });
        let status = scene.wait_for_reason("untaken_error", SAID);
        let server = &status["server"];
        assert_eq!(server["healthy"], false, "{status}");
        assert_eq!(
            server["untaken"].as_array().map(Vec::len),
            Some(1),
            "{status}"
        );
        let named = &server["untaken"][0];
        assert_eq!(named["name"], "Bad");
        assert!(named["error"].as_str().unwrap().contains(words), "{status}");
        assert!(
            server["answered"].as_f64() > named["since"].as_f64(),
            "{status}"
        );
        // It stays so while the other one is taken, and nothing else is said of the server.
        for _ in 0..5 {
            scene.server.wait_for_more("Good", 2);
            let server = scene.site.status()["server"].clone();
            assert_eq!(server["error"], serde_json::Value::Null, "{server}");
            let said = scene.site.call(&["status"]);
            assert_eq!(said.code, *code, "{said:?}");
            assert!(
                said.out.contains(SAID) && said.out.contains(words),
                "{said:?}"
            );
        }
        scene.agent.wait_for_output(SAID);
        scene.agent.assert_said(SAID, 1);

        scene.server.be_good(BOTH);
        scene.wait_for_health();
        scene.agent.wait_for_output(OVER);
        scene.agent.assert_said(SAID, 1);
        scene.agent.assert_said(OVER, 1);
        scene.assert_alive();
    });
}
