//! The token: who gets it, who does not, and what happens when it changes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use super::authority::{Authority, Shown};
use super::{GOOD, put, wait_for_health, wait_for_reason, write_with_mode};
use mote_test_support::scripted_server::{Answer, Request, Server, good};
use mote_test_support::site::{Site, server_settings};
use mote_test_support::{DEADLINE, Running, wait_for};

const TOKEN: &str = "first-token_0123456789";
const OTHER: &str = "other-token_0123456789";
const KEYS: &str = "token_file = \"token\"\nrequest_timeout_s = 1";

/// A server that wants the right token.
struct Guarded {
    server: Server,
    right: Arc<Mutex<String>>,
    /// The values of `Authorization` of each request.
    shown: Arc<Mutex<Vec<Vec<String>>>>,
}

impl Guarded {
    fn new(refusal: u16) -> Guarded {
        let server = Server::new(GOOD);
        let right = Arc::new(Mutex::new(TOKEN.to_owned()));
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (is_right, seen) = (Arc::clone(&right), Arc::clone(&shown));
        server.script(move |request: &Request| {
            let values = request.values("authorization");
            seen.lock()
                .unwrap()
                .push(values.iter().map(|it| (*it).to_owned()).collect());
            match values == [format!("Bearer {}", is_right.lock().unwrap())] {
                true => good(GOOD, request),
                false => Answer::status(refusal, r#"{"error": "no"}"#),
            }
        });
        Guarded {
            server,
            right,
            shown,
        }
    }

    fn demand(&self, token: &str) {
        *self.right.lock().unwrap() = token.to_owned();
    }

    fn site(&self) -> Site {
        let site = Site::new(&server_settings(&self.server.url(), KEYS));
        put(&site, "token", &format!("{TOKEN}\n"));
        site
    }
}

#[test]
fn both_calls_show_the_token_and_a_changed_one_without_a_restart() {
    let guarded = Guarded::new(401);
    let site = guarded.site();
    let mut agent = site.run();
    guarded.server.wait_for_more("Good", 2);
    guarded.server.wait_for_more_asked(1);
    let first = format!("Bearer {TOKEN}");
    let all = guarded.shown.lock().unwrap().clone();
    assert!(all.iter().all(|it| *it == [first.clone()]), "{all:?}");

    // While the server takes both, the agent changes over by itself.
    guarded.server.script(|request| good(GOOD, request));
    put(&site, "token", OTHER);
    let second = format!("Bearer {OTHER}");
    let seen = Arc::clone(&guarded.shown);
    guarded.server.script(move |request| {
        let values = request.values("authorization");
        let values = values.iter().map(|it| (*it).to_owned()).collect();
        seen.lock().unwrap().push(values);
        good(GOOD, request)
    });
    wait_for("the other token", DEADLINE, || {
        let shown = guarded.shown.lock().unwrap();
        (*shown.last()? == [second.as_str()]).then_some(())
    });
    assert_eq!(agent.terminate().code(), Some(0));
    assert_eq!(guarded.server.connections(), 1);
}

#[test]
fn reports_wait_until_the_token_is_right() {
    for (refusal, sentence) in [
        (
            401,
            "answered 401 Unauthorized: it does not take the token in ",
        ),
        (403, "answered 403 Forbidden: the token in "),
    ] {
        let guarded = Guarded::new(refusal);
        let site = guarded.site();
        let mut agent = site.run();
        guarded.server.wait_for_more("Good", 2);
        guarded.demand(OTHER);
        wait_for_reason(&site, "services_error", sentence);
        let status = wait_for_reason(&site, "error", sentence);
        assert_eq!(status["server"]["healthy"], false);
        put(&site, "token", OTHER);
        wait_for_health(&site);
        let sampled = site.status()["reports"]["sampled"].as_u64().unwrap();
        wait_for("all reports", DEADLINE, || {
            let reports = guarded.server.acknowledged("Good");
            let mut seqs: Vec<_> = reports.iter().filter_map(|it| it["seq"].as_u64()).collect();
            seqs.sort_unstable();
            seqs.starts_with(&(0..sampled).collect::<Vec<_>>())
                .then_some(())
        });
        assert_eq!(agent.terminate().code(), Some(0));
    }
}

/// Django's check against forged forms, and something on the way that lets nobody in.
#[test]
fn a_403_that_is_not_about_the_token_says_nothing_of_one() {
    let csrf = "<title>403 Forbidden</title><p>CSRF verification failed. Request aborted.</p>";
    let nginx = "<title>403 Forbidden</title>";
    for (keys, body, words) in [
        (KEYS, csrf, "wants a CSRF token, which only browsers have"),
        ("", csrf, "wants a CSRF token, which only browsers have"),
        (
            "",
            nginx,
            "answered 403 Forbidden: it says \"403 Forbidden\"",
        ),
    ] {
        let server = Server::new(GOOD);
        server.script(move |request: &Request| match request.asks_for_orders() {
            true => good(GOOD, request),
            false => Answer::status(403, body),
        });
        let site = Site::new(&server_settings(&server.url(), keys));
        put(&site, "token", &format!("{TOKEN}\n"));
        let mut agent = site.run_until_up();
        let status = wait_for_reason(&site, "error", words);
        assert_eq!(status["server"]["healthy"], false, "{status}");
        assert_eq!(status["server"]["denies_token"], false, "{status}");
        let said = site.call(&["status"]);
        assert_eq!(said.code, 0, "{said:?}");
        assert!(!said.out.contains("the token in"), "{said:?}");
        assert_eq!(agent.terminate().code(), Some(0));
    }
}

#[test]
fn a_server_that_has_refused_is_not_said_to_be_silent() {
    let server = Server::new(GOOD);
    server.script(|_| Answer::status(401, "who are you?"));
    let site = Site::new(&server_settings(&server.url(), ""));
    let mut agent = site.run_until_up();
    wait_for_reason(&site, "services_error", "answered 401 Unauthorized");
    let said = site.call(&["status"]);
    let lines = format!(
        "server: {} - has only refused so far\nservices: {}/api/client/config/1 answered 401",
        server.url(),
        server.url()
    );
    assert!(said.out.contains(&lines), "{said:?}");
    assert!(!said.out.contains("has not answered"), "{said:?}");
    assert_eq!(agent.terminate().code(), Some(0));
}

#[test]
fn a_token_that_others_can_read_is_not_taken_and_the_old_one_stays() {
    let guarded = Guarded::new(401);
    let site = guarded.site();
    let mut agent = site.run();
    guarded.server.wait_for_more("Good", 1);
    let token = site.path("token");
    let open = |mode| fs::set_permissions(&token, fs::Permissions::from_mode(mode)).unwrap();
    open(0o644);
    let shown = token.canonicalize().unwrap().display().to_string();
    let sentence =
        format!("{shown} may be read or changed by others (its mode is 0644): chmod 600 {shown}");
    agent.wait_for_output(&sentence);
    guarded.server.wait_for_more("Good", 5);
    agent.assert_said(&sentence, 1);
    // Once the server refuses, the status says why.
    guarded.demand(OTHER);
    write_with_mode(&token, OTHER, 0o644);
    wait_for_reason(&site, "error", &sentence);

    // Settings with it are not taken either, but the agent can be asked and stopped.
    let said = site.call(&["reload"]);
    assert_eq!((said.code, said.err), (78, format!("mote: {sentence}\n")));
    assert_eq!(site.call(&["status"]).code, 150);
    open(0o600);
    wait_for_health(&site);
    open(0o644);
    assert_eq!(agent.terminate().code(), Some(0));
    for command in ["run", "start", "check", "restart"] {
        let said = site.call(&[command]);
        let expected = (78, format!("mote: {sentence}\n"));
        assert_eq!((said.code, said.err), expected, "{command}");
    }
    fs::remove_file(&token).unwrap();
    let said = site.call(&["run"]);
    let missing = format!("mote: {shown}: No such file or directory (os error 2)\n");
    assert_eq!((said.code, said.err), (78, missing));
}

#[test]
fn what_is_wrong_with_a_new_file_shows_until_it_is_mended() {
    let authority = Authority::new("ours");
    let (server, url) = Shown::only(authority.issue("127.0.0.1")).serve(GOOD);
    let keys = format!("{KEYS}\nca_file = \"ca.pem\"");
    let site = Site::new(&server_settings(&url, &keys));
    let (ca, token) = (authority.pem(), TOKEN.to_owned());
    put(&site, "ca.pem", &ca);
    put(&site, "token", &token);
    let mut agent = site.run();
    server.wait_for_more("Good", 1);
    let long = "x".repeat(300);
    let huge = "x".repeat(65 << 10);
    let open = 0o644;
    for (name, bad, mode, good, sentence) in [
        (
            "token",
            &*token,
            open,
            &token,
            "may be read or changed by others",
        ),
        ("token", "", 0o600, &token, "holds no token"),
        ("token", &long, 0o600, &token, "holds no token"),
        ("token", &huge, 0o600, &token, "65536"),
        (
            "ca.pem",
            "",
            open,
            &ca,
            "holds no valid certificates in PEM",
        ),
    ] {
        write_with_mode(&site.path(name), bad, mode);
        let status = wait_for_reason(&site, "access_error", sentence);
        let server_status = &status["server"];
        assert_eq!(server_status["healthy"], true, "{status}");
        let reason = server_status["access_error"].as_str().unwrap();
        assert!(reason.ends_with("; what it held before stays in use"));
        let line = format!("access: {reason}\n");
        let said = site.call(&["status"]).out;
        assert_eq!(said.matches(&line).count(), 1, "{said}");
        put(&site, name, good);
        site.wait_for_status("no complaint", |status| {
            status["server"]["access_error"].is_null().then_some(())
        });
        assert!(!site.call(&["status"]).out.contains("access:"));
    }
    assert_eq!(agent.terminate().code(), Some(0));
}

#[test]
fn status_says_by_its_code_that_the_server_refuses_the_token() {
    for refusal in [401, 403] {
        let guarded = Guarded::new(refusal);
        let site = guarded.site();
        let mut agent = site.run_until_up();
        let wait_for_code = |code| {
            wait_for("the code of `status`", DEADLINE, || {
                let said = site.call(&["status"]);
                let of_json = site.call(&["status", "--json"]).code;
                (said.code == code && of_json == code).then_some(())
            });
        };
        wait_for_code(0);
        guarded.demand("another-one-0123456789");
        wait_for_code(150);
        guarded.demand(TOKEN);
        wait_for_code(0);
        assert_eq!(agent.terminate().code(), Some(0));
    }
}

#[test]
fn the_token_shows_nowhere() {
    let guarded = Guarded::new(401);
    let site = guarded.site();
    let mut agent = Running::start("agent", &mut site.command(&["-v", "run"]), site.folder());
    guarded.server.wait_for_more("Good", 3);
    // Also when it is refused, and when it is not valid.
    guarded.demand("another-one-0123456789");
    wait_for_reason(&site, "error", "401 Unauthorized");
    put(&site, "token", &format!("{TOKEN} {OTHER}"));
    wait_for_reason(&site, "error", "holds no token");
    let mut seen = vec![
        ("status", site.call(&["status", "--json"]).out),
        ("text", site.call(&["status"]).out),
        ("reload", site.call(&["reload"]).err),
        ("check", format!("{:?}", site.call(&["-v", "check"]))),
    ];
    for name in ["cmdline", "environ"] {
        let bytes = fs::read(format!("/proc/{}/{name}", agent.id())).unwrap();
        seen.push((name, String::from_utf8_lossy(&bytes).into_owned()));
    }
    for entry in fs::read_dir(site.path("state")).unwrap().flatten() {
        if entry.file_type().unwrap().is_file() {
            let bytes = fs::read(entry.path()).unwrap();
            seen.push(("state", String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    assert_eq!(agent.terminate().code(), Some(0));
    seen.push(("log", agent.output()));
    for (name, text) in seen {
        for token in [TOKEN, OTHER] {
            assert!(!text.contains(token), "{name}: {text}");
        }
    }
    assert!(agent.output().contains("401 Unauthorized"));
}

#[test]
fn a_redirect_within_the_origin_keeps_the_token_and_none_takes_it_elsewhere() {
    let other = Server::new(GOOD);
    let authority = Authority::new("ours");
    let (tls, tls_url) = Shown::only(authority.issue("127.0.0.1")).serve(GOOD);
    let origin = Server::new(GOOD);
    let site = Site::new(&server_settings(&origin.url(), KEYS));
    put(&site, "token", TOKEN);
    let shown = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&shown);
    origin.script(move |request: &Request| {
        if request.path.ends_with("/1") {
            return Answer::status(301, "").with_header("Location", format!("{}/", request.path));
        }
        let values = request.values("authorization").join(", ");
        seen.lock().unwrap().push(values);
        good(GOOD, request)
    });
    let said = site.call(&["check"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(*shown.lock().unwrap(), [format!("Bearer {TOKEN}")]);

    for location in [
        other.url(),
        format!("http://localhost:{}/", origin.port()),
        format!("https://127.0.0.1:{}/", origin.port()),
        format!("//127.0.0.1:{}/", other.port()),
        tls_url,
    ] {
        let elsewhere = Answer::status(307, "").with_header("Location", location.clone());
        origin.script(move |_| elsewhere.clone());
        let said = site.call(&["check"]);
        assert_eq!(said.code, 69, "{said:?}");
        assert!(
            said.err.contains("another server and not followed"),
            "{location}: {said:?}"
        );
    }
    assert_eq!((other.connections(), tls.connections()), (0, 0));
}

#[test]
fn a_server_that_wants_a_token_says_so() {
    let guarded = Guarded::new(401);
    let site = Site::new(&server_settings(&guarded.server.url(), ""));
    let said = site.call(&["check"]);
    assert_eq!(said.code, 69);
    assert!(
        said.err.ends_with(
            "answered 401 Unauthorized: it wants a token; get one with `mote enroll`, or name it in `server.token_file`; it says \"no\"\n"
        ),
        "{said:?}"
    );
}

#[test]
fn a_credential_of_systemd_is_the_token() {
    let guarded = Guarded::new(401);
    let site = Site::new(&server_settings(&guarded.server.url(), ""));
    let folder = site.path("credentials");
    fs::create_dir(&folder).unwrap();
    write_with_mode(&folder.join("mote.token"), TOKEN, 0o440);
    let check = |mode| {
        fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
        let mut command = site.command(&["check"]);
        mote_test_support::site::said(command.env("CREDENTIALS_DIRECTORY", &folder))
    };
    let said = check(0o550);
    assert_eq!((said.code, &*said.err), (0, ""), "{said:?}");
    let said = check(0o755);
    assert_eq!(said.code, 78, "{said:?}");
    assert!(said.err.contains("others may enter its folder"), "{said:?}");
}
