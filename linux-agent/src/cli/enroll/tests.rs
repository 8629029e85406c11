use super::*;

#[test]
fn an_agent_that_root_enrols_runs_as_the_user_who_may_read_its_token() {
    let user = User::from_uid(Uid::effective()).unwrap().unwrap();
    let server = Server::at("http://127.0.0.1", None);
    let text = settings_text(&ClientName::Number(1), &server, Some(&user));
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
        fs::write(&file, settings_text(&id, &Server::at(url, None), None)).unwrap();
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
    let ca_file = PathBuf::from("/a \"b\"\u{7f}\t.pem");
    let server = Server::at("https://h", Some(ca_file.clone()));
    fs::write(&file, settings_text(&ClientName::Number(1), &server, None)).unwrap();
    let settings = Settings::load_with(Some(&file), &[], []).unwrap();
    assert_eq!(settings.server().unwrap().ca_file, Some(ca_file));
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
