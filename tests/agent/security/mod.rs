//! How the agent knows its server and is known to it: certificates, tokens and enrolment, over real TLS.

mod authority;
mod certificates;
mod enrolment;
mod hung;
mod one_paste;
mod tokens;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use mote_test_support::site::Site;
use serde_json::Value;

/// The orders of every server here.
const GOOD: &str = r#"{"Good": ["get_linux_cpu", 0.1]}"#;

/// Writes a file that only its owner can read, whole: whoever reads it sees the old or the new one.
fn write_secret(path: &Path, text: &str) {
    write_with_mode(path, text, 0o600);
}

fn write_with_mode(path: &Path, text: &str, mode: u32) {
    let new = path.with_extension("being-written");
    fs::write(&new, text).expect("a file");
    fs::set_permissions(&new, fs::Permissions::from_mode(mode)).expect("a mode");
    fs::rename(&new, path).expect("its place");
}

/// Puts a file into the folder of a site.
fn put(site: &Site, name: &str, text: &str) -> PathBuf {
    let path = site.path(name);
    write_secret(&path, text);
    path
}

/// Waits until a key of the status's `server` holds `sentence`.
fn wait_for_reason(site: &Site, key: &str, sentence: &str) -> Value {
    site.wait_for_status(&format!("{key}: {sentence}"), |status| {
        let reason = status["server"][key].as_str()?;
        reason.contains(sentence).then(|| status.clone())
    })
}

/// Waits until the agent calls the server healthy. Nothing is lost until then.
fn wait_for_health(site: &Site) {
    let status = site.wait_for_status("a healthy server", |status| {
        (status["server"]["healthy"] == true).then(|| status.clone())
    });
    let dropped = status["reports"]["dropped"].as_object().unwrap();
    assert!(dropped.values().all(|count| count == 0), "{status}");
}

/// `mote` with settings of a site that has not run: waits for its control socket.
fn wait_for_agent(site: &Site) {
    mote_test_support::wait_for("the agent", mote_test_support::DEADLINE, || {
        (site.call(&["status"]).code == 0).then_some(())
    });
}
