//! Plugins that run as a user of their own: what they are, what a hostile one gets at, and that nothing of them is left.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use nix::unistd::{Uid, User};
use serde_json::{Value, json};

use super::{
    BOMB, ONCE, assert_others_were_sampled, assert_the_bomb_goes_out, niceness_of_plugins,
};
use mote_test_support::processes::{
    children, is_alive, mark, marked, send, skipped_without_root, stat, wait_for_end,
    wait_until_gone,
};
use mote_test_support::scripted_server::Server;
use mote_test_support::site::{Site, said, server_settings, service};
use mote_test_support::{DEADLINE, Running, wait_for};

const AGENT: &str = "nobody";
const PLUGINS: &str = "daemon";

/// An agent whose plugin `bad` samples the service `Bad`; another one is `Cpu`, ten times a second.
struct Scene {
    agent: Running,
    server: Server,
    site: Site,
}

/// Both ways to run plugins as another user: by an agent that stays root, and by the runner of one that does not.
const AGENTS: [Option<&str>; 2] = [None, Some(AGENT)];

fn uid(name: &str) -> u32 {
    User::from_name(name).unwrap().unwrap().uid.as_raw()
}

fn allow(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A site with a plugin `bad`, a token for the agent, and a folder `notes` for everybody.
fn site(server: &Server, user: Option<&str>, users: &str, script: &str, limit_s: f64) -> Site {
    let server = server_settings(&server.url(), "token_file = \"token\"");
    let user_key = user.map_or(String::new(), |user| format!("user = \"{user}\""));
    let site = Site::new(&format!(
        "{user_key}\n{users}\nplugin_dir = \"plugins\"\nplugins = [\"bad\"]\nplugin_timeout_s = {limit_s}\n{server}"
    ));
    fs::write(site.path("token"), "0123456789abcdef\n").unwrap();
    chown(site.path("token"), user.map(uid), None).unwrap();
    fs::create_dir(site.path("plugins")).unwrap();
    fs::create_dir(site.path("notes")).unwrap();
    fs::write(site.path("plugins/bad"), script).unwrap();
    for (name, mode) in [
        ("", 0o755),
        ("agent.toml", 0o644),
        ("token", 0o600),
        ("plugins", 0o755),
        ("plugins/bad", 0o755),
        ("notes", 0o777),
    ] {
        allow(&site.path(name), mode);
    }
    site
}

fn python(script: &str) -> String {
    format!("#!/usr/bin/python3 -I\n{script}\n")
}

impl Scene {
    fn new(user: Option<&str>, plugin_user: Option<&str>, script: &str, limit_s: f64) -> Self {
        let server = Server::new(r#"{"Bad": ["bad", 0.3], "Cpu": ["get_linux_cpu", 0.1]}"#);
        let users = plugin_user.map_or(String::new(), |it| format!("plugin_user = \"{it}\""));
        let site = site(&server, user, &users, script, limit_s);
        let agent = site.run();
        Scene {
            agent,
            server,
            site,
        }
    }

    /// The data of the next report of the plugin.
    fn data(&self) -> Value {
        self.server.wait_for_more("Bad", 1)[0]["data"].clone()
    }

    /// What a plugin wrote into the folder `notes`.
    fn pids(&self, name: &str) -> Vec<u32> {
        let text = fs::read_to_string(self.site.path("notes").join(name)).unwrap_or_default();
        let whole = text.split_inclusive('\n').filter(|it| it.ends_with('\n'));
        whole.map(|line| line.trim_end().parse().unwrap()).collect()
    }

    fn runner(&self) -> u32 {
        runner_of(self.agent.id())
    }

    /// Ends the agent in order, after others than the plugin have been sampled. Nothing of it is left.
    fn end(mut self) {
        assert_others_were_sampled(&self.server, &self.site);
        assert_eq!(self.site.status()["pid"], self.agent.id());
        let children = children(self.agent.id());
        assert_eq!(self.agent.terminate().code(), Some(0));
        for pid in children {
            assert!(!is_alive(pid), "{pid} outlived the agent");
        }
    }
}

fn is_runner(pid: u32) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.starts_with(b"mote\0plugin-runner\0")
}

fn runner_of(agent: u32) -> u32 {
    wait_for("the runner", DEADLINE, || {
        children(agent).into_iter().find(|pid| is_runner(*pid))
    })
}

/// Prints what the plugin's process is.
const SELF: &str = r#"
import json, os, resource
status = dict(line.split(":\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\t" in line)
fds = []
for fd in range(0, 1024):
    try: os.fstat(fd); fds.append(fd)
    except OSError: pass
open("/dev/stderr", "w").write("by name\n")
limit = lambda it: "%d %d" % resource.getrlimit(it)
words = lambda it: " ".join(status[it].split())
print(json.dumps({
    "user": words("Uid"), "group": words("Gid"), "groups": words("Groups"),
    "caps": " ".join(words("Cap" + it) for it in ("Inh", "Prm", "Eff", "Amb")),
    "descriptors": " ".join(map(str, fds)), "folder": os.path.basename(os.getcwd()),
    "variables": " ".join(sorted(k + "=" + v for k, v in os.environ.items() if k != "LC_CTYPE")),
    "no_new_privs": words("NoNewPrivs"), "umask": words("Umask"), "blocked": words("SigBlk"),
    "session": "%d" % (os.getsid(0) == os.getpid()), "nice": os.nice(0),
    "score": open("/proc/self/oom_score_adj").read().strip(),
    "core": limit(resource.RLIMIT_CORE), "files": limit(resource.RLIMIT_NOFILE),
    "file": limit(resource.RLIMIT_FSIZE), "memory": limit(resource.RLIMIT_AS),
    "processes": limit(resource.RLIMIT_NPROC), "cpu": limit(resource.RLIMIT_CPU),
}))"#;

fn expected_self() -> Value {
    let user = User::from_name(PLUGINS).unwrap().unwrap();
    let four = |id: u32| format!("{id} {id} {id} {id}");
    json!({
        "status": 0,
        "user": four(user.uid.as_raw()),
        "group": four(user.gid.as_raw()),
        "groups": user.gid.to_string(),
        "caps": four(0).replace('0', "0000000000000000"),
        "descriptors": "0 1 2",
        "folder": "plugins",
        "variables": "LC_ALL=C PATH=/usr/bin:/bin",
        "no_new_privs": "1",
        "umask": "0077",
        "blocked": "0000000000000000",
        "session": "1",
        "nice": niceness_of_plugins(),
        "score": "500",
        "core": "0 0",
        "files": "256 256",
        "file": "16777216 16777216",
        "memory": "1073741824 1073741824",
        "processes": "512 512",
        "cpu": "64 64",
    })
}

#[test]
fn such_a_plugin_is_that_user_and_nothing_else() {
    if skipped_without_root("such_a_plugin_is_that_user_and_nothing_else") {
        return;
    }
    for user in AGENTS {
        let server = Server::new(r#"{"Bad": ["bad", 0.3]}"#);
        let users = format!("plugin_user = \"{PLUGINS}\"");
        let site = site(&server, user, &users, &python(SELF), 60.0);
        // Groups that it must not keep, and rights that whoever starts it could have passed on.
        let run = site.command(&["run"]);
        let mut agent = Command::new("setpriv");
        agent.args(["--groups", "4,24", "--inh-caps", "+chown", "--"]);
        agent.arg(run.get_program()).args(run.get_args());
        let mut agent = Running::start("agent", &mut agent, site.folder());
        let data = server.wait_for_more("Bad", 1)[0]["data"].clone();
        assert_eq!(data, expected_self(), "{user:?}");

        if user.is_some() {
            let runner = runner_of(agent.id());
            let status = fs::read_to_string(format!("/proc/{runner}/status")).unwrap();
            let has = |line: &str| assert!(status.contains(line), "{line} {status}");
            // CAP_KILL, CAP_SETGID and CAP_SETUID are 5, 6 and 7.
            for set in ["CapPrm", "CapEff"] {
                has(&format!("\n{set}:\t00000000000000e0\n"));
            }
            for set in ["CapInh", "CapBnd", "CapAmb"] {
                has(&format!("\n{set}:\t0000000000000000\n"));
            }
            has("\nNoNewPrivs:\t1\n");
            assert_eq!(fs::read(format!("/proc/{runner}/environ")).unwrap(), b"");
            assert_eq!(stat(runner).unwrap().session, runner);
            // While it starts a plugin, there are more for a moment.
            wait_for("three open files", DEADLINE, || {
                let open = fs::read_dir(format!("/proc/{runner}/fd"))
                    .unwrap()
                    .flatten();
                let targets = open.filter_map(|entry| fs::read_link(entry.path()).ok());
                let mut open: Vec<_> = targets
                    .map(|target| target.to_string_lossy().into_owned())
                    .filter(|target| target != "/dev/null" && !target.starts_with("pipe:"))
                    .collect();
                open.sort();
                let is_little = matches!(&open[..], [starts, signals, socket]
                    if starts == "anon_inode:[eventfd]"
                        && signals == "anon_inode:[signalfd]"
                        && socket.starts_with("socket:["));
                is_little.then_some(())
            });
        } else {
            assert!(!children(agent.id()).into_iter().any(is_runner));
        }
        assert_eq!(agent.terminate().code(), Some(0));
    }
}

#[test]
fn an_agent_without_such_a_user_starts_no_runner() {
    if skipped_without_root("an_agent_without_such_a_user_starts_no_runner") {
        return;
    }
    let script = python(&SELF.replace("open(\"/dev/stderr\", \"w\")", "open(\"/dev/stdout\")"));
    let scene = Scene::new(Some(AGENT), None, &script, 60.0);
    scene.data();
    assert!(!children(scene.agent.id()).into_iter().any(is_runner));
    scene.end();
}

/// What a hostile plugin tries. `DANGEROUS` stands for whether it goes on when it could.
const HOSTILE: &str = r#"
import ctypes, glob, json, os, resource, socket, subprocess, time
while not os.path.exists("../facts"): time.sleep(0.01)
facts = json.load(open("../facts"))
agent, runner, site = facts["agent"], facts["runner"], facts["site"]
libc = ctypes.CDLL(None, use_errno=True)
tried = {}
def attempt(name, do):
    try:
        do()
        tried[name] = "done"
    except PermissionError: tried[name] = "refused"
    except Exception as error: tried[name] = repr(error)
def opens(pattern):
    def do():
        names = glob.glob(pattern) or [pattern.replace("*", "x")]
        open(names[0], "rb").read(1)
    return do
def connects():
    other = socket.socket(socket.AF_UNIX)
    other.connect(site + "/state/agent.sock")
def traces(pid):
    def do():
        # PTRACE_SEIZE
        if libc.ptrace(0x4206, pid, 0, 0) != 0: raise OSError(ctypes.get_errno(), "ptrace")
    return do
def scores(pid, score):
    return lambda: os.write(os.open("/proc/%d/oom_score_adj" % pid, os.O_WRONLY), score)
def writes(path):
    return lambda: os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o755))
attempt("token", opens(site + "/token"))
attempt("state", lambda: os.listdir(site + "/state"))
attempt("lock", opens(site + "/state/agent.lock"))
attempt("queue", opens(site + "/state/queue/*"))
attempt("socket", connects)
for name, pid in (("agent", agent), ("runner", runner)):
    attempt("signal " + name, lambda: os.kill(pid, 0))
    attempt("limits " + name, lambda: resource.prlimit(pid, resource.RLIMIT_NOFILE))
    attempt("nice " + name, lambda: os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, pid)))
    attempt("cpus " + name, lambda: os.sched_setaffinity(pid, os.sched_getaffinity(pid)))
    if DANGEROUS:
        for file in ("mem", "environ", "maps", "fd/0"):
            attempt(file + " " + name, opens("/proc/%d/%s" % (pid, file)))
        attempt("descriptors " + name, lambda: os.listdir("/proc/%d/fd" % pid))
        attempt("trace " + name, traces(pid))
        attempt("score " + name, scores(pid, b"1000"))
        attempt("stop " + name, lambda: os.kill(pid, 19))
        attempt("kill " + name, lambda: os.kill(pid, 9))
        attempt("group " + name, lambda: os.killpg(os.getpgid(pid), 9))
        attempt("prlimit " + name, lambda: resource.prlimit(pid, resource.RLIMIT_CPU, (1, 1)))
        attempt("slow " + name, lambda: os.setpriority(os.PRIO_PROCESS, pid, 19))
