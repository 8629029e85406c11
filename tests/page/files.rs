//! The files of the page as they are served and as they are written.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use mote_test_support::collector::{Program, write_secret};
use mote_test_support::http::{Answer, Client};
use mote_test_support::root;

const SETTINGS: &str = "listen = \"127.0.0.1:0\"\ndatabase = \"reports.db\"\n";

/// All files together, in bytes.
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
    for answer in [page, get(&collector, "/", "")] {
        assert_eq!(answer.header("vary"), "Accept");
    }
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

#[test]
fn the_files_are_small_and_hold_nothing_that_the_policy_forbids() {
    let uplot =
        ["uPlot.iife.min.js", "uPlot.min.css", "LICENSE"].map(|it| assets().join("uplot").join(it));
    let vendored: u64 = uplot
        .iter()
        .map(|path| fs::metadata(path).unwrap().len())
        .sum();
    let ours = ours();
    let own: usize = ours.iter().map(|(_, text)| text.len()).sum();
    assert!(vendored + own as u64 <= BUDGET, "{}", vendored + own as u64);
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
