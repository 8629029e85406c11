use super::*;
use std::os::unix::fs::MetadataExt;

#[test]
fn an_agent_that_root_enrols_runs_as_the_user_who_may_read_its_token() {
    let user = User::from_uid(Uid::effective()).unwrap().unwrap();
    let text = text::made(
        &ClientName::Number(1),
        "http://127.0.0.1",
        None,
        Some(&user),
    );
    let file = Path::new("/etc/mote/agent.toml");
    let settings = Settings::parse(file, Path::new("/etc/mote"), &text, &[]).unwrap();
    assert_eq!(settings.user, Some(user.name));
    assert_eq!(settings.state_dir, Path::new("/var/lib/mote"));
    let token = settings.server().unwrap().token.as_ref().unwrap();
    assert_eq!(token.path, Path::new("/etc/mote/token"));
}

#[test]
fn settings_that_are_made_are_valid() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.toml");
    let url = "http://127.0.0.1:9000/a";
    for id in [
        ClientName::Number(u32::MAX),
        ClientName::Name("a \"b\" \\ ä".to_owned()),
    ] {
        fs::write(&file, text::made(&id, url, None, None)).unwrap();
        let settings = Settings::load_with(Some(&file), &[], []).unwrap();
        assert_eq!(settings.client_id, id);
        let server = settings.server().unwrap();
        assert_eq!(server.url, url);
        let token = &server.token.as_ref().unwrap().path;
        assert_eq!(*token, folder.path().canonicalize().unwrap().join("token"));
    }
}

#[cfg(feature = "tls")]
#[test]
fn an_authority_stays_in_the_settings() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.toml");
    let name = "a \"b\"\u{7f}\t.pem";
    let text = text::made(&ClientName::Number(1), "https://h", Some(name), None);
    fs::write(&file, text).unwrap();
    let settings = Settings::load_with(Some(&file), &[], []).unwrap();
    let ca_file = settings.server().unwrap().ca_file.clone().unwrap();
    assert_eq!(ca_file, folder.path().canonicalize().unwrap().join(name));
}

#[test]
fn a_copy_of_the_authority_stands_beside_the_settings() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("etc")).unwrap();
    let (settings, copy) = (path("etc/agent.toml"), path("etc/ca.pem"));
    fs::write(path("server.pem"), "one").unwrap();
    let beside = |from: &str, force| Authority::beside(&settings, &path(from), force);
    let write = |from: &str, force| {
        let authority = beside(from, force).unwrap();
        let name = authority.name.clone();
        authority.write().unwrap();
        (name, fs::read_to_string(&copy).unwrap())
    };
    let one = ("ca.pem".to_owned(), "one".to_owned());
    // Until it is written there is none, and nothing of it is left.
    drop(beside("server.pem", false).unwrap());
    assert_eq!(fs::read_dir(path("etc")).unwrap().count(), 0);
    assert_eq!(write("server.pem", false), one);
    assert_eq!(write("server.pem", false), one);
    assert_eq!(fs::metadata(&copy).unwrap().mode() & 0o7777, 0o644);
    // Another one is not replaced unasked.
    fs::write(path("server.pem"), b"two \xff").unwrap();
    let failed = beside("server.pem", false).err().unwrap();
    assert!(
        failed
            .sentence
            .contains("ca.pem is there already; with --force")
    );
    assert_eq!(write("server.pem", true).1, "two \u{fffd}");
    // One that stands there needs no copy.
    fs::write(path("etc/own.pem"), "three").unwrap();
    assert_eq!(beside("etc/own.pem", false).unwrap().name, "own.pem");
    assert!(beside("missing.pem", false).is_err());
}

#[test]
fn an_address_is_checked_before_a_code_is_spent() {
    let refusal = |url: &str, ca_file| server(url, ca_file).unwrap_err();
    for (url, ca_file, sentence) in [
        ("monitor", None, "the address must be an address like"),
        (
            "http://monitor",
            None,
            "the address must start with https://",
        ),
        (
            "http://localhost",
            Some(Path::new("ca.pem")),
            "--ca-file is of use only with https://",
        ),
    ] {
        let failed = refusal(url, ca_file);
        assert_eq!(failed.code, exit::USAGE);
        assert!(failed.sentence.starts_with(sentence), "{failed:?}");
    }
}

#[test]
fn codes() {
    let longest = "c".repeat(256);
    for code in ["K7-Q2", &longest] {
        assert_eq!(read_code(code).unwrap(), code);
    }
    for code in ["", "a b", "ä", "a\n", &format!("{longest}c")] {
        assert_eq!(read_code(code).unwrap_err().code, exit::USAGE);
    }
}

#[test]
fn delivered_settings_are_filled_in_and_keep_their_comments() {
    let text = include_str!("../../../../conf/agent.toml");
    assert!(text::is_delivered(text));
    assert!(!text::is_delivered(
        &text.replace("#max_bytes", "max_bytes")
    ));
    let user = User::from_uid(Uid::effective()).unwrap().unwrap();
    let id = ClientName::Name("web \"1\"".to_owned());
    let url = "https://monitor.example/m";
    let filled = text::filled_in(text, &id, url, Some("ca.pem"), Some(&user));
    let settings = Settings::parse(Path::new("a.toml"), Path::new("/etc/mote"), &filled, &[]);
    let settings = settings.unwrap();
    let known = (&settings.client_id, &settings.user);
    assert_eq!(known, (&id, &Some(user.name)));
    let own = settings.server().unwrap();
    assert_eq!(own.url, url);
    assert_eq!(own.ca_file.as_deref(), Some(Path::new("/etc/mote/ca.pem")));
    let token = own.token.as_ref().unwrap();
    assert_eq!(token.path, Path::new("/etc/mote/token"));

    let changed = |(old, new): &(&str, &str)| old != new;
    let lines = text.lines().zip(filled.lines());
    assert_eq!(lines.filter(changed).count(), 5);
    assert_eq!(text.lines().count(), filled.lines().count());
}