if DANGEROUS:
    attempt("parent", lambda: os.kill(os.getppid(), 9))
    attempt("plugins", writes("new"))
    attempt("itself", writes(os.path.abspath("bad")))
    attempt("score", scores(os.getpid(), b"-1000"))
    attempt("root", lambda: os.setuid(0))
    attempt("agent's user", lambda: os.setresuid(facts["uid"], facts["uid"], facts["uid"]))
    attempt("groups", lambda: os.setgroups([0]))
    attempt("limit", lambda: resource.setrlimit(resource.RLIMIT_NPROC, (100000, 100000)))
tried["limits raised"] = "%d" % (resource.getrlimit(resource.RLIMIT_NPROC)[1] > 512)
print(json.dumps(tried))"#;

/// What such a plugin reports, after it has been told whom to attack.
fn attack(scene: &Scene, user: Option<&str>) -> Value {
    wait_for("the agent", DEADLINE, || {
        (scene.site.call(&["status"]).code == 0).then_some(())
    });
    let agent = scene.agent.id();
    let runner = children(agent).into_iter().find(|pid| is_runner(*pid));
    let facts = json!({
        "agent": agent,
        "runner": runner.unwrap_or(agent),
        "uid": user.map_or(0, uid),
        "site": scene.site.folder(),
    });
    scene.server.wait_for_more("Cpu", 1);
    fs::write(scene.site.path("notes/facts"), facts.to_string()).unwrap();
    allow(&scene.site.path("notes/facts"), 0o644);
    fs::rename(scene.site.path("notes/facts"), scene.site.path("facts")).unwrap();
    scene.data()
}

