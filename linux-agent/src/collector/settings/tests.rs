use super::*;

pub(crate) fn read(text: &str) -> Result<ServerSettings, String> {
    let file = Path::new("conf/server.toml");
    parse(file, text)
        .and_then(|part| resolve(file, part, &[]))
        .map_err(|error| error.to_string())
}

fn refused(text: &str) -> String {
    read(text).unwrap_err()
}

const TWO_TEMPLATES: &str = r#"
    [hosts.web]
    id = 1
    templates = ["slow"]
    groups = ["all", "all"]
    [groups.all]
    templates = ["fast", "slow"]
    [templates.slow.services]
    LinuxCPU = ["get_linux_cpu", 60]
    LinuxLoad = ["get_linux_load", 0.5]
    [templates.fast.services]
    LinuxCPU = ["get_linux_cpu", 15]
"#;

#[test]
fn an_empty_file_listens_on_loopback_for_nobody() {
    let settings = read("").unwrap();
    assert_eq!(settings.listen.to_string(), "127.0.0.1:9000");
    assert!(settings.hosts.is_empty());
}

#[test]
fn the_database_has_a_folder_of_its_own_below_var_lib() {
    for (file, database) in [
        (
            "/etc/mote/server.toml",
            "/var/lib/mote-collector/reports.db",
        ),
        (
            "/etc/no-such-name/server.toml",
            "/var/lib/no-such-name-collector/reports.db",
        ),
        (
            "/no-such-name/conf/server.toml",
            "/no-such-name/var/reports.db",
        ),
    ] {
        let settings = |text| {
            let file = Path::new(file);
            resolve(file, parse(file, text).unwrap(), &[]).unwrap()
        };
        assert_eq!(settings("").database, Path::new(database));
        let given = settings("database = \"r.db\"").database;
        assert_eq!(given, Path::new(file).with_file_name("r.db"));
    }
    // A link leads to where the folder is, and a name alone starts at this folder.
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    fs::create_dir_all(root.join("deep/conf")).unwrap();
    fs::write(root.join("deep/conf/server.toml"), "").unwrap();
    std::os::unix::fs::symlink(root.join("deep/conf"), root.join("conf")).unwrap();
    let settings = ServerSettings::read(&root.join("conf/server.toml")).unwrap();
    assert_eq!(settings.database, root.join("deep/var/reports.db"));
    let here = std::env::current_dir().unwrap();
    assert_eq!(without_links(Path::new("")), here.canonicalize().unwrap());
}

#[test]
fn the_shorter_interval_wins_and_is_told_once() {
    let settings = read(TWO_TEMPLATES).unwrap();
    let services = &settings.hosts[&ClientName::Number(1)].services;
    assert_eq!(services["LinuxCPU"].interval_ms, 15_000);
    assert_eq!(services["LinuxLoad"].interval_ms, 500);
    let told: Vec<String> = settings.clashes.iter().map(Clash::to_string).collect();
    assert_eq!(
        told,
        [
            "host `web` gets the service `LinuxCPU` from two templates: \
             that of `fast` is in force, that of `slow` is not"
        ]
    );
}

