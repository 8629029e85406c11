use super::*;
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;

const TEXT: &str = "a-token.of_16+bytes";

fn own() -> Keeper {
    Keeper::Owner {
        uid: nix::unistd::geteuid().as_raw(),
    }
}

fn file(folder: &TempDir, text: &[u8], mode: u32) -> SecretFile {
    let path = folder.path().join("token");
    let _ = fs::remove_file(&path);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    SecretFile {
        path,
        keeper: own(),
    }
}

fn refusal(secret: &SecretFile) -> String {
    let error = secret.read_token().unwrap_err().to_string();
    error.replace(secret.path.to_str().unwrap(), "token")
}

#[test]
fn a_secret_that_others_may_read_or_change_is_none() {
    let folder = TempDir::new().unwrap();
    for mode in [0o600, 0o400, 0o700] {
        let token = file(&folder, TEXT.as_bytes(), mode).read_token().unwrap();
        assert_eq!(token.expose(), TEXT);
    }
    for mode in [0o644, 0o640, 0o604, 0o620, 0o602, 0o610, 0o601] {
        assert_eq!(
            refusal(&file(&folder, TEXT.as_bytes(), mode)),
            format!(
                "token may be read or changed by others (its mode is {mode:04o}): chmod 600 token"
            )
        );
    }
}

#[test]
fn a_secret_of_another_user_is_none() {
    let folder = TempDir::new().unwrap();
    let mut secret = file(&folder, TEXT.as_bytes(), 0o600);
    let uid = nix::unistd::geteuid().as_raw();
    if uid != 0 {
        // Only the owner's part of the rule can be tested the other way round.
        secret.keeper = Keeper::Owner { uid: uid + 1 };
        let says = format!("belongs to user {uid}, and this program runs as");
        assert!(refusal(&secret).contains(&says));
        return;
    }
    std::os::unix::fs::chown(&secret.path, Some(12345), None).unwrap();
    // As root enrolls an agent that is not root's, and then checks.
    assert!(secret.read_token().is_ok());
    std::os::unix::fs::chown(folder.path(), Some(12345), None).unwrap();
    assert_eq!(
        refusal(&secret),
        "token belongs to user 12345, and this program runs as user 0: chown 0 token"
    );
    secret.keeper = Keeper::Owner { uid: 12345 };
    assert!(secret.read_token().is_ok());
    // It is about to become that user, who could not read what is root's.
    std::os::unix::fs::chown(&secret.path, Some(0), None).unwrap();
    assert!(refusal(&secret).contains("belongs to user 0"));
    secret.keeper = Keeper::Owner { uid: 0 };
    assert!(secret.read_token().is_ok());
}

#[test]
fn a_credential_of_systemd_may_be_readable_for_a_group_in_a_closed_folder() {
    let folder = TempDir::new().unwrap();
    let uid = nix::unistd::geteuid().as_raw();
    let enter = |mode| {
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
    };
    let keeper = Keeper::Systemd { uid };
    for mode in [0o440, 0o400] {
        let secret = file(&folder, TEXT.as_bytes(), mode);
        let secret = SecretFile { keeper, ..secret };
        for (folder_mode, is_closed) in
            [(0o500, true), (0o550, true), (0o755, false), (0o570, false)]
        {
            enter(folder_mode);
            let taken = secret.read_token().is_ok();
            assert_eq!(taken, is_closed, "{mode:o} in {folder_mode:o}");
        }
        enter(0o700);
    }
    let secret = file(&folder, TEXT.as_bytes(), 0o444);
    assert!(SecretFile { keeper, ..secret }.read_token().is_err());
}

#[test]
fn tokens_are_16_to_256_visible_characters_and_white_space_around_is_none_of_them() {
    let folder = TempDir::new().unwrap();
    let taken = |text: &str| {
        let secret = file(&folder, text.as_bytes(), 0o600);
        secret.read_token().ok().map(|it| it.expose().to_owned())
    };
    let longest = "~".repeat(256);
    for text in ["!234567890123456", &longest] {
        for (start, end) in [("", ""), ("", "\n"), ("", "\r\n"), (" \n", "\t\r\n\n")] {
            let padded = format!("{start}{text}{end}");
            assert_eq!(taken(&padded).as_deref(), Some(text));
        }
    }
    for text in [
        "",
        "\n",
        "123456789012345",
        "12345678 90123456",
        "1234567890123456\nA",
        "ä234567890123456",
        &format!("{longest}~"),
    ] {
        assert_eq!(taken(text), None, "{text:?}");
    }
    let secret = file(&folder, &[0xff; 20], 0o600);
    assert_eq!(
        refusal(&secret),
        "token holds no token, which is 16 to 256 visible ASCII characters without spaces"
    );
    let secret = file(&folder, &[b'a'; (64 << 10) + 1], 0o600);
    assert_eq!(refusal(&secret), "token: it is larger than 65536 bytes");
}

#[test]
fn what_is_no_regular_file_holds_no_secret_and_holds_up_nobody() {
    let folder = TempDir::new().unwrap();
    let secret = file(&folder, b"", 0o600);
    fs::remove_file(&secret.path).unwrap();
    assert_eq!(
        refusal(&secret),
        "token: No such file or directory (os error 2)"
    );
    nix::unistd::mkfifo(&secret.path, nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert_eq!(
        refusal(&secret),
        "token: it is a pipe (FIFO), and not a regular file"
    );
}

#[test]
fn a_token_shows_nowhere() {
    let token = Token::new(TEXT).unwrap();
    assert_eq!(format!("{token:?}"), "Token(…)");
    let header = token.header().unwrap();
    assert_eq!(header.as_bytes(), format!("Bearer {TEXT}").as_bytes());
    assert_eq!(format!("{header:?}"), "Sensitive");
}

#[test]
fn a_new_file_comes_whole_and_takes_no_other_s_place() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("token");
    let write = |text, replaces| NewFile::create(&path, 0o600)?.write(text, replaces);
    write("one", false).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    let error = write("two", false).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read_to_string(&path).unwrap(), "one");
    write("three", true).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "three");
    drop(NewFile::create(&path, 0o600).unwrap());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}