#[test]
fn a_hostile_plugin_gets_at_nothing_of_the_agent() {
    if skipped_without_root("a_hostile_plugin_gets_at_nothing_of_the_agent") {
        return;
    }
    for user in AGENTS {
        let script = python(&HOSTILE.replace("DANGEROUS", "True"));
        let scene = Scene::new(user, Some(PLUGINS), &script, 60.0);
        for data in [attack(&scene, user), scene.data()] {
            let tried = data.as_object().unwrap();
            let wrong: Vec<_> = tried
                .iter()
                .filter(|(name, _)| !["status", "limits raised", "limit"].contains(&name.as_str()))
                .filter(|(_, result)| *result != "refused")
                .collect();
            assert!(wrong.is_empty(), "{user:?}: {wrong:?}");
            // Python says that with another error.
            let limit = tried["limit"].as_str().unwrap();
            assert!(
                limit.contains("not allowed to raise maximum limit"),
                "{limit}"
            );
            assert_eq!(
                (&data["status"], &data["limits raised"]),
                (&json!(0), &json!("0"))
            );
            assert_eq!(tried.len(), 47, "{tried:?}");
        }
        scene.end();
    }
}

#[test]
fn the_same_plugin_gets_at_it_as_the_agent_s_user() {
    if skipped_without_root("the_same_plugin_gets_at_it_as_the_agent_s_user") {
        return;
    }
    for user in AGENTS {
        let script = python(&HOSTILE.replace("DANGEROUS", "False"));
        let scene = Scene::new(user, None, &script, 60.0);
        let data = attack(&scene, user);
        let tried = data.as_object().unwrap();
        let refused: Vec<_> = tried.iter().filter(|(_, it)| *it == "refused").collect();
        assert!(refused.is_empty(), "{user:?}: {refused:?}");
        assert_eq!(
            tried.values().filter(|it| *it == "done").count(),
            13,
            "{data}"
        );
        scene.end();
    }
}