#[test]
fn of_equal_intervals_the_first_named_wins() {
    let text = TWO_TEMPLATES.replace(r#"["get_linux_cpu", 15]"#, r#"["other", 60]"#);
    let settings = read(&text).unwrap();
    let services = &settings.hosts[&ClientName::Number(1)].services;
    assert_eq!(services["LinuxCPU"].plugin, "get_linux_cpu");
    assert_eq!(settings.clashes[0].kept, "slow");
}

#[test]
fn a_host_without_an_id_is_known_by_its_label() {
    let settings = read("[hosts.web]\n[hosts.7]\n").unwrap();
    let ids: Vec<&ClientName> = settings.hosts.keys().collect();
    assert_eq!(
        ids,
        [&ClientName::Number(7), &ClientName::Name("web".to_owned())]
    );
}

#[test]
fn what_toml_refuses_is_told_with_its_line() {
    assert_eq!(
        refused("listen = \"127.0.0.1:9000\"\nlisen = 1\n"),
        "conf/server.toml:2: there is no setting `lisen`; the nearest is `listen`"
    );
    assert_eq!(
        refused("[hosts.web]\n\ntoken_fil = \"a\"\n"),
        "conf/server.toml:3: there is no setting `hosts.web.token_fil`; the nearest is \
         `hosts.web.token_file`"
    );
    for (text, line) in [
        ("listen = \"localhost:9000\"\n", 1),
        ("\n\n[hosts.web\n", 3),
        ("[hosts.web]\nid = 1.5\n", 2),
        ("[hosts.web]\nid = 1\nid = 2\n", 3),
        ("[hosts.web]\nid = -1\n", 2),
        ("[hosts.web]\nid = 4294967296\n", 2),
        ("[hosts.web]\ngroups = \"a\"\n", 2),
        ("\nhosts = 1\n", 2),
        ("require_tokens = \"yes\"\n", 1),
    ] {
        let told = refused(text);
        let begins = format!("conf/server.toml:{line}: ");
        assert!(told.starts_with(&begins), "{told}");
        assert!(!told.contains('\n'), "{told}");
    }
}

#[test]
fn what_cannot_be_is_told_with_its_line_and_key() {
    for (text, told) in [
        (
            "[hosts.a]\nid = 1\n[hosts.b]\nid = \"1\"\n",
            "4: `hosts.b.id` is 1, which `hosts.a` has already",
        ),
        (
            "[hosts.a]\nid = 7\n\n[hosts.7]\n",
            "2: `hosts.a.id` is 7, which `hosts.7` has already",
        ),
        (
            "[hosts.a]\ngroups = [\"x\"]\n",
            "2: `hosts.a.groups` names the group `x`, but there is no table [groups.x]",
        ),
        (
            "[hosts.a]\ntemplates = [\"x\"]\n",
            "2: `hosts.a.templates` names the template `x`, but there is no table [templates.x]",
        ),
        (
            "[groups.g]\ntemplates = [\"x\"]\n",
            "2: `groups.g.templates` names the template `x`, but there is no table [templates.x]",
        ),
        (
            "[templates.t.services]\nA = [\"p\", 0.05]\n",
            "2: `templates.t.services.A` must have an interval within 0.1 to 604800 s",
        ),
        (
            "[hosts.a]\nreports_for = [7]\n[hosts.b]\nid = \"7b\"\n",
            "2: `hosts.a.reports_for` names 7, but no host has that id",
        ),
        (
            "[hosts.a]\ntoken_sha256 = \"12\"\n",
            "2: `hosts.a.token_sha256` must be 64 hexadecimal digits, as `sha256sum` prints them",
        ),
        (
            "tls_cert_file = \"a\"\n",
            " `tls_key_file` is missing: TLS needs both tls_cert_file and tls_key_file",
        ),
        (
            "client_ca_file = \"a\"\n",
            " `tls_cert_file` is missing: TLS needs both tls_cert_file and tls_key_file",
        ),
    ] {
        assert_eq!(refused(text), format!("conf/server.toml:{told}"));
    }
    let both = format!(
        "[hosts.a]\ntoken_file = \"t\"\ntoken_sha256 = \"{}\"\n",
        "0".repeat(64)
    );
    assert_eq!(
        refused(&both),
        "conf/server.toml:3: `hosts.a.token_sha256` cannot be there beside token_file; leave one of them out"
    );
    for service in [
        "[15, \"p\"]",
        "[\"p\"]",
        "[\"p\", 1, 2]",
        "[\"p\", \"1\"]",
        "15",
        "{}",
    ] {
        let text = format!("[templates.t.services]\nA = {service}\n");
        let told = refused(&text);
        let begins = "conf/server.toml:2: `templates.t.services.A` must be a plugin and ";
        assert!(told.starts_with(begins), "{told}");
        assert!(!told.contains('\n'), "{told}");
    }
    for service in ["\"\" = [\"p\", 1]", "A = [\"\", 1]", "A = [\"a\\tb\", 1]"] {
        let text = format!("[templates.t.services]\n{service}\n");
        assert!(refused(&text).contains("control characters"), "{service}");
    }
    for interval in ["604801", "-1", "0", "nan", "inf"] {
        let text = format!("[templates.t.services]\nA = [\"p\", {interval}]\n");
        assert!(
            refused(&text).contains("must have an interval"),
            "{interval}"
        );
    }
    let long = "x".repeat(65);
    for id in ["", "a\\tb", "a\\u007f", &long] {
        let text = format!("[hosts.a]\nid = \"{id}\"\n");
        assert!(refused(&text).contains(":2: `hosts.a.id` must be "), "{id}");
    }
    assert!(refused(&format!("[hosts.{long}]\n")).contains(".id` must be "));
}

#[test]
fn an_address_that_cannot_be_is_told_what_one_is() {
    for listen in [
        "127.0.0.1:99999",
        "127.0.0.1",
        "localhost:9000",
        ":9000",
        "",
    ] {
        assert_eq!(
            refused(&format!("\nlisten = \"{listen}\"\n")),
            "conf/server.toml:2: `listen` must be an IP address and a port from 0 to 65535, such as \
             \"127.0.0.1:9000\" or \"[::1]:9000\""
        );
    }
    let settings = read("listen = \"[::1]:0\"\n").unwrap();
    assert_eq!(settings.listen.to_string(), "[::1]:0");
}

#[test]
fn further_files_add_hosts_groups_and_templates() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.toml");
    let further = folder.path().join("server.d");
    fs::write(&file, "[hosts.web]\ngroups = [\"all\"]\n").unwrap();
    let read = || {
        ServerSettings::read(&file).map_err(|error| {
            let folder = format!("{}/", folder.path().display());
            error.to_string().replace(&folder, "")
        })
    };
    let group = "names the group `all`, but there is no table [groups.all]";
    assert_eq!(
        read().unwrap_err(),
        format!("server.toml:2: `hosts.web.groups` {group}")
    );

    fs::create_dir(&further).unwrap();
    fs::write(
        further.join("b.toml"),
        "[groups.all]\ntemplates = [\"t\"]\n",
    )
    .unwrap();
    fs::write(
        further.join("a.toml"),
        "[templates.t.services]\nA = [\"p\", 1]\n",
    )
    .unwrap();
    fs::write(further.join("notes"), "nothing of ours").unwrap();
    fs::write(
        further.join("db.toml"),
        "[hosts.db]\ntoken_file = \"token\"\n",
    )
    .unwrap();
    let settings = read().unwrap();
    let web = ClientName::from_text("web");
    assert_eq!(settings.hosts[&web].services["A"].plugin, "p");
    let token = &settings.hosts[&ClientName::from_text("db")].token;
    assert!(matches!(token, Some(host::TokenSource::File(path)) if *path == further.join("token")));

    for (text, told) in [
        ("x = 1\n", "server.d/c.toml:1: there is no setting `x`"),
        (
            "\n[hosts.web]\n",
            "server.d/c.toml:2: `hosts.web` stands in server.toml:1 already",
        ),
        (
            "[hosts.c]\nid = \"web\"\n",
            "server.d/c.toml:2: `hosts.c.id` is web, which",
        ),
        (
            "listen = \"127.0.0.1:1\"\n",
            "server.d/c.toml:1: `listen` must stand in ",
        ),
        (
            "[groups.c]\ntemplates = [\"u\"]\n",
            "server.d/c.toml:2: `groups.c.templates` names",
        ),
    ] {
        fs::write(further.join("c.toml"), text).unwrap();
        let error = read().unwrap_err();
        let at = if error.starts_with(told) { told } else { "" };
        assert_eq!(at, told, "{error}");
    }
}

