use super::*;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn a_folder_that_others_may_write_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    for shared in [0o1777, 0o777, 0o1700, 0o702, 0o770] {
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(shared)).unwrap();
        let error = prepare(folder.path()).unwrap_err().to_string();
        let says = format!("can be written by others (its mode is {shared:04o})");
        assert!(error.contains(&says), "{error}");
        // Nobody is told to close what is shared on purpose.
        assert_eq!(error.contains("chmod"), shared & 0o1000 == 0, "{error}");
        assert_eq!(mode(folder.path()), shared);
    }
    for own in [0o700, 0o755] {
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(own)).unwrap();
        prepare(folder.path()).unwrap();
        assert_eq!(mode(folder.path()), own);
    }
    let new = folder.path().join("a/b");
    prepare(&new).unwrap();
    assert_eq!(mode(&new), 0o700);
    fs::write(folder.path().join("file"), "").unwrap();
    let error = prepare(&folder.path().join("file")).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with(": name a folder in `state_dir`"),
        "{error}"
    );
}

#[test]
fn a_folder_of_one_agent_is_no_other_s() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| {
        let file = folder.path().join(name);
        fs::write(&file, "").unwrap();
        file
    };
    let tenant = |client: &str, settings: &Path| Tenant {
        client: client.to_owned(),
        settings: settings.to_owned(),
    };
    let (one, other) = (file("one.toml"), file("other.toml"));
    let claimed = |client, settings: &Path| claim(folder.path(), &tenant(client, settings));
    claimed("1", &one).unwrap();
    claimed("1", &one).unwrap();
    let says = format!(
        "{} holds the state of client 1 with the settings {}: ",
        folder.path().display(),
        one.display()
    );
    for (client, settings) in [("2", &other), ("1", &other)] {
        let error = claimed(client, settings).unwrap_err().to_string();
        assert!(error.starts_with(&says), "{error}");
        // Reports of another client are not sent.
        assert_eq!(error.contains("/queue"), client == "2", "{error}");
    }
    let error = claimed("2", &one).unwrap_err();
    assert!(
        matches!(error, StateFolderError::OtherClient { .. }),
        "{error}"
    );
    // The settings were moved.
    fs::remove_file(&one).unwrap();
    claimed("1", &other).unwrap();
    assert!(claimed("2", &one).is_err());
    // Nothing that can be read is no claim.
    fs::write(folder.path().join(TENANT_FILE), "{").unwrap();
    claimed("2", &one).unwrap();
}

#[test]
fn a_path_is_one_word_of_the_shell() {
    for (path, word) in [
        ("/var/lib/mote", "/var/lib/mote"),
        ("/srv/my state", "'/srv/my state'"),
        ("/it's; $x", "'/it'\\''s; $x'"),
    ] {
        assert_eq!(quoted(Path::new(path)), word);
    }
}

fn nobody() -> User {
    User::from_name("nobody").unwrap().unwrap()
}

/// Prints why and gives `true` where this is not root.
fn skipped(test: &str) -> bool {
    if !Uid::effective().is_root() {
        // Past the capture of the test harness, which shows nothing of a test that passed.
        let line = format!("\nSKIPPED: {test}: it needs to run as root\n");
        let _ = io::Write::write_all(&mut io::stderr(), line.as_bytes());
    }
    !Uid::effective().is_root()
}

fn owner(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().uid()
}

#[test]
fn only_what_is_the_agent_s_changes_its_owner() {
    if skipped("only_what_is_the_agent_s_changes_its_owner") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("new/state");
    give(&state, &nobody()).unwrap();
    assert_eq!(owner(&state), nobody().uid.as_raw());
    assert_eq!(fs::metadata(&state).unwrap().mode() & 0o777, 0o700);
    assert_eq!(owner(state.parent().unwrap()), 0);

    // Meanwhile the user may have put something into the folder.
    let outside = folder.path().join("outside");
    fs::write(&outside, "").unwrap();
    fs::create_dir(state.join("queue")).unwrap();
    for name in ["agent.log", "queue/1", "other"] {
        fs::write(state.join(name), "").unwrap();
    }
    symlink(&outside, state.join("agent.lock")).unwrap();
    fs::hard_link(&outside, state.join("services.json")).unwrap();
    symlink(folder.path(), state.join("dead")).unwrap();
    give(&state, &nobody()).unwrap();
    for name in ["agent.log", "queue", "queue/1"] {
        assert_eq!(owner(&state.join(name)), nobody().uid.as_raw(), "{name}");
    }
    for path in [
        &outside,
        &state.join("other"),
        &state.join("dead"),
        folder.path(),
    ] {
        assert_eq!(owner(path), 0, "{path:?}");
    }
}

#[test]
fn a_disk_of_its_own_is_as_good_as_an_empty_folder() {
    if skipped("a_disk_of_its_own_is_as_good_as_an_empty_folder") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let of_disk = folder.path().join("lost+found");
    fs::create_dir(&of_disk).unwrap();
    give(folder.path(), &nobody()).unwrap();
    assert_eq!(owner(folder.path()), nobody().uid.as_raw());
    assert_eq!(owner(&of_disk), 0);
}

#[test]
fn a_folder_of_others_is_not_given_away() {
    if skipped("a_folder_of_others_is_not_given_away") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("agent.log"), "").unwrap();
    fs::write(folder.path().join("passwd"), "").unwrap();
    let error = give(folder.path(), &nobody()).unwrap_err().to_string();
    assert!(
        error.contains("holds \"passwd\", which is not the agent's"),
        "{error}"
    );
    for path in [folder.path(), &folder.path().join("agent.log")] {
        assert_eq!(owner(path), 0, "{path:?}");
    }
    fs::remove_file(folder.path().join("passwd")).unwrap();
    std::os::unix::fs::chown(folder.path(), Some(1), None).unwrap();
    let error = give(folder.path(), &nobody()).unwrap_err().to_string();
    assert!(error.contains("belongs to user 1"), "{error}");
}
