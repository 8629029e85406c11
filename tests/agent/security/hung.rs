//! Token and certificates on a file system that does not answer: delivery goes on with what they held.

use std::fs;

use mote_test_support::hung::{Hung, with_fuse};
use mote_test_support::scripted_server::{Answer, Request, Server, good};
use mote_test_support::site::{Site, server_settings};
use mote_test_support::{DEADLINE, wait_for};

use super::authority::{Authority, Shown};
use super::{GOOD, wait_for_health, wait_for_reason, write_secret};

const TOKEN: &str = "first-token_0123456789";
const OTHER: &str = "other-token_0123456789";
const HANGS: &str =
    "is on a file system that does not answer: have it answer again, or name a file elsewhere";

fn demand(server: &Server, token: &str) {
    let right = format!("Bearer {token}");
    server.script(
        move |request: &Request| match request.values("authorization") {
            values if values == [right.as_str()] => good(GOOD, request),
            _ => Answer::status(401, r#"{"error": "no"}"#),
        },
    );
}

#[test]
fn token_and_certificates_that_hang_hold_up_no_report() {
    let name = "security::hung::token_and_certificates_that_hang_hold_up_no_report";
    with_fuse(name, || {
        let authority = Authority::new("ours");
        let (server, url) = Shown::only(authority.issue("127.0.0.1")).serve(GOOD);
        demand(&server, TOKEN);
        let keys =
            "token_file = \"secret/token\"\nca_file = \"trust/ca.pem\"\nrequest_timeout_s = 1";
        let site = Site::new(&server_settings(&url, keys));
        let (secret, trust) = (site.path("secret"), site.path("trust"));
        fs::create_dir(&secret).unwrap();
        fs::create_dir(&trust).unwrap();
        write_secret(&secret.join("token"), TOKEN);
        write_secret(&trust.join("ca.pem"), &authority.pem());
        let mut agent = site.run();
        server.wait_for_more("Good", 1);

        let hung = [Hung::over(&secret), Hung::over(&trust)];
        let kept = format!("{HANGS}; what it held before stays in use");
        for file in ["secret/token", "trust/ca.pem"] {
            let status = wait_for_reason(&site, "access_error", &format!("{file} {kept}"));
            assert_eq!(status["server"]["healthy"], true, "{status}");
        }
        server.wait_for_more("Good", 10);
        for file in ["secret/token", "trust/ca.pem"] {
            agent.assert_said(&format!("{file} {kept}"), 1);
        }
        // The server wants another one, which cannot be read yet.
        demand(&server, OTHER);
        wait_for_reason(&site, "error", HANGS);

        drop(hung);
        write_secret(&secret.join("token"), OTHER);
        wait_for_health(&site);
        site.wait_for_status("no complaint", |status| {
            status["server"]["access_error"].is_null().then_some(())
        });
        server.wait_for_more("Good", 5);
        assert_eq!(agent.terminate().code(), Some(0));
    });
}

#[test]
fn an_agent_starts_while_its_token_hangs_and_samples_until_it_does_not() {
    let name =
        "security::hung::an_agent_starts_while_its_token_hangs_and_samples_until_it_does_not";
    with_fuse(name, || {
        let server = Server::new(GOOD);
        demand(&server, TOKEN);
        let site = Site::new(&server_settings(
            &server.url(),
            "token_file = \"secret/token\"",
        ));
        let secret = site.path("secret");
        fs::create_dir(&secret).unwrap();
        write_secret(&secret.join("token"), TOKEN);
        // It has orders to sample by once they are on disk.
        let mut agent = site.run();
        let orders = site.path("state").join("services.json");
        wait_for("orders on disk", DEADLINE, || orders.exists().then_some(()));
        assert_eq!(agent.terminate().code(), Some(0));

        let hung = Hung::over(&secret);
        let mut agent = site.run_until_up();
        let status = wait_for_reason(&site, "error", &format!("secret/token {HANGS}"));
        assert_eq!(status["server"]["healthy"], false, "{status}");
        let sampled = |status: &serde_json::Value| status["reports"]["sampled"].as_u64();
        let before = sampled(&status);
        site.wait_for_status("more samples, none of them lost", |status| {
            let count = |name: &str| status["reports"][name].as_u64();
            // The first agent may have delivered one.
            let kept = count("queued")? + count("acknowledged")?;
            (sampled(status) > before.map(|it| it + 5) && Some(kept) == sampled(status))
                .then_some(())
        });

        drop(hung);
        wait_for_health(&site);
        assert_eq!(agent.terminate().code(), Some(0));
    });
}

#[test]
fn check_waits_for_no_token_authority_or_plugin_that_hangs() {
    let name = "security::hung::check_waits_for_no_token_authority_or_plugin_that_hangs";
    with_fuse(name, || {
        let server = Server::new(r#"{"Own": ["own", 60]}"#);
        let settings = |plugin_dir: &str, keys: &str, url: &str| {
            let keys = format!("{keys}\nrequest_timeout_s = 1");
            let table = server_settings(url, &keys);
            format!("plugins = [\"own\"]\nplugin_dir = \"{plugin_dir}\"\n{table}")
        };
        let site = Site::new("");
        let folder = site.path("hung");
        fs::create_dir(&folder).unwrap();
        write_secret(&folder.join("token"), TOKEN);
        let _hung = Hung::over(&folder);

        let url = server.url();
        let https = url.replace("http:", "https:");
        for (file, key, url) in [("token", "token_file", &url), ("ca.pem", "ca_file", &https)] {
            site.write_settings(&settings(
                "plugins",
                &format!("{key} = \"hung/{file}\""),
                url,
            ));
            let said = site.call(&["check"]);
            assert_eq!((said.code, &*said.out), (78, ""), "{said:?}");
            let sentence = format!("{} {HANGS}\n", folder.join(file).display());
            assert!(said.err.ends_with(&sentence), "{said:?}");
        }
        site.write_settings(&settings("hung", "", &url));
        let said = site.call(&["check"]);
        let remark = format!(
            "cannot run: {} is on a file system that does not answer\n",
            folder.display()
        );
        assert_eq!(said.code, 0, "{said:?}");
        assert!(said.out.ends_with(&remark), "{said:?}");
        // The settings themselves.
        fs::rename(site.path("agent.toml"), site.path("kept.toml")).unwrap();
        std::os::unix::fs::symlink(folder.join("agent.toml"), site.path("agent.toml")).unwrap();
        let said = site.call(&["check"]);
        assert_eq!(said.code, 78, "{said:?}");
        assert!(
            said.err
                .contains("is on a file system that does not answer"),
            "{said:?}"
        );
    });
}

#[test]
fn enrolment_spends_no_code_while_a_file_that_it_needs_hangs() {
    let name = "security::hung::enrolment_spends_no_code_while_a_file_that_it_needs_hangs";
    with_fuse(name, || {
        let server = Server::new(GOOD);
        let site = Site::new("");
        let folder = site.path("hung");
        fs::create_dir(&folder).unwrap();
        let _hung = Hung::over(&folder);
        let url = server.url();
        let https = url.replace("http:", "https:");
        let ca_file = folder.join("ca.pem").display().to_string();
        let said = site.call(&[
            "enroll",
            &https,
            "--code",
            "K7Q2-9XWM",
            "--ca-file",
            &ca_file,
        ]);
        assert_eq!(said.code, 64, "{said:?}");
        assert!(
            said.err.ends_with(&format!("{ca_file} {HANGS}\n")),
            "{said:?}"
        );

        site.write_settings(&server_settings(&url, "token_file = \"hung/token\""));
        let said = site.call(&["enroll", &url, "--code", "K7Q2-9XWM"]);
        let sentence = format!(
            "{} is on a file system that does not answer; the code is not used yet\n",
            folder.join("token").display()
        );
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.err.ends_with(&sentence), "{said:?}");
        assert_eq!(server.connections(), 0);
    });
}
