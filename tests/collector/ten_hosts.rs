//! Ten hosts, each in a network, a root folder and a list of processes of its own, are set up by the commands of the docs
//! alone, as they are printed there.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;

use mote_test_support::namespace::run_in_namespace;
use mote_test_support::{DEADLINE, mote, need, root, run, wait_for};
use serde_json::Value;
use tempfile::TempDir;

const HOSTS: [&str; 10] = [
    "alder", "ash", "beech", "birch", "elm", "hazel", "lime", "maple", "oak", "rowan",
];

/// Of docs/collector.md, from no certificate to a code for all hosts.
const CERTIFICATE: &str = r"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 825 -subj /CN=monitor.example \
  -addext subjectAltName=DNS:monitor.example -addext basicConstraints=critical,CA:FALSE -keyout server.key -out server.pem
chmod 600 server.key
";
const INVITE: &str = "mote invite --group servers --times 50 --valid-for-s 86400";

/// Of docs/install.md and docs/collector.md, on a host.
const USER: &str = "useradd --system --user-group --no-create-home --shell /usr/sbin/nologin mote";
const ENROLL: &str = "mote enroll https://monitor.example:9000 --code CODE --ca-file server.pem";
const CHECK: &str = "mote check";
const START: &str = "mote start";

/// A machine: what it changes below `/etc` and `/var/lib` nobody else sees, and its processes end with its first one.
/// `$1` is its name, `$2` a folder of its own.
const MACHINE: &str = r#"
hostname "$1"
cp -a /etc "$2/etc"
rm -rf "$2/etc/mote"
mount --bind "$2/etc" /etc
mount -t tmpfs -o mode=755 none /var/lib
echo "10.77.0.1 monitor.example" >>/etc/hosts
"#;

/// The networks of all machines are one cable with a switch.
const NETWORK: &str = r"
mount -t tmpfs none /run
ip netns add collector
ip -n collector link add switch type bridge
ip -n collector addr add 10.77.0.1/24 dev switch
ip -n collector link set switch up
ip -n collector link set lo up
for host in $(seq 10); do
    ip netns add host$host
    ip -n collector link add cable$host type veth peer name eth0 netns host$host
    ip -n collector link set cable$host master switch up
    ip -n host$host addr add 10.77.0.$((host + 1))/24 dev eth0
    ip -n host$host link set eth0 up
    ip -n host$host link set lo up
done
";

#[test]
fn ten_hosts_are_set_up_from_the_docs_alone() {
    let name = "ten_hosts::ten_hosts_are_set_up_from_the_docs_alone";
    let lacks = |tool: &&str| !Path::new("/usr/sbin").join(tool).exists();
    let missing = ["ip", "useradd"].into_iter().find(lacks);
    let found = match missing {
        None => Ok(()),
        Some(tool) => Err(format!("{tool}: apt-get install iproute2 passwd")),
    };
    if need(name, found).is_some() {
        run_in_namespace(name, set_up);
    }
}

fn set_up() {
    assert_printed("collector.md", &[CERTIFICATE, INVITE, ENROLL]);
    assert_printed("install.md", &[USER, CHECK, START]);
    run(Command::new("sh").args(["-euc", NETWORK])).unwrap();
    let folder = TempDir::new().unwrap();
    // The commands run what `mote` is in PATH.
    let programs = folder.path().join("bin");
    fs::create_dir(&programs).unwrap();
    std::os::unix::fs::symlink(mote().get_program(), programs.join("mote")).unwrap();
    let began = Instant::now();

    let mut collector = Machine::start("collector", "collector", folder.path());
    let settings = fs::read_to_string(root().join("conf/server.toml")).unwrap();
    fs::write(
        folder.path().join("collector/server.toml"),
        edited(&settings),
    )
    .unwrap();
    collector.ask(&format!(
        "{CERTIFICATE}mkdir /etc/mote; cp server.* /etc/mote"
    ));
    collector.ask("mote serve --config /etc/mote/server.toml >serve.log 2>&1 &");
    wait_for("the collector", DEADLINE, || {
        let log = fs::read_to_string(folder.path().join("collector/serve.log")).ok()?;
        log.contains("mote serve: https://10.77.0.1:9000/")
            .then_some(())
    });
    let code = collector.ask(INVITE).trim().to_owned();
    println!(
        "the collector, from no certificate to a code: {:.1} s",
        began.elapsed().as_secs_f64()
    );

    let mut machines: Vec<Machine> = Vec::new();
    for (number, name) in HOSTS.into_iter().enumerate() {
        let began = Instant::now();
        let mut host = Machine::start(name, &format!("host{}", number + 1), folder.path());
        fs::copy(
            folder.path().join("collector/server.pem"),
            folder.path().join(name).join("server.pem"),
        )
        .unwrap();
        host.ask(USER);
        let said = host.ask(&ENROLL.replace("CODE", &code));
        assert!(said.contains(&format!("this is client {name}")), "{said}");
        let said = host.ask(CHECK);
        assert!(said.contains("monitors 6 services"), "{said}");
        host.ask(START);
        wait_for("a report that the server has", DEADLINE, || {
            let said: Value = serde_json::from_str(&host.ask("mote status --json || true")).ok()?;
            (said["reports"]["acknowledged"].as_u64()? > 0).then_some(())
        });
        println!(
            "{name}, from nothing to its first report: {:.1} s",
            began.elapsed().as_secs_f64()
        );
        machines.push(host);
    }
    let shown = wait_for("ten hosts that report", DEADLINE, || {
        let shown = collector.ask("mote hosts --json");
        let hosts: Value = serde_json::from_str(&shown).unwrap();
        let hosts = hosts["hosts"].as_array().unwrap();
        let reporting = hosts.iter().filter(|it| it["state"] == "reporting");
        // What the collector calls it, and what it calls itself.
        let names = reporting.filter_map(|it| {
            let services = it["services"].as_array()?;
            let of_host = services.iter().find(|it| it["name"] == "SysInfo")?;
            let own = of_host["data"]["hostname"].as_str()?;
            Some((it["label"].as_str()?.to_owned(), own.to_owned()))
        });
        let names: Vec<_> = names.collect();
        (names.len() == HOSTS.len()).then_some(names)
    });
    assert_eq!(shown, HOSTS.map(|name| (name.to_owned(), name.to_owned())));
    println!(
        "ten hosts, all in all: {:.1} s",
        began.elapsed().as_secs_f64()
    );
    for mut host in machines {
        let said = host.ask("mote status && mote stop");
        assert!(said.contains("mote stopped"), "{said}");
    }
}

