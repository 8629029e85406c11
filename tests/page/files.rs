//! The files of the page as they are served and as they are written.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use mote_test_support::collector::{Program, write_secret};
use mote_test_support::http::{Answer, Client};
use mote_test_support::root;

const SETTINGS: &str = "listen = \"127.0.0.1:0\"\ndatabase = \"reports.db\"\n";

/// All files together as they are sent, in bytes.
const BUDGET: u64 = 150 << 10;

fn get(collector: &Program, path: &str, headers: &str) -> Answer {
    let mut client = Client::connect(collector.address);
    client.send(&format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n"
    ));
    client.answer().unwrap()
}

fn assets() -> PathBuf {
    root().join("linux-agent/src/collector/page/assets")
}

/// The files of ours that browsers get, with their text.
fn ours() -> Vec<(String, String)> {
    let entries = fs::read_dir(assets()).unwrap().map(|it| it.unwrap().path());
    let served = entries.filter(|path| path.is_file() && path.extension() != Some("md".as_ref()));
    served
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect()
}

#[test]
fn browsers_get_the_page_and_others_the_text() {
    let collector = Program::new(SETTINGS);
    let browser = "Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\n";
    let page = get(&collector, "/", browser);
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(page.body.contains("page/main.js"), "{}", page.body);
    for accept in [
        "",
        "Accept: */*\r\n",
        "Accept: text/plain\r\n",
        "Accept: \u{e9}\r\n",
    ] {
        let text = get(&collector, "/", accept);
        assert_eq!(text.header("content-type"), "text/plain; charset=utf-8");
        assert!(text.body.starts_with("mote collector: "), "{}", text.body);
    }
    assert_eq!(page.header("vary"), "Accept, Accept-Encoding");
    assert_eq!(get(&collector, "/", "").header("vary"), "Accept");
}

#[test]
fn every_file_that_the_page_names_is_there() {
    let collector = Program::new(SETTINGS);
    let mut named = BTreeSet::from(["uplot-licence.txt".to_owned()]);
    for (name, text) in ours() {
        let parts = text.split(['"', '\'']);
        let of_document = parts.clone().filter_map(|part| part.strip_prefix("page/"));
        let of_modules = parts.filter_map(|part| part.strip_prefix("./"));
        named.extend(of_document.chain(of_modules).map(str::to_owned));
        assert_eq!(
            name == "index.html",
            get(&collector, &format!("/page/{name}"), "").status == 404
        );
    }
    assert!(named.len() > 15, "{named:?}");
    for name in named {
        let answer = get(&collector, &format!("/page/{name}"), "");
        assert_eq!(answer.status, 200, "{name}");
        let kind = match Path::new(&name).extension().unwrap().to_str().unwrap() {
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "svg" => "image/svg+xml",
            _ => "text/plain; charset=utf-8",
        };
        assert_eq!(answer.header("content-type"), kind, "{name}");
    }
    for path in [
        "/page/",
        "/page/nothing.js",
        "/page/../mod.rs",
        "/page/..%2Fmod.rs",
        "/page/%ff",
    ] {
        let status = get(&collector, path, "").status;
        assert!([400, 404].contains(&status), "{path}: {status}");
    }
}

#[test]
fn every_file_is_closed_to_strangers_and_kept_until_it_changes() {
    let collector = Program::new(SETTINGS);
    let accept = "Accept: text/html\r\n";
    let mut tags = BTreeSet::new();
    for path in [
        "/",
        "/page/main.js",
        "/page/style.css",
        "/page/uplot.js",
        "/page/icon.svg",
    ] {
        let answer = get(&collector, path, accept);
        let policy = answer.header("content-security-policy");
        assert_eq!(
            policy,
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
             base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
        );
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        assert_eq!(answer.header("cache-control"), "no-cache");
        let tag = answer.header("etag").to_owned();
        assert_eq!((tag.len(), tag.matches('"').count()), (34, 2), "{tag}");
        for known in [tag.clone(), format!("\"x\", W/{tag}")] {
            let again = get(
                &collector,
                path,
                &format!("{accept}If-None-Match: {known}\r\n"),
            );
            assert_eq!((again.status, &*again.body), (304, ""), "{path}");
            assert_eq!(again.header("etag"), tag);
        }
        let other = get(
            &collector,
            path,
            &format!("{accept}If-None-Match: \"x\"\r\n"),
        );
        assert_eq!((other.status, other.body), (200, answer.body));
        tags.insert(tag);
    }
    assert_eq!(tags.len(), 5);
}

#[test]
fn reading_the_page_needs_the_token_of_readers() {
    let folder = tempfile::tempdir().unwrap();
    write_secret(&folder.path().join("reader"), "0123456789abcdef");
    let settings = format!("{SETTINGS}read_token_file = \"reader\"\n");
    fs::write(folder.path().join("server.toml"), settings).unwrap();
    let collector = Program::start(folder);
    let accept = "Accept: text/html\r\n";
    let refused = get(&collector, "/", accept);
    assert_eq!(refused.status, 401);
    // So that a browser asks the person.
    assert!(refused.header("www-authenticate").starts_with("Basic "));
    // "me:0123456789abcdef"
    let basic = "Authorization: Basic bWU6MDEyMzQ1Njc4OWFiY2RlZg==\r\n";
    assert_eq!(
        get(&collector, "/", &format!("{accept}{basic}")).status,
        200
    );
}

/// What is sent to who takes gzip, as it comes over the line.
fn packed(collector: &Program, path: &str, accept: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(collector.address).unwrap();
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAccept: text/html\r\nAccept-Encoding: {accept}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let end = bytes.windows(4).position(|it| it == b"\r\n\r\n").unwrap() + 4;
    let body = bytes.split_off(end);
    (String::from_utf8(bytes).unwrap().to_lowercase(), body)
}

#[test]
fn the_files_are_packed_for_browsers_and_small_as_they_are_sent() {
    let collector = Program::new(SETTINGS);
    let mut named: BTreeSet<String> = ["uplot.js", "uplot.css", "uplot-licence.txt"]
        .map(str::to_owned)
        .into();
    named.extend(ours().into_iter().map(|(name, _)| name));
    named.remove("index.html");
    let paths = named.iter().map(|name| format!("/page/{name}"));
    let mut sent = 0;
    for path in paths.chain(["/".to_owned()]) {
        let (head, body) = packed(&collector, &path, "deflate, gzip;q=0.5, br");
        assert!(
            head.contains("\r\ncontent-encoding: gzip\r\n"),
            "{path}: {head}"
        );
        assert!(head.contains("accept-encoding\r\n"), "{path}: {head}");
        let (plain, whole) = packed(&collector, &path, "br, gzip;q=0");
        assert!(!plain.contains("content-encoding"), "{path}: {plain}");
        let mut unpacked = Vec::new();
        GzDecoder::new(&*body).read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, whole, "{path}");
        sent += body.len();
    }
    assert!(sent as u64 <= BUDGET, "{sent}");
}

#[test]
fn the_files_hold_nothing_that_the_policy_forbids() {
    let ours = ours();
    for (name, text) in &ours {
        for word in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            " style=\"",
            " onclick",
        ] {
            assert!(!text.contains(word), "{name}: {word}");
        }
        // An address that begins at the root is wrong below a path of a proxy, and another host is none of ours.
        for word in [
            "\"/page", "\"/api", "src=\"/", "href=\"/", "https://", "http://",
        ] {
            let is_name = name == "icon.svg" && word == "http://";
            assert!(is_name || !text.contains(word), "{name}: {word}");
        }
        let lines = text.lines().count();
        assert!(lines <= 400, "{name}: {lines}");
    }
}
