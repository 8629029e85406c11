//! A mail server: Exim, as Debian's package `exim4-daemon-light` has it, with TLS and a log-in.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::{DEADLINE, Running, free_port, need, wait_for};

const PROGRAM: &str = "/usr/sbin/exim4";

/// A mail server that keeps every mail of whoever logs in as `mote` with the password `secret`.
pub struct Exim {
    pub port: u16,
    folder: TempDir,
    _process: Running,
}

impl Exim {
    /// With this certificate and its key, in PEM; `None` if the test is skipped.
    pub fn start(test: &str, certificate: &str, key: &str) -> Option<Exim> {
        let is_there = Path::new(PROGRAM).exists();
        let found = is_there.then_some(());
        need(
            test,
            found.ok_or_else(|| {
                format!("{PROGRAM} is missing; Debian's package exim4-daemon-light has it")
            }),
        )?;
        let folder = TempDir::new().expect("a folder");
        // Exim becomes nobody before it writes.
        open(folder.path());
        for name in ["spool", "mail"] {
            fs::create_dir(folder.path().join(name)).expect("a folder");
            open(&folder.path().join(name));
        }
        for (name, text) in [("cert.pem", certificate), ("key.pem", key)] {
            fs::write(folder.path().join(name), text).expect("a file");
            fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(0o644))
                .expect("a mode");
        }
        let port = free_port();
        let at = folder.path().display();
        let settings = format!(
            "spool_directory = {at}/spool\nlog_file_path = {at}/spool/%slog\npid_file_path = {at}/spool/pid\n\
             local_interfaces = 127.0.0.1\ndaemon_smtp_ports = {port}\nprimary_hostname = localhost\n\
             tls_advertise_hosts = *\ntls_certificate = {at}/cert.pem\ntls_privatekey = {at}/key.pem\n\
             acl_smtp_rcpt = check\nexim_user = nobody\nexim_group = nogroup\n\
             begin acl\ncheck:\n  require encrypted = *\n  require authenticated = *\n  accept\n\
             begin routers\nall:\n  driver = accept\n  transport = keep\n\
             begin transports\nkeep:\n  driver = appendfile\n  directory = {at}/mail\n  maildir_format\n  user = nobody\n  group = nogroup\n\
             begin authenticators\nplain:\n  driver = plaintext\n  public_name = PLAIN\n  server_prompts = :\n  \
             server_condition = ${{if and {{{{eq{{$auth2}}{{mote}}}}{{eq{{$auth3}}{{secret}}}}}}}}\n  server_set_id = $auth2\n"
        );
        fs::write(folder.path().join("exim.conf"), settings).expect("a file");
        let mut command = Command::new(PROGRAM);
        command
            .arg("-bdf")
            .arg("-C")
            .arg(folder.path().join("exim.conf"));
        let mut process = Running::start("exim", &mut command, folder.path());
        wait_for("the mail server", DEADLINE, || {
            process.assert_running();
            let stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).ok()?;
            line.starts_with("220 ").then_some(())
        });
        Some(Exim {
            port,
            folder,
            _process: process,
        })
    }

    /// The mails that have come, whole.
    pub fn mails(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.folder.path().join("mail/new")) else {
            return Vec::new();
        };
        let mut files: Vec<PathBuf> = entries.flatten().map(|it| it.path()).collect();
        files.sort();
        let texts = files
            .iter()
            .map(|file| fs::read_to_string(file).expect("a mail"));
        texts.collect()
    }
}

fn open(folder: &Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).expect("a mode");
}
