//! Which servers the agent trusts, and which agents a server trusts.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use mote_agent::http::MAX_CERTIFICATES;

use super::authority::{Authority, Shown};
use super::{GOOD, put, wait_for_agent, wait_for_health, wait_for_reason};
use mote_test_support::mote;
use mote_test_support::scripted_server::{Answer, Request, Server};
use mote_test_support::site::{Site, said, server_settings};

const CA: &str = "ca_file = \"ca.pem\"\nrequest_timeout_s = 1";

#[test]
fn orders_and_reports_go_over_one_encrypted_connection() {
    for version in rustls::ALL_VERSIONS {
        let authority = Authority::new("ours");
        let shown = Shown {
            versions: std::slice::from_ref(version),
            ..Shown::only(authority.issue("127.0.0.1"))
        };
        let (server, url) = shown.serve(GOOD);
        let addresses = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let seen = std::sync::Arc::clone(&addresses);
        server.script(move |request: &Request| match request.asks_for_orders() {
            true => {
                let values = request.values("mote-address");
                seen.lock().unwrap().push(values.join(" and "));
                Answer::ok(format!("{{\"services\": {GOOD}}}"))
            }
            false => Answer::ok("{}"),
        });
        let site = Site::new(&server_settings(&url, CA));
        put(&site, "ca.pem", &authority.pem());
        let mut agent = site.run();
        server.wait_for_more("Good", 20);
        server.wait_for_more_asked(1);
        assert_eq!(server.connections(), 1, "{version:?}");
        wait_for_health(&site);
        let addresses = addresses.lock().unwrap();
        assert!(addresses.len() >= 2);
        for address in addresses.iter() {
            let address: std::net::SocketAddr = address.parse().expect("one address");
            assert!(address.ip().is_loopback() && address.port() > 0);
        }
        assert_eq!(agent.terminate().code(), Some(0));
    }
}

#[test]
fn an_authority_that_the_system_trusts_is_trusted() {
    let authority = Authority::new("system");
    let (server, url) = Shown::only(authority.issue("127.0.0.1")).serve(GOOD);
    let site = Site::new(&server_settings(&url, ""));
    let bundle = put(&site, "bundle.pem", &authority.pem());
    let check = |file: &std::path::Path| {
        let mut command = site.command(&["check"]);
        command
            .env("SSL_CERT_FILE", file)
            .env_remove("SSL_CERT_DIR");
        mote_test_support::site::said(&mut command)
    };
    let said = check(&bundle);
    assert_eq!((said.code, &*said.err), (0, ""), "{said:?}");

    let other = put(&site, "other.pem", &Authority::new("other").pem());
    let said = check(&other);
    assert_eq!(said.code, 69, "{said:?}");
    assert_eq!(
        said.err,
        format!(
            "mote: {url}/api/client/config/1: its certificate is from an authority that is not trusted here; name that authority's in `server.ca_file`\n"
        )
    );
    // A file in the settings replaces the system's authorities.
    site.write_settings(&server_settings(&url, "ca_file = \"other.pem\""));
    assert_eq!(check(&bundle).code, 69);
    drop(server);
}

#[test]
fn an_authority_can_be_mended_while_the_agent_runs() {
    let authority = Authority::new("ours");
    let (server, url) = Shown::only(authority.issue("127.0.0.1")).serve(GOOD);
    let site = Site::new(&server_settings(&url, CA));
    put(&site, "ca.pem", &Authority::new("ours").pem());
    let mut agent = site.run();
    wait_for_agent(&site);
    let sentence = "its certificate is not signed by the authority that is trusted here under that name; name the right one's in `server.ca_file`";
    let status = wait_for_reason(&site, "services_error", sentence);
    assert_eq!(status["services"], serde_json::json!([]));
    assert_eq!(server.orders_asked(), 0);
    put(&site, "ca.pem", &authority.pem());
    server.wait_for_more("Good", 2);
    assert_eq!(server.acknowledged("Good")[0]["seq"], 0);
    wait_for_health(&site);

    // A bad file is reported and not used.
    put(&site, "ca.pem", "-----BEGIN CERTIFICATE-----\n");
    let sentence = "ca.pem holds no valid certificates in PEM; what it held before stays in use";
    agent.wait_for_output(sentence);
    server.wait_for_more("Good", 5);
    agent.assert_said(sentence, 1);
    assert_eq!(agent.terminate().code(), Some(0));
}

