//! Disks that do not take reports: the agent goes on, says so, and nothing is lost that fits its memory.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::Signal;
use serde_json::Value;

use mote_test_support::namespace::run_in_namespace;
use mote_test_support::scripted_server::{Answer, Request, Server, good};
use mote_test_support::site::{Site, final_accounts, server_settings};
use mote_test_support::strace::strace;
use mote_test_support::{DEADLINE, Running, need, run, wait_for};

/// Enough that segments of 4 KiB are full soon.
const SERVICES: &str = r#"{"Load": ["get_linux_load", 0.1], "Alive": ["host_alive_check", 0.1],
    "Memory": ["get_memory_info", 0.1], "Cpu": ["get_linux_cpu", 0.1]}"#;

const NAMES: [&str; 4] = ["Load", "Alive", "Memory", "Cpu"];

#[test]
fn a_full_disk() {
    run_in_namespace("durability::faults::a_full_disk", || {
        let trial = Trial::new(Some("size=1m"), "");
        let filler = trial.fill_up();
        trial.recovers(|| fs::remove_file(&filler).unwrap());
    });
}

/// What only memory has is lost, and the last line says so.
#[test]
fn a_disk_that_is_full_to_the_end() {
    run_in_namespace("durability::faults::a_disk_that_is_full_to_the_end", || {
        let mut trial = Trial::new(Some("size=1m"), "");
        let filler = trial.fill_up();
        assert!(trial.agent.terminate().success());
        let log = trial.agent.output();
        let last = log.lines().last().unwrap();
        let account = final_accounts(&log).pop().unwrap();
        let forgotten = account["forgotten"];
        let why = format!("; {forgotten} were in memory only and are lost: the queue's disk: ");
        assert!(last.contains(&why), "{last}");
        assert!(last.contains("No space left on device"), "{last}");
        assert!(account["queued"] >= 8 && forgotten >= 8, "{last}");
        assert_eq!(account["dropped"], forgotten, "{last}");

        fs::remove_file(&filler).unwrap();
        // Of the write that found no room, the first reports may be there whole.
        let arrived = trial.arrive_later();
        let possible = account["queued"]..account["sampled"];
        assert!(possible.contains(&arrived), "{arrived} arrive: {last}");
    });
}

/// It is tried once more, whenever the next time would be.
#[test]
fn a_disk_that_has_room_again_at_the_end() {
    run_in_namespace(
        "durability::faults::a_disk_that_has_room_again_at_the_end",
        || {
            let mut trial = Trial::new(Some("size=1m"), "");
            let filler = trial.fill_up();
            fs::remove_file(&filler).unwrap();
            assert!(trial.agent.terminate().success());
            let log = trial.agent.output();
            let account = final_accounts(&log).pop().unwrap();
            assert_eq!(
                (account["dropped"], account["acknowledged"]),
                (0, 0),
                "{log}"
            );
            assert_eq!(trial.arrive_later(), account["sampled"]);
        },
    );
}

#[test]
fn a_disk_without_inodes() {
    run_in_namespace("durability::faults::a_disk_without_inodes", || {
        let trial = Trial::new(Some("nr_inodes=40"), "");
        let fillers = trial.state().join("fillers");
        // The file that is written now takes what comes until it is full; the next one cannot be made.
        trial.breaks("No space left on device", || {
            fs::create_dir(&fillers).unwrap();
            let mut names = 0..;
            while File::create(fillers.join(names.next().unwrap().to_string())).is_ok() {}
        });
        trial.recovers(|| fs::remove_dir_all(&fillers).unwrap());
    });
}

#[test]
fn a_disk_that_became_read_only() {
    run_in_namespace("durability::faults::a_disk_that_became_read_only", || {
        let trial = Trial::new(Some("size=8m"), "");
        let queue = trial.state().join("queue");
        // Linux does not do it to a file system with files that are being written, so their folder is another mount.
        trial.breaks("Read-only file system", || {
            let none: Option<&str> = None;
            mount(Some(&queue), &queue, none, MsFlags::MS_BIND, none).unwrap();
            let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
            mount(none, &queue, none, flags, none).unwrap();
        });
        trial.recovers(|| umount2(&queue, MntFlags::MNT_DETACH).unwrap());
    });
}

