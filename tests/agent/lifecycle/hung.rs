//! Commands whose settings or state folder are on a file system that does not answer.

use std::fs;
use std::thread;

use mote_test_support::hung::{Hung, with_fuse};
use mote_test_support::site::{Said, Site};

/// Calls them all at the same time: each waits for 10 s.
fn calls<const N: usize>(site: &Site, commands: [&[&str]; N]) -> [Said; N] {
    thread::scope(|scope| {
        let running = commands.map(|it| scope.spawn(move || site.call(it)));
        running.map(|it| it.join().unwrap())
    })
}

#[test]
fn no_command_waits_for_settings_or_a_state_folder_that_hang() {
    let name = "lifecycle::hung::no_command_waits_for_settings_or_a_state_folder_that_hang";
    with_fuse(name, || {
        let site = Site::new("services = {}");
        let folder = site.path("hung");
        fs::create_dir(&folder).unwrap();
        let _hung = Hung::over(&folder);
        let commands: [&[&str]; 6] = [
            &["status"],
            &["start"],
            &["stop"],
            &["restart"],
            &["reload"],
            &["probe", "host_alive_check"],
        ];

        let settings = site.path("agent.toml");
        fs::rename(&settings, site.path("kept.toml")).unwrap();
        std::os::unix::fs::symlink(folder.join("agent.toml"), &settings).unwrap();
        let sentence = format!(
            "{} is on a file system that does not answer\n",
            settings.display()
        );
        for (command, said) in commands.iter().zip(calls(&site, commands)) {
            let code = if *command == ["status"] { 4 } else { 78 };
            assert_eq!((said.code, &*said.out), (code, ""), "{command:?}: {said:?}");
            assert!(said.err.ends_with(&sentence), "{command:?}: {said:?}");
        }

        fs::remove_file(&settings).unwrap();
        let kept = fs::read_to_string(site.path("kept.toml")).unwrap();
        fs::write(&settings, kept.replace("\"state\"", "\"hung\"")).unwrap();
        let sentence = format!(
            "{} is on a file system that does not answer, so its agent cannot be told or asked\n",
            folder.display()
        );
        let commands: [&[&str]; 5] = [
            &["status"],
            &["start"],
            &["stop"],
            &["restart"],
            &["reload"],
        ];
        for (command, said) in commands.iter().zip(calls(&site, commands)) {
            let code = if *command == ["status"] { 4 } else { 1 };
            assert_eq!((said.code, &*said.out), (code, ""), "{command:?}: {said:?}");
            assert!(said.err.ends_with(&sentence), "{command:?}: {said:?}");
        }
    });
}
