//! A host that is watched from a container, and what it hides.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mote_agent::probes::processes;
use mote_test_support::namespace::run_in_namespace;
use mote_test_support::{DEADLINE, mote, wait_for};
use nix::mount::{MsFlags, mount};
use nix::unistd::geteuid;
use serde_json::Value;

const NOBODY: u32 = 65534;

#[test]
fn what_process_1_hides_is_not_replaced_by_the_agents_own() {
    run_in_namespace(
        "watched::what_process_1_hides_is_not_replaced_by_the_agents_own",
        || {
            for hidepid in ["hidepid=1", "hidepid=2"] {
                let scene = Scene::new();
                let flags = MsFlags::empty();
                mount(
                    Some("proc"),
                    &scene.procfs,
                    Some("proc"),
                    flags,
                    Some(hidepid),
                )
                .unwrap();
                let plugins = [
                    "GetNetworkStatus",
                    "get_tcp",
                    "get_filesystem",
                    "get_processes",
                ];
                let all = scene.probe("exec", &plugins, NOBODY);
                for (plugin, data) in plugins.iter().zip(&all) {
                    if *plugin == "get_processes" && hidepid == "hidepid=1" {
                        // All are listed, though closed.
                        assert_eq!(data["status"], 0, "{data}");
                        assert!(data["omitted"].as_u64().unwrap() > 0, "{data}");
                        assert!(data["total"].as_u64() > data["omitted"].as_u64(), "{data}");
                        continue;
                    }
                    assert_eq!(data["status"], 1, "{hidepid}, {plugin}: {data}");
                    let error = data["error"].as_str().unwrap();
                    assert!(error.contains("process 1 is hidden"), "{plugin}: {error}");
                }
            }
        },
    );
}

#[test]
fn a_container_does_not_show_its_own_interfaces_and_name() {
    run_in_namespace(
        "watched::a_container_does_not_show_its_own_interfaces_and_name",
        || {
            let scene = Scene::new();
            let none: Option<&str> = None;
            mount(Some("/proc"), &scene.procfs, none, MsFlags::MS_BIND, none).unwrap();
            // In namespaces of its own there is nothing but `lo`, and it is down.
            let container =
                "exec unshare --uts --net sh -c 'hostname the-container; exec \"$@\"' sh";
            let plugins = ["GetNetworkStatus", "LinuxSysInfo"];
            let all = scene.probe(container, &plugins, geteuid().as_raw());
            let [network, sysinfo] = &all[..] else {
                panic!("{all:?}");
            };
            let table = fs::read_to_string("/proc/1/net/dev").unwrap();
            for name in network["data"].as_object().unwrap().keys() {
                let known = table
                    .lines()
                    .any(|line| line.trim_start().starts_with(&format!("{name}:")));
                assert!(known, "{name} in {table}");
            }
            let received = |line: &str| Some(line.split_once(':')?.1.trim_start().starts_with('0'));
            let talks = table
                .lines()
                .skip(2)
                .filter(|line| received(line) == Some(false));
            assert!(
                network["data"].as_object().unwrap().len() >= talks.count(),
                "{network}"
            );
            assert_ne!(sysinfo["hostname"], "the-container", "{sysinfo}");
            assert_eq!(sysinfo["addresses"], Value::Null, "{sysinfo}");
        },
    );
}

/// The kernel gives a name of several lines as it is.
#[test]
fn a_process_may_have_a_name_of_several_lines() {
    let folder = tempfile::tempdir().unwrap();
    let sleep = Path::new("/bin/sleep").canonicalize().unwrap();
    for name in ["x) Z 1\ny", "q) D 1\n", "a\nb", "\n)"] {
        let path = folder.path().join(name);
        symlink(&sleep, &path).unwrap();
        // What is called by many names looks at its own.
        let mut child = Command::new(&path)
            .arg0("sleep")
            .arg("600")
            .spawn()
            .unwrap();
        let stat = PathBuf::from(format!("/proc/{}/stat", child.id()));
        wait_for("a process that sleeps", DEADLINE, || {
            let text = fs::read(&stat).unwrap();
            let named = text.windows(name.len()).any(|part| part == name.as_bytes());
            (named && processes::state(&text) == Some(b'S')).then_some(())
        });
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

/// The program where anybody may run it, and a folder for a procfs.
struct Scene {
    folder: tempfile::TempDir,
    procfs: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::copy(mote().get_program(), folder.path().join("mote")).unwrap();
        let procfs = folder.path().join("proc");
        fs::create_dir(&procfs).unwrap();
        Scene { folder, procfs }
    }

    /// The data of each plugin; `shell` is what the program is called by.
    fn probe(&self, shell: &str, plugins: &[&str], user: u32) -> Vec<Value> {
        let output = Command::new("sh")
            .args(["-c", &format!("{shell} \"$0\" \"$@\"")])
            .arg(self.folder.path().join("mote"))
            .args(["probe", "--wait", "0.2", "--procfs"])
            .arg(&self.procfs)
            .args(plugins)
            .current_dir("/")
            .stdin(Stdio::null())
            .uid(user)
            .gid(user)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let reports = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let data: Vec<Value> = reports.map(|mut report| report["data"].take()).collect();
        assert_eq!(data.len(), plugins.len(), "{text}{:?}", output.stderr);
        data
    }
}