#[test]
fn a_certificate_that_is_not_the_server_s_is_named_and_waited_for() {
    let authority = Authority::new("ours");
    let year = |year| rcgen::date_time_ymd(year, 1, 1);
    let stranger = Authority::new("theirs");
    let cases = [
        (
            authority.issue("localhost"),
            "its certificate is for another name",
        ),
        (
            authority.issue("127.0.0.2"),
            "its certificate is for another name",
        ),
        (
            authority.issue_with("127.0.0.1", |params| params.not_after = year(2001)),
            "its certificate has expired",
        ),
        (
            authority.issue_with("127.0.0.1", |params| params.not_before = year(4000)),
            "its certificate is not valid yet",
        ),
        (
            stranger.issue("127.0.0.1"),
            "its certificate is from an authority that is not trusted here",
        ),
    ];
    for (identity, sentence) in cases {
        let (good, _) = Shown::only(authority.issue("127.0.0.1")).serve(GOOD);
        let good_url = format!("https://127.0.0.1:{}", good.port());
        let site = Site::new(&server_settings(&good_url, CA));
        put(&site, "ca.pem", &authority.pem());
        let mut agent = site.run();
        good.wait_for_more("Good", 1);

        // The agent has reports now, and meets the other server.
        let (bad, bad_url) = Shown::only(identity).serve(GOOD);
        site.write_settings(&server_settings(&bad_url, CA));
        assert_eq!(site.call(&["reload"]).code, 0);
        wait_for_reason(&site, "error", sentence);
        let status = wait_for_reason(&site, "services_error", sentence);
        let reason = status["server"]["error"].as_str().unwrap();
        let start = format!("{bad_url}/api/client/service/report/: {sentence}");
        assert!(reason.starts_with(&start), "{reason}");
        assert_eq!(bad.orders_asked(), 0, "{sentence}");
        assert!(bad.brought("Good").is_empty(), "{sentence}");
        agent.assert_said(sentence, 2);

        site.write_settings(&server_settings(&good_url, CA));
        assert_eq!(site.call(&["reload"]).code, 0);
        wait_for_health(&site);
        assert_eq!(agent.terminate().code(), Some(0));
    }
}

#[test]
fn what_is_wrong_with_a_server_is_said_in_a_sentence() {
    let authority = Authority::new("ours");
    // What `openssl req -x509` makes, which many put into both places.
    let own = authority.itself();
    let nobody = authority.issue_with("127.0.0.1", |params| params.subject_alt_names.clear());
    let client = authority.issue_with("127.0.0.1", |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    });
    let with = |identity| Shown::only(identity).serve(GOOD);
    let shown = [
        (
            with(own),
            "its certificate is that of an authority; give the server one that the authority issues, with `CA:FALSE`",
        ),
        (
            with(nobody),
            "its certificate is for another name: it has no subjectAltName, which alone counts; have one issued with it",
        ),
        (
            with(client),
            "its certificate is not for servers; have one issued that is (extended key usage serverAuth)",
        ),
    ];
    // RFC 5246: a hello of TLS 1.1; then alerts, fatal.
    let mut old_hello = vec![0x16, 3, 2, 0, 42, 2, 0, 0, 38, 3, 2];
    old_hello.extend([7; 32]);
    old_hello.extend([0, 0xC0, 0x2F, 0]);
    let no_version = "it speaks neither TLS 1.2 nor TLS 1.3; have it offer one of them";
    let says = |record: &[u8]| answering(record.to_vec());
    let raw = [
        (says(&old_hello), no_version),
        (says(&[0x15, 3, 1, 0, 2, 2, 70]), no_version),
        (
            says(&[0x15, 3, 3, 0, 2, 2, 71]),
            "it has no cipher in common with this agent; have it offer those that are usual in TLS 1.2 or 1.3",
        ),
        (
            says(&[0x15, 3, 3, 0, 2, 2, 112]),
            "it does not know the host name in `server.url`; write the one that it is for",
        ),
        (
            says(b"220 mail.example ESMTP\r\n"),
            "it does not speak TLS; perhaps the port in `server.url` is another one's",
        ),
        (
            says(b""),
            "it closed the connection in the TLS handshake; perhaps it does not speak TLS at this port",
        ),
    ];
    let cases = shown
        .iter()
        .map(|((_, url), sentence)| (url, *sentence))
        .chain(raw.iter().map(|(url, sentence)| (url, *sentence)));
    for (url, sentence) in cases {
        let site = Site::new(&server_settings(url, CA));
        put(&site, "ca.pem", &authority.pem());
        let said = site.call(&["check"]);
        assert_eq!(said.code, 69, "{said:?}");
        let expected = format!("mote: {url}/api/client/config/1: {sentence}\n");
        assert_eq!(said.err, expected);
    }
}

