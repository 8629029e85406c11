//! The agent's settings. The input is the text of the file and, each after a zero byte, variables of the environment.
#![no_main]

use std::path::Path;

use libfuzzer_sys::{Corpus, fuzz_target};
use mote_agent::protocol::MAX_CLIENT_NAME;
use mote_agent::settings::{MAX_BOARDS, OrdersFrom, Settings};
use mote_agent::{http, orders};
use mote_fuzz::assert_is_sentence;

fuzz_target!(|input: &[u8]| -> Corpus {
    let Ok(input) = std::str::from_utf8(input) else {
        return Corpus::Reject;
    };
    let mut parts = input.split('\0');
    let text = parts.next().unwrap_or_default();
    let variables: Vec<_> = parts
        .filter_map(|variable| variable.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let folder = Path::new("/etc/mote");
    let settings = match Settings::parse(&folder.join("agent.toml"), folder, text, &variables) {
        Ok(settings) => settings,
        Err(error) => {
            assert_is_sentence(&error);
            return Corpus::Keep;
        }
    };
    assert!((1..=MAX_CLIENT_NAME).contains(&settings.client_id.to_string().len()));
    assert!(settings.boards.len() <= MAX_BOARDS);
    assert!(settings.state_dir.is_absolute() && settings.plugins.folder.is_absolute());
    match &settings.orders_from {
        OrdersFrom::Server(server) => {
            drop(http::Client::new(server, &settings.client_id.to_string()))
        }
        OrdersFrom::Local { document, .. } => drop(orders::parse(
            document.as_bytes(),
            &settings.plugins.allowed,
        )),
    }
    Corpus::Keep
});
