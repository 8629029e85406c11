//! Files that are replaced by renaming, the services document and the dead letters, on disks that do not take them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::faults::Image;
use mote_test_support::namespace::run_in_namespace;
use mote_test_support::scripted_server::{Answer, Request, Server, good};
use mote_test_support::site::Site;
use mote_test_support::{DEADLINE, Running, need, run, wait_for};

/// Orders to sample these, and nothing else.
fn orders(names: &[&str]) -> String {
    let services = names
        .iter()
        .map(|name| format!("\"{name}\": [\"get_linux_load\", 0.1]"));
    format!("{{{}}}", services.collect::<Vec<_>>().join(", "))
}

/// The loop goes on while the disk hangs: the new service is sampled, and its orders are kept afterwards.
#[test]
fn new_orders_on_a_frozen_disk() {
    run_in_namespace("durability::replaced::new_orders_on_a_frozen_disk", || {
        let Some(image) = need("new_orders_on_a_frozen_disk", Image::new()) else {
            return;
        };
        let scene = Scene::new(|state| {
            run(Command::new("mount")
                .args(["-o", "loop"])
                .arg(&image.path)
                .arg(state))
            .unwrap();
        });
        let state = scene.site.path("state");
        let freeze = |how: &str| run(Command::new("fsfreeze").arg(how).arg(&state)).unwrap();
        freeze("--freeze");
        let thaw = Thaw(&state);
        for names in [&["First", "Second"][..], &["Second", "Third"]] {
            scene.server.be_good(&orders(names));
            scene.goes_on(names[1]);
        }
        assert_eq!(scene.kept(), document(&["First"]));
        drop(thaw);
        scene.wait_until_kept(&["Second", "Third"]);
        let log = scene.agent.output();
        assert!(!log.contains("is not kept"), "{log}");
    });
}

/// strace fails these calls on the document and the file that is to replace it.
#[test]
fn a_services_document_that_cannot_be_replaced() {
    for (calls, error, said) in [
        ("rename,renameat,renameat2", "EIO", "Input/output error"),
        ("fsync,fdatasync", "EIO", "Input/output error"),
        ("write", "ENOSPC", "No space left on device"),
        ("openat", "ENOSPC", "No space left on device"),
    ] {
        let scene = Scene::new(|_| {});
        let state = scene.site.path("state");
        let before = names_in(&state);
        let files = [state.join("services.json"), state.join("services.new")];
        let Some(mut tracer) = scene.tracer(
            "a_services_document_that_cannot_be_replaced",
            calls,
            error,
            &files,
        ) else {
            return;
        };
        for name in ["A", "B", "C"] {
            scene.server.be_good(&orders(&[name]));
            scene.goes_on(name);
            scene
                .agent
                .wait_for_output("the services document is not kept: ");
        }
        assert_eq!(scene.kept(), document(&["First"]), "{calls}");
        tracer.terminate();
        // Nothing new comes, and yet the last one is kept.
        scene.wait_until_kept(&["C"]);
        scene.agent.assert_said("is kept again", 1);
        scene.agent.assert_said("is not kept: ", 1);
        let log = scene.agent.output();
        assert!(log.contains(said), "{calls}: {log}");
        assert_eq!(names_in(&state), before, "{calls}");
    }
}