/// As ext4 does after an error with `errors=remount-ro`: at once, also for files that are open.
#[test]
fn a_disk_that_gave_up() {
    run_in_namespace("durability::faults::a_disk_that_gave_up", || {
        let Some((trial, _image)) = Trial::on_ext4("a_disk_that_gave_up") else {
            return;
        };
        // What the kernel writes then differs from version to version.
        trial.breaks("the queue's disk: writing failed: ", || {
            let state = trial.state();
            run(Command::new("mount")
                .args(["-o", "remount,abort"])
                .arg(state))
            .unwrap();
        });
        trial.goes_on();
        trial.agent.assert_said("the queue's disk: ", 1);
    });
}

#[test]
fn a_frozen_disk() {
    run_in_namespace("durability::faults::a_frozen_disk", || {
        let Some((trial, _image)) = Trial::on_ext4("a_frozen_disk") else {
            return;
        };
        let state = trial.state();
        let freeze = |how: &str| run(Command::new("fsfreeze").arg(how).arg(&state)).unwrap();
        trial.breaks("the queue's disk does not answer", || {
            freeze("--freeze");
        });
        trial.recovers(|| {
            freeze("--unfreeze");
        });
    });
}

/// Linux keeps a process as long as one of its threads waits for a disk, but the agent does all that it can.
#[test]
fn an_agent_ends_though_its_disk_hangs() {
    let name = "durability::faults::an_agent_ends_though_its_disk_hangs";
    run_in_namespace(name, || {
        let Some((mut trial, _image)) = Trial::on_ext4("an_agent_ends_though_its_disk_hangs")
        else {
            return;
        };
        let state = trial.state();
        let freeze = |how: &str| run(Command::new("fsfreeze").arg(how).arg(&state)).unwrap();
        trial.breaks("the queue's disk does not answer", || {
            freeze("--freeze");
        });
        trial.agent.signal(Signal::SIGTERM);
        let last = trial.agent.wait_for_output(" stops: ");
        assert!(last.contains("the queue's disk does not answer"), "{last}");
        // Its first thread ends, and with it the process but for what waits.
        let pid = trial.agent.id();
        wait_for("the end of the first thread", DEADLINE, || {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            stat.rsplit_once(") ")?.1.starts_with('Z').then_some(())
        });
        let said = trial.site.call(&["stop", "--timeout", "0.1"]);
        let sentence = format!(
            "process {pid} has got SIGKILL, and Linux ends it once the disk that it waits for answers, probably that of {}\n",
            state.display()
        );
        assert_eq!((said.code, &*said.out), (1, ""), "{said:?}");
        assert!(said.err.ends_with(&sentence), "{said:?}");
        freeze("--unfreeze");
        assert!(trial.agent.wait().success());
    });
}

/// strace fails each of these calls of the agent until it is told to go.
#[test]
fn calls_that_fail() {
    for (calls, error, said, settings) in [
        ("write", "EIO", "Input/output error", ""),
        (
            "fdatasync,fsync",
            "EIO",
            "syncing failed: Input/output error",
            "durability = \"power\"\nsync_interval_s = 1",
        ),
    ] {
        let trial = Trial::new(None, settings);
        let inject = format!("{calls}:error={error}");
        let Some(tracer) = trial.tracer("calls_that_fail", &inject) else {
            return;
        };
        trial.breaks_by(tracer, said);
    }
}

/// A call that takes longer than any patience, instead of one that fails.
#[test]
fn a_disk_that_takes_long() {
    let trial = Trial::new(None, "");
    let inject = "write:delay_enter=4000000";
    let Some(tracer) = trial.tracer("a_disk_that_takes_long", inject) else {
        return;
    };
    trial.breaks_by(tracer, "the queue's disk does not answer");
}

/// The files that are open are gone for everybody else.
#[test]
fn a_folder_that_was_removed() {
    let trial = Trial::new(None, "");
    let queue = trial.state().join("queue");
    fs::remove_dir_all(&queue).unwrap();
    wait_for("another folder", DEADLINE, || {
        trial.goes_on();
        queue.exists().then_some(())
    });
    trial.all_arrive();
}

