//! Plugins that want more than they are given, and the agent that keeps its timetable meanwhile.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::{
    BOMB, ONCE, assert_others_were_sampled, assert_the_bomb_goes_out, niceness_of_plugins,
};
use mote_test_support::processes::{
    children, is_alive, mark, skipped_without_root, wait_for_end, wait_until_gone,
};
use mote_test_support::scripted_server::Server;
use mote_test_support::site::{Site, server_settings};
use mote_test_support::{DEADLINE, Running, wait_for};

/// An agent with one service of a plugin, `Bad`, and another one, `Cpu`, ten times a second.
struct Scene {
    agent: Running,
    server: Server,
    site: Site,
}

impl Scene {
    /// `interpreter` runs `script`; the plugin has `limit_s` seconds.
    fn new(interpreter: &str, script: &str, limit_s: f64) -> Self {
        let server = Server::new(r#"{"Bad": ["bad", 0.3], "Cpu": ["get_linux_cpu", 0.1]}"#);
        let settings = server_settings(&server.url(), "");
        let site = Site::new(&format!(
            "plugin_dir = \"plugins\"\nplugins = [\"bad\"]\nplugin_timeout_s = {limit_s}\n{settings}"
        ));
        fs::create_dir(site.path("plugins")).unwrap();
        let file = site.path("plugins/bad");
        fs::write(&file, format!("#!{interpreter}\n{script}\n")).unwrap();
        for path in [site.path("plugins"), file] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let agent = site.run();
        Scene {
            server,
            site,
            agent,
        }
    }

    fn sh(script: &str, limit_s: f64) -> Self {
        Scene::new("/bin/sh", script, limit_s)
    }

    fn python(script: &str, limit_s: f64) -> Self {
        Scene::new("/usr/bin/python3 -I", script, limit_s)
    }

    /// The data of the first report of the plugin.
    fn data(&self) -> Value {
        self.server.wait_for_more("Bad", 1)[0]["data"].clone()
    }

    /// Ends the agent in order, once other services have been sampled.
    fn end(mut self) {
        assert_others_were_sampled(&self.server, &self.site);
        let agent = self.agent.id();
        assert_eq!(self.agent.terminate().code(), Some(0));
        assert_eq!(children(agent), [0; 0]);
    }
}

#[test]
fn a_plugin_has_three_descriptors_and_no_rights_to_gain() {
    // The shell itself, so that nothing else opens a descriptor: it keeps its script as number 10 or higher.
    let scene = Scene::python(
        r#"
import json, os, resource
status = dict(line.split(":\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\t" in line)
fds = []
for fd in range(0, 1024):
    try: os.fstat(fd); fds.append(fd)
    except OSError: pass
limit = lambda it: "%d %d" % resource.getrlimit(it)
print(json.dumps({
    "descriptors": " ".join(map(str, fds)),
    "variables": " ".join(sorted(k + "=" + v for k, v in os.environ.items() if k != "LC_CTYPE")),
    "no_new_privs": status["NoNewPrivs"], "umask": status["Umask"], "blocked": status["SigBlk"],
    "session": "%d" % (os.getsid(0) == os.getpid()), "nice": os.nice(0),
    "core": limit(resource.RLIMIT_CORE), "files": limit(resource.RLIMIT_NOFILE),
    "file": limit(resource.RLIMIT_FSIZE), "memory": limit(resource.RLIMIT_AS),
    "processes": limit(resource.RLIMIT_NPROC), "cpu": limit(resource.RLIMIT_CPU),
}))"#,
        60.0,
    );
    assert_eq!(
        scene.data(),
        json!({
            "status": 0,
            "descriptors": "0 1 2",
            "variables": "LC_ALL=C PATH=/usr/bin:/bin",
            "no_new_privs": "1",
            "umask": "0077",
            "blocked": "0000000000000000",
            "session": "1",
            "nice": niceness_of_plugins(),
            "core": "0 0",
            "files": "256 256",
            "file": "16777216 16777216",
            "memory": "1073741824 1073741824",
            "processes": "512 512",
            // The plugin's 60 s, 2 s between TERM and KILL, and 2 s.
            "cpu": "64 64",
        })
    );
    scene.end();
}

#[test]
fn the_kernel_knows_that_a_plugin_goes_before_the_agent() {
    let scene = Scene::sh(
        r#"while read -r n < /proc/self/oom_score_adj; do
            [ "$n" = 500 ] && break
        done
        echo "{\"score\": $n}""#,
        60.0,
    );
    assert_eq!(scene.data(), json!({"status": 0, "score": 500}));
    scene.end();
}

#[test]
fn what_leaves_the_session_and_the_pipes_is_ended_too() {
    let mark = mark("escaped");
    // Forked twice, in a session of its own, ignoring signals, with all descriptors closed.
    let scene = Scene::python(
        &format!(
            r#"
import os, signal, time
note = os.open("../note", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
for _ in range(20):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.setsid()
            for it in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT): signal.signal(it, signal.SIG_IGN)
            os.write(note, b"escaped\n")
            os.closerange(0, 256)
            os.execv("/bin/sleep", ["{mark}", "1000"])
        os._exit(0)
while len(open("../note").read().split()) < 20: time.sleep(0.01)
print("{{}}")"#
        ),
        60.0,
    );
    assert_eq!(scene.data(), json!({"status": 0}));
    fs::remove_file(scene.site.path("plugins/bad")).unwrap();
    wait_until_gone(&mark);
    let agent = scene.agent.id();
    wait_for("no child, dead or alive", DEADLINE, || {
        children(agent).is_empty().then_some(())
    });
    scene.end();
}

#[test]
fn a_fork_bomb_goes_out() {
    // Some dozens at a time, each in a session of its own, and each puts another in its place before it ends.
    // Slowly, and not for ever, to spare this machine.
    let scene = Scene::python(
        r#"
import os, time
end = time.monotonic() + 120
for _ in range(40):
    if os.fork() == 0: break
while time.monotonic() < end:
    time.sleep(0.05)
    if os.fork() != 0: os._exit(0)
    os.setsid()"#,
        1.0,
    );
    // All carry the path of their script.
    let path = scene.site.path("plugins/bad").canonicalize().unwrap();
    let data = scene.data();
    // The leader ends like the others, or when its time is over.
    assert!(data["status"] == 124 || data["status"] == 1, "{data}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    wait_until_gone(path.to_str().unwrap());
    scene.end();
}

#[test]
fn a_fork_bomb_that_never_rests_goes_out() {
    if skipped_without_root("a_fork_bomb_that_never_rests_goes_out") {
        return;
    }
    // A user that nothing else runs as, since its processes are counted.
    const BOMBER: &str = "lp";
    let server = Server::new(ONCE);
    let settings = server_settings(&server.url(), "");
    let site = Site::new(&format!(
        "user = \"{BOMBER}\"\nplugin_dir = \"plugins\"\nplugins = [\"bad\"]\nplugin_timeout_s = 1\n{settings}"
    ));
    fs::create_dir(site.path("plugins")).unwrap();
    fs::write(site.path("plugins/bad"), BOMB).unwrap();
    for name in ["", "plugins", "plugins/bad"] {
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(site.path(name), mode).unwrap();
    }
    assert_the_bomb_goes_out(&server, &site);
}

#[test]
fn what_is_left_stands_still_before_any_of_it_is_killed() {
    // The first that is left holds the other end of what the others wait for: one that sees it die, and could put
    // another in its place, makes a note instead.
    let scene = Scene::python(
        r#"
import os, time
open("../rounds", "a").write(".")
waits, holds = os.pipe()
known, tells = os.pipe()
for number in range(40):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.close(0), os.close(1), os.close(2)
            if number != 0: os.close(holds)
            os.write(tells, b".")
            if number == 0: time.sleep(1000)
            os.read(waits, 1)
            os.close(os.open("../moved", os.O_CREAT | os.O_WRONLY))
        os._exit(0)
    os.wait()
os.close(holds)
told = 0
while told < 40: told += len(os.read(known, 40))
print("{}")"#,
        60.0,
    );
    wait_for("five rounds", DEADLINE, || {
        let rounds = fs::read_to_string(scene.site.path("rounds")).unwrap_or_default();
        (rounds.len() >= 5).then_some(())
    });
    let path = scene.site.path("plugins/bad").canonicalize().unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    wait_until_gone(path.to_str().unwrap());
    assert!(
        !scene.site.path("moved").exists(),
        "some ran while others were killed"
    );
    scene.end();
}

/// Such a process looks as if it had ended: its first thread has.
#[test]
fn what_is_left_is_ended_also_without_its_first_thread() {
    let scene = Scene::python(
        r#"
import ctypes, os, threading, time
if os.fork() == 0:
    os.setsid()
    os.close(0), os.close(1), os.close(2)
    def go_on():
        open("../left", "a").write("%d\n" % os.getpid())
        time.sleep(1000)
    threading.Thread(target=go_on).start()
    ctypes.CDLL(None).syscall({"x86_64": 60}.get(os.uname().machine, 93), 0)
while not os.path.exists("../left"): time.sleep(0.01)
print("{}")"#,
        60.0,
    );
    let left = || fs::read_to_string(scene.site.path("left")).unwrap_or_default();
    let pid = wait_for("one that is left", DEADLINE, || {
        left().lines().next()?.parse::<u32>().ok()
    });
    wait_for("its end", DEADLINE, || {
        (!Path::new(&format!("/proc/{pid}")).exists()).then_some(())
    });
    scene.end();
}

#[test]
fn one_that_hears_no_signal_is_killed() {
    let scene = Scene::sh("trap '' TERM INT HUP; while :; do :; done", 0.3);
    let expected = json!({"status": 124, "error": "stopped after its time limit of 0.3 s"});
    assert_eq!(scene.data(), expected);
    scene.end();
}

#[test]
fn floods_of_output_are_ended() {
    for (script, error) in [
        (
            "while :; do echo 0123456789; done",
            "printed more than 64 KiB",
        ),
        (
            "while :; do echo 0123456789 >&2; done",
            "printed more than 1024 KiB",
        ),
    ] {
        let scene = Scene::sh(&format!("trap '' PIPE TERM\n{script}"), 60.0);
        assert_eq!(scene.data(), json!({"status": 1, "error": error}));
        scene.end();
    }
}

#[test]
fn memory_and_files_have_an_end() {
    let scene = Scene::python(
        r#"
import json, mmap, os, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
room = 0
try:
    while True:
        held = mmap.mmap(-1, (room + 64) << 20); held.close(); room += 64
except (OSError, MemoryError): pass
path = "../huge"
with open(path, "wb", 0) as file:
    try:
        while True: file.write(bytes(1 << 20))
    except OSError as error: reason = error.strerror
size = os.stat(path).st_size
os.unlink(path)
print(json.dumps({"room_mib": room, "size": size, "reason": reason}))"#,
        60.0,
    );
    let data = scene.data();
    let room = data["room_mib"].as_u64().unwrap();
    assert!((512..1024).contains(&room), "{data}");
    assert_eq!(data["size"], 16 << 20, "{data}");
    assert_eq!(data["reason"], "File too large", "{data}");
    scene.end();
}

#[test]
fn a_plugin_does_not_outlive_an_agent_that_is_killed() {
    let mut scene = Scene::sh(
        "echo $$ >> ../note; trap '' TERM HUP; read line < ../fifo",
        600.0,
    );
    // Somewhere to wait without a child.
    let fifo = scene.site.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let plugin: u32 = wait_for("the plugin", DEADLINE, || {
        let text = fs::read_to_string(scene.site.path("note")).ok()?;
        let last = text.lines().last()?.parse().ok()?;
        is_alive(last).then_some(last)
    });
    let agent = Pid::from_raw(scene.agent.id().cast_signed());
    kill(agent, Signal::SIGKILL).unwrap();
    scene.agent.wait();
    wait_for_end(plugin);
}