#[test]
fn dead_letters_that_cannot_be_kept() {
    for (calls, error, said) in [
        ("rename,renameat,renameat2", "EIO", "Input/output error"),
        ("write", "ENOSPC", "No space left on device"),
        ("openat", "ENOSPC", "No space left on device"),
    ] {
        // So many that the next one begins another file.
        let old = "{\"given_up\":1.0,\"reason\":\"\",\"report\":{}}\n".repeat(12_785);
        let scene = Scene::new(|state| {
            fs::create_dir(state.join("dead")).unwrap();
            fs::write(state.join("dead/dead.jsonl"), &old).unwrap();
        });
        let dead = scene.site.path("state/dead");
        let files = [dead.join("dead.jsonl"), dead.join("dead.1.jsonl")];
        let Some(mut tracer) =
            scene.tracer("dead_letters_that_cannot_be_kept", calls, error, &files)
        else {
            return;
        };
        scene
            .server
            .script(|request: &Request| match request.is_report_of("First") {
                true => Answer::status(400, "no such service"),
                false => good(&orders(&["First", "Second"]), request),
            });
        scene.goes_on("Second");
        let sentence = "a report that is given up cannot be kept: ";
        let refused = |status: &Value| status["reports"]["dropped"]["refused"].as_u64();
        scene
            .site
            .wait_for_status("reports that are refused", |status| {
                (refused(status)? > 10 && scene.agent.output().contains(sentence)).then_some(())
            });
        tracer.terminate();
        let letters = |status: &Value| status["reports"]["dead_letters"].as_u64();
        let before = letters(&scene.site.status()).unwrap();
        scene.site.wait_for_status("more letters", |status| {
            (letters(status)? > before).then_some(())
        });
        scene.agent.assert_said(sentence, 1);
        let log = scene.agent.output();
        assert!(log.contains(said), "{calls}: {log}");
        assert_eq!(names_in(&dead), ["dead.1.jsonl", "dead.jsonl"], "{calls}");
        let text = fs::read_to_string(dead.join("dead.jsonl")).unwrap();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let letter: Value = serde_json::from_str(line).expect("a letter");
            assert_eq!(letter["report"]["service_name"], "First", "{letter}");
        }
    }
}

/// An agent that follows orders to sample `First`.
struct Scene {
    server: Server,
    // Before its folder.
    agent: Running,
    site: Site,
}

impl Scene {
    fn new(prepare: impl FnOnce(&Path)) -> Scene {
        let server = Server::new(&orders(&["First"]));
        let site = Site::of(&server);
        let state = site.path("state");
        fs::create_dir(&state).unwrap();
        prepare(&state);
        fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
        let agent = site.run_until_up();
        let scene = Scene {
            server,
            agent,
            site,
        };
        scene.server.wait_for_more("First", 2);
        scene.wait_until_kept(&["First"]);
        scene
    }

    fn kept(&self) -> String {
        fs::read_to_string(self.site.path("state/services.json")).unwrap_or_default()
    }

    fn wait_until_kept(&self, names: &[&str]) {
        let expected = document(names);
        wait_for("the document", DEADLINE, || {
            (self.kept() == expected).then_some(())
        });
    }

    /// A service is sampled again and again, and asking for that does not wait.
    fn goes_on(&self, name: &str) {
        let mut times = Vec::new();
        self.site.wait_for_status("samples", |status| {
            let services = status["services"].as_array()?;
            let service = services.iter().find(|it| it["name"] == name)?;
            times.push(service["last"].as_f64()?);
            times.dedup();
            (times.len() > 3).then_some(())
        });
    }

    /// Fails these calls on these files until it is told to go.
    fn tracer(&self, test: &str, calls: &str, error: &str, files: &[PathBuf]) -> Option<Running> {
        need(test, run(Command::new("strace").arg("-V")))?;
        let pid = self.agent.id().to_string();
        let mut tracer = Command::new("strace");
        tracer.args(["-f", "-qq", "-o", "/dev/null", "-p", &pid]);
        tracer.args(["-e", &format!("inject={calls}:error={error}")]);
        for file in files {
            tracer.arg("-P").arg(file);
        }
        let running = Running::start("strace", &mut tracer, self.site.folder());
        wait_for("the tracer", DEADLINE, || {
            let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
            let is_traced = |thread: fs::DirEntry| {
                let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
                !status.contains("TracerPid:\t0\n")
            };
            threads.flatten().all(is_traced).then_some(())
        });
        Some(running)
    }
}

/// A frozen disk would outlive the test.
struct Thaw<'a>(&'a Path);

impl Drop for Thaw<'_> {
    fn drop(&mut self) {
        let result = run(Command::new("fsfreeze").arg("--unfreeze").arg(self.0));
        assert!(std::thread::panicking() || result.is_ok(), "{result:?}");
    }
}

fn document(names: &[&str]) -> String {
    format!("{{\"services\": {}}}", orders(names))
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().flatten();
    let mut names: Vec<_> = entries
        .map(|it| it.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