/// A login or a service manager may set one. The signal that comes with it would end the agent, now and at each start.
#[test]
fn a_limit_on_the_size_of_files() {
    let server = Server::new(SERVICES);
    server.script(away);
    let site = Site::new(&settings(&server, ""));
    for files in [3, 5] {
        let mote = site.command(&["run"]);
        let mut command = Command::new("/bin/sh");
        // In blocks of 512 bytes, or of 1024.
        command.args(["-c", r#"ulimit -f 8 && exec "$@""#, "sh"]);
        command.arg(mote.get_program()).args(mote.get_args());
        for (name, value) in mote.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let agent = Running::start("agent", &mut command, site.folder());
        wait_for("another file of the queue", DEADLINE, || {
            let queue = fs::read_dir(site.path("state/queue")).ok()?;
            (queue.count() >= files).then_some(())
        });
        // The limit is an error of the disk until the next file has taken what this one would not.
        let damaged = site.wait_for_status("a disk without errors", |status| {
            let reports = &status["reports"];
            reports["disk_error"]
                .is_null()
                .then(|| reports["dropped"]["damaged"].clone())
        });
        assert_eq!(damaged, 0);
        drop(agent);
    }
}

/// An agent and a server that takes nothing yet.
struct Trial {
    _server: Server,
    // Before its folder.
    agent: Running,
    site: Site,
    /// More settings of the queue.
    queue: String,
}

impl Trial {
    /// The state folder is on a tmpfs with these options, or an ordinary one.
    fn new(tmpfs: Option<&str>, queue: &str) -> Trial {
        Trial::at(queue, |state| {
            if let Some(options) = tmpfs {
                mount(
                    Some("none"),
                    state,
                    Some("tmpfs"),
                    MsFlags::empty(),
                    Some(options),
                )
                .unwrap();
            }
        })
    }

    fn on_ext4(test: &str) -> Option<(Trial, Image)> {
        let image = need(test, Image::new())?;
        let trial = Trial::at("", |state| {
            run(Command::new("mount")
                .args(["-o", "loop"])
                .arg(&image.path)
                .arg(state))
            .unwrap();
        });
        Some((trial, image))
    }

    fn at(queue: &str, prepare: impl FnOnce(&Path)) -> Trial {
        let server = Server::new(SERVICES);
        server.script(away);
        let site = Site::new(&settings(&server, queue));
        let state = site.path("state");
        fs::create_dir(&state).unwrap();
        prepare(&state);
        fs::set_permissions(&state, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let agent = site.run_until_up();
        let trial = Trial {
            _server: server,
            agent,
            site,
            queue: queue.to_owned(),
        };
        trial.site.wait_for_status("reports on disk", |status| {
            assert_eq!(status["reports"]["disk_error"], Value::Null);
            let queued = status["reports"]["queued"].as_u64()?;
            (queued > 8 && trial.state().join("queue").exists()).then_some(())
        });
        trial
    }

    fn state(&self) -> PathBuf {
        self.site.path("state")
    }

    /// Does `inject` to the agent's calls on the queue's files. Until it does, the agent stands still: on a busy machine
    /// it could otherwise begin another file meanwhile, which nobody named to the tracer.
    fn tracer(&self, test: &str, inject: &str) -> Option<Command> {
        self.agent.signal(Signal::SIGSTOP);
        let tracer = strace(test, inject, &self.state().join("queue"));
        if tracer.is_none() {
            self.agent.signal(Signal::SIGCONT);
        }
        let mut tracer = tracer?;
        tracer.args(["-p", &self.agent.id().to_string()]);
        Some(tracer)
    }

    fn is_traced(&self) -> bool {
        let Ok(threads) = fs::read_dir(format!("/proc/{}/task", self.agent.id())) else {
            return false;
        };
        threads.flatten().all(|thread| {
            let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
            status
                .lines()
                .find_map(|line| line.strip_prefix("TracerPid:"))
                .is_some_and(|pid| pid.trim() != "0")
        })
    }

    /// The fault comes, and the agent says so and goes on.
    fn breaks(&self, said: &str, fault: impl FnOnce()) {
        fault();
        // On a busy machine it may not answer in time before it fails.
        let error = self.site.wait_for_status(said, |status| {
            let error = status["reports"]["disk_error"].as_str()?;
            error.contains(said).then(|| error.to_owned())
        });
        assert!(error.ends_with("reports are kept in memory"), "{error}");
        let text = self.site.call(&["status"]).out;
        assert!(text.contains(&error), "{text}");
        self.goes_on();
    }

    /// Leaves no room on the disk; gives the file to be removed.
    fn fill_up(&self) -> PathBuf {
        let filler = self.state().join("filler");
        self.breaks("No space left on device", || {
            let mut file = File::create(&filler).unwrap();
            let mut piece = 64 << 10;
            while piece > 0 {
                while file.write_all(&vec![0; piece]).is_ok() {}
                piece /= 2;
            }
        });
        filler
    }

    /// The tracer does it, and then no longer.
    fn breaks_by(&self, mut tracer: Command, said: &str) {
        let mut running = None;
        self.breaks(said, || {
            running = Some(Running::start("strace", &mut tracer, self.site.folder()));
            wait_for("the tracer", DEADLINE, || self.is_traced().then_some(()));
            self.agent.signal(Signal::SIGCONT);
        });
        self.recovers(|| {
            running.take().unwrap().terminate();
        });
    }

    /// Samples are taken, and asking for the status does not wait.
    fn goes_on(&self) {
        let sampled = || self.site.status()["reports"]["sampled"].as_u64().unwrap();
        let before = sampled();
        wait_for("more samples", DEADLINE, || {
            (sampled() >= before + 8).then_some(())
        });
    }

    /// The fault goes, the disk is used again, and with the server back all arrives.
    fn recovers(&self, heal: impl FnOnce()) {
        heal();
        self.site.wait_for_status("the disk to be used", |status| {
            status["reports"]["disk_error"].is_null().then_some(())
        });
        let log = self.agent.output();
        let faults = log.lines().filter(|line| {
            line.ends_with("reports are kept in memory") && !line.contains("does not answer")
        });
        assert!(faults.count() <= 1, "{log}");
        self.all_arrive();
    }

    /// At another server, which is asked at once: from the first number on, without one that is missing.
    fn all_arrive(&self) {
        let server = Server::new(SERVICES);
        self.site.write_settings(&settings(&server, &self.queue));
        let said = self.site.call(&["reload"]);
        assert_eq!(said.code, 0, "{said:?}");
        let goal = self.site.status()["reports"]["sampled"].as_u64().unwrap();
        wait_for("all reports", DEADLINE, || {
            let reports = NAMES.iter().flat_map(|name| server.acknowledged(name));
            let mut seqs: Vec<u64> = reports.map(|it| it["seq"].as_u64().unwrap()).collect();
            seqs.sort_unstable();
            seqs.dedup();
            let is_whole = seqs.iter().zip(0..).all(|(seq, expected)| *seq == expected);
            (seqs.len() as u64 >= goal && is_whole).then_some(())
        });
        let status = self.site.status();
        let dropped = status["reports"]["dropped"].as_object().unwrap();
        assert!(dropped.values().all(|count| *count == 0), "{status}");
    }

    /// With another agent and a server that takes them: how many reports of the agent before.
    fn arrive_later(&self) -> u64 {
        let server = Server::new("{}");
        self.site.write_settings(&settings(&server, &self.queue));
        let _agent = self.site.run_until_up();
        let status = self.site.wait_for_status("nothing to wait", |status| {
            (status["reports"]["queued"] == 0).then(|| status.clone())
        });
        let reports = NAMES.iter().flat_map(|name| server.acknowledged(name));
        let ids: BTreeSet<(String, u64)> = reports
            .filter(|it| it["boot"] != status["boot"])
            .map(|it| (it["boot"].to_string(), it["seq"].as_u64().unwrap()))
            .collect();
        ids.len() as u64
    }
}

fn settings(server: &Server, queue: &str) -> String {
    let settings = server_settings(&server.url(), "");
    // Segments are 1/16 of it.
    format!("{settings}\n[queue]\nmax_bytes = 131072\n{queue}")
}

/// Orders are given, reports are not taken.
fn away(request: &Request) -> Answer {
    match request.asks_for_orders() {
        true => good(SERVICES, request),
        false => Answer::status(503, "later"),
    }
}

/// A file with an ext4 in it, if this kernel can mount one.
pub struct Image {
    pub path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Image {
    pub fn new() -> Result<Image, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("image");
        let file = File::create(&path).expect("a file");
        file.set_len(16 << 20).expect("its length");
        run(Command::new("mkfs.ext4").arg("-q").arg(&path))?;
        let point = folder.path().join("point");
        fs::create_dir(&point).expect("a folder");
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(&path)
            .arg(&point))?;
        run(Command::new("umount").arg(&point))?;
        Ok(Image {
            path,
            _folder: folder,
        })
    }
}
