//! The files for containers against the command line.

use clap::Parser;
use mote_agent::cli::arguments::{Cli, Command};

const CONTAINERFILE: &str = include_str!("../../../conf/Containerfile");
const COMPOSE: &str = include_str!("../../../conf/compose.yaml");
const DAEMONSET: &str = include_str!("../../../conf/daemonset.yaml");

/// The lists of words that follow `key` in `text`, one line each.
fn lists(text: &str, key: &str) -> Vec<Vec<String>> {
    let rest = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix(key));
    rest.map(|list| serde_json::from_str(list.trim()).unwrap())
        .collect()
}

/// The command line of a container, as the program reads it.
fn read(arguments: &[String]) -> Cli {
    let [image] = &lists(CONTAINERFILE, "ENTRYPOINT")[..] else {
        panic!("one ENTRYPOINT");
    };
    let words = image.iter().chain(arguments);
    Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_image_watches_the_host_that_it_is_given() {
    let Cli { global, command } = read(&lists(CONTAINERFILE, "CMD")[0]);
    assert!(matches!(command, Command::Run { .. }));
    for text in [COMPOSE, DAEMONSET] {
        for place in [&global.procfs, &global.sysfs, &global.rootfs] {
            let place = place.as_ref().unwrap().to_str().unwrap();
            assert!(
                text.contains(&format!("{place}:"))
                    || text.contains(&format!("mountPath: {place},")),
                "{place}"
            );
        }
    }
    let settings = global.config.unwrap();
    for text in [CONTAINERFILE, COMPOSE, DAEMONSET] {
        assert!(settings.starts_with("/var/lib/mote") && text.contains("/var/lib/mote"));
    }
}

#[test]
fn containers_enrol_once_and_then_run() {
    for (text, key) in [(COMPOSE, "command:"), (DAEMONSET, "args:")] {
        let arguments = lists(text, key);
        let [enrol, run] = &arguments[..] else {
            panic!("{arguments:?}");
        };
        let Command::Enroll {
            url,
            code,
            ca_file,
            client_id,
            once,
            ..
        } = read(enrol).command
        else {
            panic!("{enrol:?}");
        };
        assert!(once && client_id.is_some());
        assert!([&url, &code].iter().all(|it| !it.is_empty()));
        let ca_file = ca_file.unwrap().into_os_string().into_string().unwrap();
        let folder = ca_file.rsplit_once('/').unwrap().0;
        assert!(
            text.contains(&format!(":{ca_file}:ro"))
                || text.contains(&format!("mountPath: {folder},")),
            "{ca_file}"
        );
        assert!(matches!(read(run).command, Command::Run { .. }));
    }
}

#[test]
fn containers_have_no_rights_that_the_agent_does_not_need() {
    for (text, once) in [(COMPOSE, 2), (DAEMONSET, 1)] {
        for line in [
            "read_only: true|readOnlyRootFilesystem: true",
            "cap_drop: [ALL]|capabilities: {drop: [ALL]}",
            "no-new-privileges:true|allowPrivilegeEscalation: false",
        ] {
            let found: usize = line.split('|').map(|it| text.matches(it).count()).sum();
            assert_eq!(found, once, "{line}");
        }
    }
    // The second container has those of the first.
    assert_eq!(
        DAEMONSET.matches("&nothing").count(),
        DAEMONSET.matches("*nothing").count()
    );
}