/// Twenty of them, twice forked, in sessions of their own, deaf, and with all descriptors closed.
fn escape(mark: &str, then: &str) -> String {
    python(&format!(
        r#"
import os, signal, time
with open("../notes/leader", "a") as file: file.write("%d\n" % os.getpid())
note = os.open("../notes/escaped", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
for _ in range(20):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.setsid()
            for it in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT): signal.signal(it, signal.SIG_IGN)
            os.write(note, b"%d\n" % os.getpid())
            os.closerange(0, 256)
            os.execv("/bin/sleep", ["{mark}", "1000"])
        os._exit(0)
while len(open("../notes/escaped").read().split()) < 20: time.sleep(0.01)
{then}
print("{{}}")"#
    ))
}

#[test]
fn what_such_a_plugin_leaves_is_ended_too() {
    if skipped_without_root("what_such_a_plugin_leaves_is_ended_too") {
        return;
    }
    for user in AGENTS {
        let mark = mark("left");
        let scene = Scene::new(user, Some(PLUGINS), &escape(&mark, ""), 60.0);
        assert_eq!(scene.data(), json!({"status": 0}));
        fs::remove_file(scene.site.path("plugins/bad")).unwrap();
        wait_until_gone(&mark);
        let parent = match user {
            Some(_) => scene.runner(),
            None => scene.agent.id(),
        };
        wait_for("no child, dead or alive", DEADLINE, || {
            children(parent).is_empty().then_some(())
        });
        // One that was begun before the file went may fail in its own words.
        wait_for("no plugin", DEADLINE, || {
            let data = scene.data();
            let error = data["error"].as_str().unwrap_or_default();
            let is_of_file = error.ends_with(": No such file or directory (os error 2)");
            (is_of_file && error.contains("/plugins/bad")).then_some(())
        });
        scene.end();
    }
}

