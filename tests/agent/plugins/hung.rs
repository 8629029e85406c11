//! Folders of the operator on a file system that does not answer: only what needs them waits.

use std::fs;

use nix::sys::signal::Signal;

use mote_test_support::hung::{Hung, with_fuse};
use mote_test_support::scripted_server::Server;
use mote_test_support::site::{Site, server_settings};
use mote_test_support::{DEADLINE, Running, wait_for};

#[test]
fn a_plugin_folder_that_hangs_holds_up_nothing_else() {
    let name = "plugins::hung::a_plugin_folder_that_hangs_holds_up_nothing_else";
    with_fuse(name, || {
        let server = Server::new(r#"{"Cpu": ["get_linux_cpu", 0.1], "Own": ["own", 0.2]}"#);
        let keys = "plugins = [\"own\"]\nplugin_dir = \"plugins\"\nplugin_timeout_s = 0.1";
        let site = Site::new(&format!("{keys}\n{}", server_settings(&server.url(), "")));
        let folder = site.path("plugins");
        fs::create_dir(&folder).unwrap();
        let hung = Hung::over(&folder);
        let mut agent = site.run();
        let failed = server.wait_for_more("Own", 1).remove(0);
        let error = failed["data"]["error"].as_str().unwrap().to_owned();
        assert!(
            error.contains("the file system that it is on does not answer"),
            "{error}"
        );
        // It is asked for once, not again at each interval.
        server.wait_for_more("Cpu", 20);
        assert_eq!(server.brought("Own").len(), 1);
        let missed = |status: &serde_json::Value| {
            mote_test_support::site::service(status, "Own")["missed"].as_u64()
        };
        assert!(missed(&site.status()) > Some(0));

        drop(hung);
        let error = server.wait_for_more("Own", 1).remove(0)["data"]["error"].to_string();
        assert!(error.contains("own: No such file"), "{error}");
        assert_eq!(agent.terminate().code(), Some(0));
    });
}

/// Of seven folders and their plugins none comes back, more than are started at a time; what is elsewhere runs as ever.
#[test]
fn plugins_that_hang_hold_up_none_in_other_folders() {
    let name = "plugins::hung::plugins_that_hang_hold_up_none_in_other_folders";
    with_fuse(name, || {
        let server = Server::new(
            r#"{"Own": ["own", 0.2], "Own2": ["own2", 0.2], "Other": ["other", 0.2], "Other2": ["other2", 0.2],
                "A": ["a", 0.2], "B": ["b", 0.2], "C": ["c", 0.2], "D": ["d", 0.2], "E": ["e", 0.2],
                "Good": ["good", 0.1]}"#,
        );
        let hanging = ["Own", "Own2", "Other", "Other2", "A", "B", "C", "D", "E"];
        let keys = "plugins = [\"own\", \"own2\"]\nplugin_dir = \"plugins\"\nplugin_timeout_s = 2";
        let site = Site::new(&format!("{keys}\n{}", server_settings(&server.url(), "")));
        let alone = ["a", "b", "c", "d", "e"];
        let mut folders = vec![site.path("plugins"), site.path("elsewhere")];
        folders.extend(alone.map(|it| site.path(it)));
        let mut settings = fs::read_to_string(site.path("agent.toml")).unwrap();
        let program = folders[1].join("other");
        let mut commands = vec![
            ("other", program.clone()),
            ("other2", program),
            ("good", "/bin/echo".into()),
        ];
        commands.extend(alone.map(|it| (it, site.path(it).join("check"))));
        for (name, program) in commands {
            settings.push_str(&format!(
                "[[plugin]]\nname = \"{name}\"\ncommand = [{program:?}, \"{{}}\"]\n"
            ));
        }
        fs::write(site.path("agent.toml"), settings).unwrap();
        for folder in &folders {
            fs::create_dir(folder).unwrap();
        }
        let hung: Vec<Hung> = folders.iter().map(|it| Hung::over(it)).collect();
        let mut agent = site.run();
        for service in hanging {
            let failed = wait_for("a failed start", DEADLINE, || {
                server.brought(service).first().cloned()
            });
            let error = failed["data"]["error"].to_string();
            assert!(error.contains("does not answer"), "{service}: {error}");
        }
        server.wait_for_more("Good", 10);
        for report in server.brought("Good") {
            assert_eq!(report["data"]["status"], 0, "{report}");
        }

        drop(hung);
        for service in hanging {
            wait_for("a start that does not hang", DEADLINE, || {
                let reports = server.brought(service);
                let mut errors = reports.iter().map(|it| it["data"]["error"].to_string());
                errors.any(|it| it.contains("No such file")).then_some(())
            });
        }
        assert_eq!(agent.terminate().code(), Some(0));
    });
}

#[test]
fn settings_that_hang_hold_up_nothing_else() {
    let name = "plugins::hung::settings_that_hang_hold_up_nothing_else";
    with_fuse(name, || {
        let server = Server::new(r#"{"Cpu": ["get_linux_cpu", 0.1]}"#);
        let site = Site::of(&server);
        let folder = site.path("settings");
        fs::create_dir(&folder).unwrap();
        let settings = fs::read_to_string(site.path("agent.toml")).unwrap();
        let settings = settings.replace("\"state\"", &format!("{:?}", site.path("state")));
        fs::write(folder.join("agent.toml"), settings).unwrap();
        let mut command = mote_test_support::mote();
        command
            .arg("--config")
            .arg(folder.join("agent.toml"))
            .arg("run");
        let mut agent = Running::start("agent", &mut command, site.folder());
        server.wait_for_more("Cpu", 1);

        let hung = Hung::over(&folder);
        agent.signal(Signal::SIGHUP);
        let said = site.call(&["reload"]);
        assert_eq!(said.code, 78, "{said:?}");
        assert!(
            said.err.contains("on a file system that does not answer"),
            "{said:?}"
        );
        server.wait_for_more("Cpu", 5);
        assert_eq!(site.call(&["status"]).code, 0);

        drop(hung);
        wait_for("the end of the first attempt", DEADLINE, || {
            agent
                .output()
                .contains("the old settings stay in force")
                .then_some(())
        });
        wait_for("a reload", DEADLINE, || {
            (site.call(&["reload"]).code == 0).then_some(())
        });
        assert_eq!(agent.terminate().code(), Some(0));
    });
}