#[test]
fn every_id_that_an_agent_may_have_is_one() {
    let long = "ü".repeat(32);
    for id in [
        "a/b",
        "..",
        "-x",
        "é",
        "a b",
        "%2f",
        "007",
        "4294967296",
        &long,
    ] {
        let settings = read(&format!("[hosts.a]\nid = \"{id}\"\n")).unwrap();
        assert!(
            settings
                .hosts
                .contains_key(&ClientName::Name(id.to_owned()))
        );
    }
}

/// A host with this many services, each with a name of this many bytes.
fn ordering(count: usize, name_bytes: usize) -> String {
    let mut text = "[hosts.web]\nid = 1\ntemplates = [\"t\"]\n[templates.t.services]\n".to_owned();
    for number in 0..count {
        text += &format!("\"{number:0>name_bytes$}\" = [\"p\", 1]\n");
    }
    text
}

#[test]
fn what_no_agent_would_follow_is_not_ordered() {
    assert_eq!(
        read(&ordering(256, 200)).unwrap().hosts[&ClientName::Number(1)]
            .services
            .len(),
        256
    );
    assert_eq!(
        refused(&ordering(257, 3)),
        "conf/server.toml:1: `hosts.web` gets a services document that agents refuse: \
         service \"256\": one more than the 256 services there is room for"
    );
    let told = refused(&ordering(1, 201));
    assert!(told.contains("of 1 to 200 bytes"), "{told}");
    // Names and plugins of 200 bytes each: 256 × (2 × 200 + a little) is more than 64 KiB.
    let told = refused(&ordering(256, 200).replace("\"p\"", &format!("{:?}", "p".repeat(200))));
    let begins = "conf/server.toml:1: `hosts.web` gets a services document of 10";
    assert!(told.starts_with(begins), "{told}");
    assert!(told.contains("at most 65536"), "{told}");
}

#[test]
fn the_bounds_are_intervals_too() {
    let text = "[hosts.a]\nid = 1\ntemplates = [\"t\"]\n[templates.t.services]\n\
                A = [\"p\", 0.1]\nB = [\"p\", 604800]\n";
    let settings = read(text).unwrap();
    let services = &settings.hosts[&ClientName::Number(1)].services;
    assert_eq!(services["A"].interval_ms, 100);
    assert_eq!(services["B"].interval_ms, 604_800_000);
}

#[test]
fn a_device_is_no_settings_file() {
    let error = ServerSettings::read(Path::new("/dev/zero")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "/dev/zero: it is a device, and not a regular file"
    );
}

#[test]
fn the_file_that_comes_with_mote_is_valid() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf/server.toml");
    let settings = ServerSettings::read(&path).unwrap();
    let root = path.parent().unwrap().parent().unwrap().canonicalize();
    assert_eq!(settings.database, root.unwrap().join("var/reports.db"));
    assert!(!settings.hosts.is_empty());
    assert!(settings.clashes.is_empty());
}