#[test]
fn one_that_is_deaf_or_floods_is_ended() {
    if skipped_without_root("one_that_is_deaf_or_floods_is_ended") {
        return;
    }
    for user in AGENTS {
        for (script, status, error) in [
            (
                "trap '' TERM INT HUP; while :; do :; done",
                124,
                "stopped after its time limit of 1.5 s",
            ),
            (
                "trap '' PIPE TERM; while :; do echo 0123456789; done",
                1,
                "printed more than 64 KiB",
            ),
            (
                "trap '' PIPE TERM; while :; do echo 0123456789 >&2; done",
                1,
                "printed more than 1024 KiB",
            ),
        ] {
            // A flood is over sooner than its limit, however busy the machine is.
            let limit_s = if status == 124 { 1.5 } else { 60.0 };
            let script = format!("#!/bin/sh\n{script}\n");
            let scene = Scene::new(user, Some(PLUGINS), &script, limit_s);
            assert_eq!(scene.data(), json!({"status": status, "error": error}));
            scene.end();
        }
    }
}

#[test]
fn the_longest_output_arrives() {
    if skipped_without_root("the_longest_output_arrives") {
        return;
    }
    let script = r#"print("{\"n\": 1}" + " " * (65536 - 9))"#;
    let scene = Scene::new(Some(AGENT), Some(PLUGINS), &python(script), 60.0);
    assert_eq!(scene.data(), json!({"status": 0, "n": 1}));
    scene.end();
}

#[test]
fn a_fork_bomb_of_another_user_goes_out() {
    if skipped_without_root("a_fork_bomb_of_another_user_goes_out") {
        return;
    }
    // One that nobody else's plugins run as: its processes are counted.
    const BOMBER: &str = "games";
    for user in AGENTS {
        let server = Server::new(ONCE);
        let site = site(
            &server,
            user,
            &format!("plugin_user = \"{BOMBER}\""),
            BOMB,
            1.0,
        );
        assert_the_bomb_goes_out(&server, &site);
    }
}