/// Two authorities often have the same name. Which error that is depends on the kinds of their keys.
#[test]
fn a_certificate_of_another_authority_of_the_same_name_is_named() {
    let (_server, url) = Shown::only(Authority::new("ours").issue("127.0.0.1")).serve(GOOD);
    let site = Site::new(&server_settings(&url, CA));
    let keys = [
        rcgen::KeyPair::generate().unwrap(),
        rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap(),
        rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap(),
    ];
    for key in keys {
        let trusted = put(&site, "ca.pem", &Authority::with_key("ours", key).pem());
        let sentence = |url: &str| {
            format!(
                "mote: {url}: its certificate is not signed by the authority that is trusted here under that name"
            )
        };
        let checked = site.call(&["check"]);
        assert_eq!(checked.code, 69, "{checked:?}");
        let expected = sentence(&format!("{url}/api/client/config/1"));
        assert!(checked.err.starts_with(&expected), "{checked:?}");
        assert!(
            checked
                .err
                .ends_with("name the right one's in `server.ca_file`\n"),
            "{checked:?}"
        );

        // Whoever enrols has no settings, but typed an option.
        let trusted = trusted.display().to_string();
        let new = site.path("new/agent.toml").display().to_string();
        let mut enroll = mote();
        enroll.args(["--config", &new, "enroll", &url, "--code", "K7Q2-9XWM"]);
        let said = said(enroll.args(["--ca-file", &trusted]));
        assert_eq!(said.code, 69, "{said:?}");
        assert!(
            said.err
                .starts_with(&sentence(&format!("{url}/api/enroll"))),
            "{said:?}"
        );
        assert!(
            said.err.ends_with("name the right one's in `--ca-file`\n"),
            "{said:?}"
        );
    }
}

#[test]
fn a_certificate_and_a_key_that_do_not_fit_are_named() {
    let authority = Authority::new("ours");
    let own = authority.issue("web-1");
    let other = authority.issue("web-1");
    let keys = "client_cert_file = \"client.pem\"\nclient_key_file = \"client.key\"";
    let url = "https://127.0.0.1:1";
    let site = Site::new(&server_settings(url, &format!("{CA}\n{keys}")));
    put(&site, "ca.pem", &authority.pem());
    let cert = put(&site, "client.pem", &own.cert).canonicalize().unwrap();
    let key = put(&site, "client.key", "").canonicalize().unwrap();
    let (cert, key) = (cert.display(), key.display());
    let pem = |kind: &str| format!("-----BEGIN {kind}-----\nMAA=\n-----END {kind}-----\n");
    for (content, sentence) in [
        (
            other.key,
            format!(
                "{key} does not hold the key of the certificate in {cert}; put the two there that belong together"
            ),
        ),
        (
            pem("PRIVATE KEY"),
            format!(
                "the key in {key} is damaged or of a kind that is not supported; use RSA, or ECDSA over P-256 or P-384"
            ),
        ),
        (
            pem("ENCRYPTED PRIVATE KEY"),
            format!(
                "{key} holds no private key in PEM, or one that needs a password; write it there without one"
            ),
        ),
    ] {
        put(&site, "client.key", &content);
        let said = site.call(&["check"]);
        assert_eq!((said.code, said.err), (78, format!("mote: {sentence}\n")));
    }
    put(&site, "client.key", &own.key);
    put(&site, "client.pem", &pem("CERTIFICATE"));
    let said = site.call(&["check"]);
    let sentence = format!(
        "the certificate in {cert} is damaged or of a kind that is not supported; have another one issued"
    );
    assert_eq!((said.code, said.err), (78, format!("mote: {sentence}\n")));
}

/// The address of a server that answers whatever it is told with these bytes, and closes.
fn answering(bytes: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // All of it, so that closing is no reset.
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(&bytes);
        }
    });
    format!("https://127.0.0.1:{port}")
}

