//! Tokens on a file system that does not answer: only what needs them waits.

use std::fs;

use mote_test_support::collector::{Program, write_secret};
use mote_test_support::hung::{Hung, with_fuse};
use mote_test_support::{DEADLINE, wait_for};
use serde_json::json;

use crate::running::report;

const TOKEN: &str = "token-of-the-web-host";

#[test]
fn token_files_that_hang_hold_up_nobody() {
    with_fuse("hung::token_files_that_hang_hold_up_nobody", || {
        let folder = tempfile::tempdir().unwrap();
        let tokens = folder.path().join("tokens");
        fs::create_dir(&tokens).unwrap();
        write_secret(&tokens.join("web"), TOKEN);
        let toml = "listen = \"127.0.0.1:0\"\ndatabase = \"reports.db\"\n[hosts.web]\nid = 1\ntoken_file = \"tokens/web\"\n[hosts.db]\nid = 2\n";
        fs::write(folder.path().join("server.toml"), toml).unwrap();
        let collector = Program::start(folder);
        let db_reports = || {
            let answer = collector.report("", &report(json!({"client_id": 2})));
            assert_eq!(answer.status, 200, "{}", answer.body);
        };
        let wait_for_log = |text: &str| {
            wait_for(text, DEADLINE, || {
                db_reports();
                collector.output().contains(text).then_some(())
            });
        };
        db_reports();
        let hung = Hung::over(&tokens);
        wait_for_log("tokens hangs: its tokens stay as they were until it can be read again");
        // The token that was read before stays in force.
        assert_eq!(collector.services("1", TOKEN).status, 200);
        assert_eq!(collector.services("1", "").status, 401);
        drop(hung);
        wait_for_log("tokens can be read again");
        assert_eq!(collector.services("1", TOKEN).status, 200);

        // One that hangs from the start is nobody's until it can be read.
        let folder = collector.terminate();
        let hung = Hung::over(&tokens);
        let collector = Program::start(folder);
        assert_eq!(collector.services("1", TOKEN).status, 401);
        assert_eq!(collector.services("1", "").status, 401);
        let answer = collector.report("", &report(json!({"client_id": 2})));
        assert_eq!(answer.status, 200);
        drop(hung);
        wait_for("the token", DEADLINE, || {
            (collector.services("1", TOKEN).status == 200).then_some(())
        });
        collector.terminate();
    });
}