#[test]
fn nothing_outlives_an_agent_that_is_killed() {
    if skipped_without_root("nothing_outlives_an_agent_that_is_killed") {
        return;
    }
    let mark = mark("killed");
    let script = escape(&mark, "time.sleep(600)");
    let mut scene = Scene::new(Some(AGENT), Some(PLUGINS), &script, 600.0);
    let runner = scene.runner();
    wait_for("all to be there", DEADLINE, || {
        (marked(&mark).len() == 20).then_some(())
    });
    send(scene.agent.id(), Signal::SIGKILL);
    scene.agent.wait();
    wait_for_end(runner);
    for pid in scene.pids("leader") {
        assert!(!is_alive(pid), "{pid}");
    }
    assert_eq!(marked(&mark), [0; 0]);
}

#[test]
fn an_agent_goes_on_without_its_runner_and_says_so() {
    if skipped_without_root("an_agent_goes_on_without_its_runner_and_says_so") {
        return;
    }
    let script = "#!/bin/sh\necho $$ >> ../notes/leader\nread line < ../notes/fifo\necho '{}'\n";
    let scene = Scene::new(Some(AGENT), Some(PLUGINS), script, 600.0);
    let fifo = scene.site.path("notes/fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    chown(&fifo, Some(uid(PLUGINS)), None).unwrap();
    let leader = wait_for("a plugin that waits", DEADLINE, || {
        let last = *scene.pids("leader").last()?;
        is_alive(last).then_some(last)
    });
    let before = scene.server.acknowledged("Bad").len();
    send(scene.runner(), Signal::SIGKILL);
    wait_for_end(leader);
    let error = "the process that runs plugins was ended by somebody: start the agent anew with mote restart";
    wait_for("three failures", DEADLINE, || {
        (scene.server.acknowledged("Bad").len() >= before + 3).then_some(())
    });
    for report in scene.server.acknowledged("Bad").iter().skip(before) {
        assert_eq!(report["data"], json!({"status": 1, "error": error}));
    }
    scene.agent.assert_said(&format!("mote: {error}\n"), 1);
    assert_eq!(children(scene.agent.id()), [0; 0]);
    scene.end();
}

#[test]
fn a_runner_that_hangs_holds_up_nobody() {
    if skipped_without_root("a_runner_that_hangs_holds_up_nobody") {
        return;
    }
    let script = "#!/bin/sh\necho '{}'\n";
    let mut scene = Scene::new(Some(AGENT), Some(PLUGINS), script, 1.0);
    scene.data();
    let runner = scene.runner();
    send(runner, Signal::SIGSTOP);
    scene.server.wait_for_more("Cpu", 5);
    // One that was asked for is missed, until it goes on.
    scene.site.wait_for_status("a missed slot", |status| {
        (service(status, "Bad")["missed"].as_u64() > Some(0)).then_some(())
    });
    send(runner, Signal::SIGCONT);
    assert_eq!(
        scene.server.wait_for_more("Bad", 2)[1]["data"],
        json!({"status": 0})
    );
    // The agent's end waits for none.
    send(runner, Signal::SIGSTOP);
    assert_eq!(scene.agent.terminate().code(), Some(0));
    assert!(is_alive(runner));
    send(runner, Signal::SIGCONT);
    wait_for_end(runner);
}

#[test]
fn orders_and_settings_end_what_a_runner_runs() {
    if skipped_without_root("orders_and_settings_end_what_a_runner_runs") {
        return;
    }
    let mark = mark("ordered");
    let mut scene = Scene::new(
        Some(AGENT),
        Some(PLUGINS),
        &escape(&mark, "time.sleep(600)"),
        600.0,
    );
    let all = || {
        wait_for("all to be there", DEADLINE, || {
            (marked(&mark).len() == 20).then_some(())
        });
    };
    all();
    // The service is withdrawn.
    scene.server.be_good(r#"{"Cpu": ["get_linux_cpu", 0.1]}"#);
    wait_until_gone(&mark);
    for pid in scene.pids("leader") {
        wait_for_end(pid);
    }
    // It comes back, and the settings no longer list it.
    fs::write(scene.site.path("notes/escaped"), "").unwrap();
    scene
        .server
        .be_good(r#"{"Bad": ["bad", 0.3], "Cpu": ["get_linux_cpu", 0.1]}"#);
    all();
    let settings = fs::read_to_string(scene.site.path("agent.toml")).unwrap();
    let path = scene.site.path("agent.toml");
    fs::write(
        &path,
        settings.replace("plugins = [\"bad\"]", "plugins = []"),
    )
    .unwrap();
    let reload = scene.site.call(&["reload"]);
    assert_eq!(reload.code, 0, "{reload:?}");
    wait_until_gone(&mark);

    // Whom plugins run as stays until the agent starts anew.
    fs::write(&path, settings.replace(PLUGINS, "bin")).unwrap();
    let reload = scene.site.call(&["reload"]);
    let expected = "mote: a new plugin_user needs a restart: mote restart\n";
    assert_eq!((reload.code, &*reload.err), (78, expected), "{reload:?}");

    // It ends with all that runs.
    fs::write(scene.site.path("notes/escaped"), "").unwrap();
    fs::write(&path, &settings).unwrap();
    assert_eq!(scene.site.call(&["reload"]).code, 0);
    all();
    let runner = scene.runner();
    assert_eq!(scene.agent.terminate().code(), Some(0));
    assert!(!is_alive(runner));
    assert_eq!(marked(&mark), [0; 0]);
}

#[test]
fn signals_for_a_whole_service_leave_the_runner_to_the_agent() {
    if skipped_without_root("signals_for_a_whole_service_leave_the_runner_to_the_agent") {
        return;
    }
    let scene = Scene::new(Some(AGENT), Some(PLUGINS), "#!/bin/sh\necho '{}'\n", 60.0);
    scene.data();
    let runner = scene.runner();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        send(runner, signal);
    }
    assert_eq!(
        scene.server.wait_for_more("Bad", 2)[1]["data"],
        json!({"status": 0})
    );
    assert!(is_alive(runner));
    scene.end();
}

#[test]
fn only_what_root_alone_can_change_runs() {
    if skipped_without_root("only_what_root_alone_can_change_runs") {
        return;
    }
    for user in AGENTS {
        let scene = Scene::new(user, Some(PLUGINS), "#!/bin/sh\necho '{}'\n", 60.0);
        scene.data();
        chown(scene.site.path("plugins/bad"), Some(uid(AGENT)), None).unwrap();
        let error = wait_for("a refusal", DEADLINE, || {
            scene.data()["error"].as_str().map(str::to_owned)
        });
        assert!(
            error.contains("/plugins/bad can be changed by others than root"),
            "{error}"
        );
        scene.end();
    }
}

#[test]
fn whom_plugins_run_as_must_be_there_and_be_nobody_else() {
    let site = Site::new("services = {}");
    let with = |user: &str, plugin_user: &str| {
        site.write_settings(&format!(
            "user = \"{user}\"\nplugin_user = \"{plugin_user}\"\nservices = {{}}"
        ));
    };
    for (user, plugin_user, expected) in [
        (
            "",
            "no-such-user",
            "there is no user \"no-such-user\" on this host: create it or name another with `plugin_user`",
        ),
        (
            "",
            "root",
            "the user \"root\" is root: name one without rights with `plugin_user`",
        ),
        (
            AGENT,
            AGENT,
            "the user \"nobody\" is the agent's own: name another with `plugin_user`",
        ),
    ] {
        with(user, plugin_user);
        // Only root can become another one at all.
        let commands: &[&str] = match Uid::effective().is_root() || user.is_empty() {
            true => &["start", "run", "restart", "check"],
            false => &["check"],
        };
        for command in commands {
            let said = site.call(&[command]);
            let expected = format!("mote: {expected}\n");
            assert_eq!((said.code, said.err), (78, expected), "{command}");
        }
    }
    assert!(!site.path("state").exists());
    if skipped_without_root("whom_plugins_run_as_must_be_there_and_be_nobody_else") {
        return;
    }

    // Started by somebody else, or without the rights that it takes.
    with("", PLUGINS);
    allow(site.folder(), 0o755);
    allow(&site.path("agent.toml"), 0o644);
    let expected = "mote: only root, with CAP_SETUID, CAP_SETGID and CAP_KILL, can run plugins as the user \"daemon\": start the agent so, or without `plugin_user`\n";
    let start = site.command(&["start"]);
    let no_kill = ["--bounding-set", "-kill", "--"];
    let other = ["--reuid", AGENT, "--regid", "65534", "--clear-groups", "--"];
    for how in [&no_kill[..], &other[..]] {
        let mut command = Command::new("setpriv");
        command
            .args(how)
            .arg(start.get_program())
            .args(start.get_args());
        let start = said(&mut command);
        assert_eq!((start.code, &*start.err), (1, expected), "{how:?}");
    }
}

#[test]
fn probe_runs_a_plugin_as_its_user() {
    if skipped_without_root("probe_runs_a_plugin_as_its_user") {
        return;
    }
    let server = Server::new("{}");
    let users = format!("plugin_user = \"{PLUGINS}\"");
    let site = site(&server, Some(AGENT), &users, &python(SELF), 60.0);
    let data = |out: &str| serde_json::from_str::<Value>(out).unwrap()["data"].clone();
    let probe = site.call(&["probe", "bad"]);
    assert_eq!(
        (probe.code, data(&probe.out)),
        (0, expected_self()),
        "{probe:?}"
    );

    let probe = site.command(&["probe", "bad"]);
    let mut other = Command::new("setpriv");
    other.args(["--reuid", AGENT, "--regid", "65534", "--clear-groups", "--"]);
    site.write_settings(&format!(
        "{users}\nplugin_dir = \"plugins\"\nplugins = [\"bad\"]\nservices = {{}}"
    ));
    allow(&site.path("agent.toml"), 0o644);
    let probe = said(other.arg(probe.get_program()).args(probe.get_args()));
    let error = data(&probe.out)["error"].as_str().unwrap().to_owned();
    assert_eq!(probe.code, 1);
    assert!(error.starts_with("only root, "), "{error}");
}

#[test]
fn systemd_s_drop_in_leaves_the_rights_that_it_takes_and_no_other() {
    if skipped_without_root("systemd_s_drop_in_leaves_the_rights_that_it_takes_and_no_other") {
        return;
    }
    let drop_in = include_str!("../../../conf/plugin-user.conf");
    let left: Vec<String> = drop_in
        .lines()
        .filter_map(|line| line.strip_prefix("CapabilityBoundingSet="))
        .flat_map(str::split_whitespace)
        .map(|name| format!("+{}", name.strip_prefix("CAP_").unwrap().to_lowercase()))
        .collect();
    let server = Server::new(r#"{"Bad": ["bad", 0.3]}"#);
    let users = format!("plugin_user = \"{PLUGINS}\"");
    let script = "#!/bin/sh\nsetsid sleep 1000 &\necho '{}'\n";
    let site = site(&server, Some(AGENT), &users, script, 60.0);
    let with = |rights: &[String]| {
        let run = site.command(&["run"]);
        let mut limited = Command::new("setpriv");
        limited.arg("--bounding-set");
        limited.arg(format!("-all,{}", rights.join(",")));
        limited.args(["--inh-caps", "-all", "--"]);
        limited.arg(run.get_program()).args(run.get_args());
        Running::start("agent", &mut limited, site.folder())
    };
    for _ in 0..2 {
        let mut agent = with(&left);
        let data = server.wait_for_more("Bad", 1)[0]["data"].clone();
        assert_eq!(data, json!({"status": 0}));
        assert_eq!(agent.terminate().code(), Some(0));
        // As systemd has it before the next start.
        chown(site.path("state"), Some(0), None).unwrap();
    }
    for index in 0..left.len() {
        let mut rights = left.clone();
        let missing = rights.remove(index);
        let failed = with(&rights).wait().code().is_some_and(|code| code != 0);
        assert!(failed, "without {missing}");
    }
}
