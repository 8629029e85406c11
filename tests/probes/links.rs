//! The links of interfaces: what `ip` and `ethtool` say of them, and a driver that hangs.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use mote_agent::probes::Roots;
use mote_test_support::hung::{Hung, with_fuse};
use mote_test_support::namespace::run_in_namespace;
use mote_test_support::{DEADLINE, mote, need, wait_for};
use serde_json::Value;

use crate::bench::Bench;
use crate::tools::agree;

/// Interfaces in every state that can be made here, in a network of their own, and what three programs say of them.
/// `far` and `near` are the ends of a cable; that of `loose` ends at an interface that is switched off.
const SCRIPT: &str = r#"
mount -t sysfs sysfs /sys
ip link add near type veth peer name far
ip link add loose type veth peer name off
ip link set lo up
ip link set near up
ip link set far up
ip link set loose up
"$@"
echo ---
ip -j link
for name in $(ls /sys/class/net); do ethtool "$name" 2>/dev/null | sed -n "s/Speed: /$name /p"; done
"#;

#[test]
fn links_against_ip_and_ethtool() {
    let name = "links::links_against_ip_and_ethtool";
    let found = Command::new("ethtool").arg("--version").output();
    let found = found.map_err(|cause| format!("ethtool: {cause}; apt-get install ethtool"));
    if need(name, found).is_none() {
        return;
    }
    // The kernel looks at new carriers in its own time: until then the programs see them before and after.
    run_in_namespace(name, || agree("links", compare));
}

fn compare() -> Result<(), String> {
    let output = Command::new("unshare")
        .args(["--net", "sh", "-euc", SCRIPT, "sh"])
        .arg(mote().get_program())
        .args(["probe", "GetNetworkStatus", "--wait", "0.5"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let (ours, theirs) = text.split_once("---\n").unwrap();
    let ours: Value = serde_json::from_str(ours).unwrap();
    let ours = ours["data"]["data"].as_object().unwrap();
    let (links, speeds) = theirs.split_once('\n').unwrap();
    let links: Vec<Value> = serde_json::from_str(links).unwrap();
    let speeds: BTreeMap<&str, u64> = speeds
        .lines()
        .filter_map(|line| line.trim().split_once(' '))
        .filter_map(|(name, speed)| Some((name, speed.strip_suffix("Mb/s")?.parse().unwrap())))
        .collect();
    assert_eq!(speeds["near"], 10_000, "{speeds:?}");
    for link in &links {
        let name = link["ifname"].as_str().unwrap();
        let flags = link["flags"].as_array().unwrap();
        // Of one that is switched off the kernel says neither, though its driver may.
        let is_on = flags.contains(&"UP".into());
        let expected = [
            (
                "link",
                Some(link["operstate"].as_str().unwrap().to_lowercase().into()),
            ),
            (
                "carrier",
                is_on.then(|| u8::from(flags.contains(&"LOWER_UP".into())).into()),
            ),
            (
                "speed_mbit",
                speeds.get(name).filter(|_| is_on).map(|it| (*it).into()),
            ),
        ];
        for (field, expected) in expected {
            if ours[name].get(field) != expected.as_ref() {
                return Err(format!("{name} {field}: {}, {link} {speeds:?}", ours[name]));
            }
        }
    }
    let states = ["near", "loose", "off", "lo"].map(|name| ours[name]["link"].as_str().unwrap());
    assert_eq!(states, ["up", "lowerlayerdown", "down", "unknown"]);
    Ok(())
}

#[test]
fn rates_are_reported_while_sysfs_hangs() {
    with_fuse("links::rates_are_reported_while_sysfs_hangs", || {
        let tree = tempfile::tempdir().unwrap();
        let at = |path: &str| tree.path().join(path);
        fs::create_dir_all(at("proc/net")).unwrap();
        fs::create_dir_all(at("sys/class/net/a")).unwrap();
        fs::write(at("sys/class/net/a/operstate"), "up\n").unwrap();
        let table = "Inter-|\n face |\na: 1 0 0 0 0 0 0 0 1 0 0 0 0 0 0 0\n";
        fs::write(at("proc/net/dev"), table).unwrap();
        let roots = Roots {
            procfs: at("proc"),
            sysfs: at("sys"),
            rootfs: at(""),
        };
        let folder = at("sys");
        let hung = Hung::over(&folder);
        let mut bench = Bench::on(&roots, "GetNetworkStatus");
        for _ in 0..20 {
            let data = bench.sample();
            assert_eq!(data["data"]["a"]["t_in"], 0.0, "{data}");
            assert_eq!(data["data"]["a"].get("link"), None, "{data}");
        }
        drop(hung);
        wait_for("the link", DEADLINE, || {
            (bench.sample()["data"]["a"]["link"] == "up").then_some(())
        });
    });
}