#[test]
fn a_client_certificate_lets_the_agent_in() {
    for version in rustls::ALL_VERSIONS {
        let authority = Authority::new("ours");
        let clients = Authority::new("clients");
        let shown = Shown {
            client_authority: Some(clients.pem()),
            versions: std::slice::from_ref(version),
            ..Shown::only(authority.issue("127.0.0.1"))
        };
        let (server, url) = shown.serve(GOOD);
        let site = Site::new(&server_settings(&url, CA));
        put(&site, "ca.pem", &authority.pem());
        let said = site.call(&["check"]);
        assert_eq!(said.code, 69, "{said:?}");
        let refusals = [
            "it demands a client certificate; name one in",
            // TLS 1.2 has no word for it.
            "it refuses the TLS handshake; it demands a client certificate (`server.client_cert_file`), or has no cipher",
        ];
        let refused = refusals.iter().any(|it| said.err.contains(it));
        assert!(refused, "{version:?}: {said:?}");

        let own = clients.issue("web-1");
        put(&site, "client.pem", &own.cert);
        let key = put(&site, "client.key", &own.key);
        let keys = "client_cert_file = \"client.pem\"\nclient_key_file = \"client.key\"";
        site.write_settings(&server_settings(&url, &format!("{CA}\n{keys}")));
        let mut agent = site.run();
        server.wait_for_more("Good", 2);

        // A stranger's certificate is refused. The agent takes a new one without a restart.
        let stranger = Authority::new("strangers").issue("web-1");
        put(&site, "client.pem", &stranger.cert);
        put(&site, "client.key", &stranger.key);
        wait_for_reason(&site, "error", "it does not take the client certificate");
        put(&site, "client.pem", &own.cert);
        put(&site, "client.key", &own.key);
        wait_for_health(&site);

        // A certificate without its key is not used.
        put(&site, "client.key", &stranger.key);
        let sentence = "does not hold the key of the certificate in";
        agent.wait_for_output(sentence);
        server.wait_for_more("Good", 2);
        assert_eq!(agent.terminate().code(), Some(0));

        super::write_with_mode(&key, &own.key, 0o640);
        let said = site.call(&["run"]);
        assert_eq!(said.code, 78, "{said:?}");
        let mend = format!("chmod 600 {}\n", key.canonicalize().unwrap().display());
        assert!(said.err.ends_with(&mend), "{said:?}");
    }
}

#[test]
fn a_server_that_hangs_in_the_handshake_is_left_in_time() {
    // Waits as a person would: much longer than the request may take, much shorter than for ever.
    let cases: [(&str, Option<u8>); 2] = [("silence", None), ("a trickle", Some(0x16))];
    for (name, byte) in cases {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!(
            "https://127.0.0.1:{}",
            listener.local_addr().unwrap().port()
        );
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                std::thread::spawn(move || {
                    // A record of 16 KiB that comes byte for byte.
                    let mut head = vec![0x16, 3, 3, 0x40, 0].into_iter();
                    while let Some(byte) = byte {
                        let next = head.next().unwrap_or(byte);
                        if stream.write_all(&[next]).is_err() {
                            return;
                        }
                        std::thread::sleep(Duration::from_millis(100));
                    }
                    let _ = stream.read_to_end(&mut Vec::new());
                });
            }
        });
        let site = Site::new(&server_settings(&url, CA));
        put(&site, "ca.pem", &Authority::new("ours").pem());
        let said = site.call(&["check"]);
        assert_eq!(said.code, 69, "{name}: {said:?}");
        assert_eq!(
            said.err,
            format!("mote: {url}/api/client/config/1: the TLS handshake took too long\n"),
            "{name}"
        );
    }
}

#[test]
fn what_an_encrypted_server_says_is_bounded_too() {
    let authority = Authority::new("ours");
    let (server, url) = Shown::only(authority.issue("127.0.0.1")).serve(GOOD);
    let site = Site::new(&server_settings(&url, CA));
    put(&site, "ca.pem", &authority.pem());
    let pause = Duration::from_millis(100);
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n{}";
    let big = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(17 << 10));
    for (answer, sentence) in [
        (Answer::Silence, "did not answer in time"),
        (
            Answer::Dribble(head.to_vec(), pause),
            "did not answer in time",
        ),
        (
            Answer::Dribble(b"HTTP/1.1 200 OK\r\nX: ".to_vec(), pause),
            "did not answer in time",
        ),
        (Answer::Flood(100 << 20), "answered with more than 64 KiB"),
        (
            Answer::Raw(big.into_bytes()),
            "answered with a head of more than 16 KiB",
        ),
        (
            Answer::Raw(head.to_vec()),
            "closed the connection before its answer was complete",
        ),
        (
            Answer::ok("{\"services\": {}}").with_header("Content-Encoding", "gzip"),
            "answered in the encoding \"gzip\", which was not asked for",
        ),
    ] {
        let given = answer.clone();
        server.script(move |_| given.clone());
        let said = site.call(&["check"]);
        assert_eq!(said.code, 69, "{said:?}");
        assert!(said.err.contains(sentence), "{answer:?}: {said:?}");
    }
}

