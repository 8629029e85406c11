//! What somebody with a Pico and the docs has in the end: one image without a client id for two boards, the rule for
//! their ports in the agent's settings, the collector's settings as they are shipped, and each board's values in its API.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::bench::Wire;
use super::pico::Pico;
use mote_test_support::qemu::pico_of_own_id;
use mote_test_support::site::{Site, server_settings};
use mote_test_support::{DEADLINE, Running, free_port, http_get, mote, need, root, wait_for};

/// Each of the link that it is built for.
const BOARDS: [(&str, &str, &str); 2] = [
    ("uart", "--uart", "e66138528335a72f"),
    ("usb", "--usb", "0123456789abcdef"),
];

/// The shipped settings, with another address and database, and the two boards below. The agent is the host `web` there, with the id 1.
fn collector(folder: &Path, address: &str) -> Running {
    let shipped = fs::read_to_string(root().join("conf/server.toml")).unwrap();
    let mut text = shipped
        .replace("127.0.0.1:9000", address)
        .replace("# database = \"../var/reports.db\"", "database = \"r.db\"");
    assert!(text.contains(address) && text.contains("\ndatabase = "));
    for (_, _, id) in BOARDS {
        text.push_str(&format!("[hosts.pico-{id}]\ntemplates = [\"board\"]\n"));
    }
    let settings = folder.join("server.toml");
    fs::write(&settings, text).unwrap();
    let mut command = mote();
    command.args(["serve", "--config"]).arg(settings);
    Running::start("collector", &mut command, folder)
}

#[test]
fn boards_are_known_by_their_own_ids_from_the_flash_to_the_api() {
    let images: Result<Vec<_>, _> = BOARDS.iter().map(|it| pico_of_own_id(it.0)).collect();
    let Some(images) = need("pico", images) else {
        return;
    };
    let site = Site::new("");
    let address = format!("127.0.0.1:{}", free_port());
    let url = format!("http://{address}");
    let _collector = collector(site.folder(), &address);
    wait_for("the collector", DEADLINE, || http_get(&url).ok());

    let rule = format!(
        "[[board]]\ndevice = \"{}/usb-mote_Pico_*-if00\"\nclient_id = \"pico-*\"\n",
        site.folder().display()
    );
    site.write_settings(&format!("{}\n{rule}", server_settings(&url, "")));
    site.start();
    let mut running = Vec::new();
    for ((_, link, id), image) in BOARDS.iter().zip(&images) {
        let wire = Wire::new(&site, &format!("usb-mote_Pico_{id}-if00"));
        let pico = Pico::start(&wire, image, &[link, "--unique-id", id]);
        running.push((wire, pico));
    }

    for (_, _, id) in BOARDS {
        let data = |service: &str| -> Value {
            let query = format!("client_id=pico-{id}&service={service}&limit=100");
            wait_for(&format!("{service} of {id}"), DEADLINE, || {
                let answer = http_get(&format!("{url}/api/reports?{query}")).ok()?;
                assert_eq!(answer.status, 200, "{}", answer.body);
                let page: Value = serde_json::from_str(&answer.body).expect("JSON");
                let report = page["reports"].as_array()?.first()?;
                assert_eq!(report["client_id"], format!("pico-{id}"));
                assert_eq!(report["data"]["status"], 0, "{report}");
                Some(report["data"].clone())
            })
        };
        // All of the template, and what the board samples before it has its orders.
        assert_eq!(data("Crash")["cause"], "none");
        let load = data("McuLoad")["load_permille"].as_u64().unwrap();
        assert!(load < 100, "{load}");
        assert_eq!(data("McuRam")["total"], 264 * 1024);
        assert_eq!(data("Alive")["reset_cause"], "power-on");
        site.wait_for_status("a board without faults", |status| {
            let boards = status["boards"].as_array()?;
            let name = format!("pico-{id}");
            let board = boards.iter().find(|it| it["client_id"] == *name)?;
            (board["open"] == true && board["services_error"].is_null()).then_some(())
        });
    }
    drop(running);
}