/// The commands are those of the page, line by line.
fn assert_printed(page: &str, commands: &[&str]) {
    let text = fs::read_to_string(root().join("linux-agent/docs").join(page)).unwrap();
    for command in commands {
        assert!(text.contains(command), "{page} no longer says {command}");
    }
}

/// What docs/collector.md says to change in `conf/server.toml` for hosts elsewhere.
fn edited(settings: &str) -> String {
    let changes = [
        ("listen = \"127.0.0.1:9000\"", "listen = \"10.77.0.1:9000\""),
        ("# require_tokens = false", "require_tokens = true"),
        ("# tls_cert_file = ", "tls_cert_file = "),
        ("# tls_key_file = ", "tls_key_file = "),
    ];
    let mut settings = settings.to_owned();
    for (from, to) in changes {
        let line = format!("\n{from}");
        assert_eq!(settings.matches(&line).count(), 1, "{from}");
        settings = settings.replace(&line, &format!("\n{to}"));
    }
    settings
}

/// A shell on it, which is asked one thing after the other.
struct Machine {
    name: String,
    shell: Child,
    output: BufReader<ChildStdout>,
}

impl Machine {
    fn start(name: &str, network: &str, folder: &Path) -> Machine {
        let own = folder.join(name);
        // As root's home.
        fs::DirBuilder::new().mode(0o700).create(&own).unwrap();
        let path = std::env::var("PATH").unwrap();
        let mut shell = Command::new("ip");
        // They would be settings of the agent.
        let variables = std::env::vars_os().map(|(name, _)| name);
        for name in variables.filter(|it| it.as_encoded_bytes().starts_with(b"MOTE_")) {
            shell.env_remove(name);
        }
        let mut shell = shell
            .args(["netns", "exec", network, "unshare", "--mount", "--uts"])
            .args([
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "sh",
                "-s",
                name,
            ])
            .arg(&own)
            .env("PATH", format!("{}:{path}", folder.join("bin").display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(shell.stdout.take().unwrap());
        let name = name.to_owned();
        let mut machine = Machine {
            name,
            shell,
            output,
        };
        machine.ask(MACHINE);
        machine
    }

    /// Runs commands there, which must succeed, and gives what they say.
    fn ask(&mut self, commands: &str) -> String {
        let input = self.shell.stdin.as_mut().unwrap();
        let subshell = format!("( set -e; cd \"$2\"\n{commands}\n) 2>&1 </dev/null");
        writeln!(input, "{subshell}\necho \"<$?>\"").unwrap();
        let (mut said, mut line) = (String::new(), String::new());
        loop {
            line.clear();
            let count = self.output.read_line(&mut line).unwrap();
            assert_ne!(count, 0, "{} ended at {commands}: {said}", self.name);
            match line
                .trim_end()
                .strip_suffix(">")
                .and_then(|it| it.rsplit_once('<'))
            {
                Some((rest, status)) if status.bytes().all(|it| it.is_ascii_digit()) => {
                    said.push_str(rest);
                    assert_eq!(status, "0", "{}: {commands}: {said}", self.name);
                    return said;
                }
                _ => said.push_str(&line),
            }
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Its other processes end with it.
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}