#[test]
fn an_encoded_answer_acknowledges_a_report_all_the_same() {
    let authority = Authority::new("ours");
    let (server, url) = Shown::only(authority.issue("127.0.0.1")).serve(GOOD);
    server.script(|request: &Request| match request.asks_for_orders() {
        true => {
            assert_eq!(request.values("accept-encoding"), [""; 0]);
            Answer::ok(format!("{{\"services\": {GOOD}}}"))
        }
        false => Answer::ok("\x1f").with_header("Content-Encoding", "gzip"),
    });
    let site = Site::new(&server_settings(&url, CA));
    put(&site, "ca.pem", &authority.pem());
    let mut agent = site.run();
    let reports = server.wait_for_more("Good", 5);
    let seqs: Vec<_> = reports.iter().filter_map(|it| it["seq"].as_u64()).collect();
    assert!(seqs.is_sorted_by(|a, b| a < b), "{seqs:?}");
    assert_eq!(agent.terminate().code(), Some(0));
}

#[test]
fn a_server_without_tls_is_not_spoken_to() {
    let server = Server::new(GOOD);
    let url = format!("https://127.0.0.1:{}", server.port());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = format!(
        "https://127.0.0.1:{}",
        listener.local_addr().unwrap().port()
    );
    std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        let _ = stream.read(&mut [0; 1024]);
    });
    drop(server);
    for (url, sentence) in [
        (other, "it does not speak TLS"),
        (url, "Connection refused"),
    ] {
        let site = Site::new(&server_settings(&url, CA));
        put(&site, "ca.pem", &Authority::new("ours").pem());
        let said = site.call(&["check"]);
        assert_eq!(said.code, 69, "{said:?}");
        assert!(said.err.contains(sentence), "{said:?}");
    }
}

/// Filled up to the bound with what stands between certificates, and then a byte more.
#[test]
fn a_file_of_certificates_is_bounded() {
    let authority = Authority::new("ours");
    let own = authority.issue("agent");
    let shown = Shown {
        client_authority: Some(authority.pem()),
        ..Shown::only(authority.issue("127.0.0.1"))
    };
    let (_server, url) = shown.serve(GOOD);
    let keys =
        "ca_file = \"ca.pem\"\nclient_cert_file = \"own.pem\"\nclient_key_file = \"own.key\"";
    let site = Site::new(&server_settings(&url, keys));
    put(&site, "own.key", &own.key);
    let filled = |pem: &str, more: usize| {
        let bytes = usize::try_from(MAX_CERTIFICATES).unwrap() + more;
        format!("{pem}{}", "\n".repeat(bytes - pem.len()))
    };
    let check = |more_authority, more_own| {
        put(&site, "ca.pem", &filled(&authority.pem(), more_authority));
        put(&site, "own.pem", &filled(&own.cert, more_own));
        site.call(&["check"])
    };
    let said = check(0, 0);
    assert_eq!((said.code, &*said.err), (0, ""), "{said:?}");
    for (name, said) in [("ca.pem", check(1, 0)), ("own.pem", check(0, 1))] {
        let sentence = format!("{name}: it is larger than 1048576 bytes");
        assert!(said.err.contains(&sentence), "{said:?}");
        assert_eq!((said.code, said.err.lines().count()), (78, 1), "{said:?}");
    }

    // While it runs, the old ones stay.
    assert_eq!(check(0, 0).code, 0);
    let mut agent = site.run();
    wait_for_agent(&site);
    wait_for_health(&site);
    put(&site, "ca.pem", &filled(&authority.pem(), 1));
    agent.wait_for_output("it is larger than 1048576 bytes");
    wait_for_health(&site);
    assert!(agent.terminate().success());
}
