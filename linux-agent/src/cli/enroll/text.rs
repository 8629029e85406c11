//! The agent's settings as `mote enroll` writes them.

use std::fmt::Write as _;

use nix::unistd::User;

use crate::settings::ClientName;

/// The settings that packages bring, as long as nobody has changed them.
const DELIVERED: u64 = digest(include_bytes!("../../../../conf/agent.toml"));

/// Whether `text` is that of the settings that packages bring.
pub fn is_delivered(text: &str) -> bool {
    digest(text.as_bytes()) == DELIVERED
}

/// FNV-1a, so that the program need not hold that text.
const fn digest(bytes: &[u8]) -> u64 {
    let (mut digest, mut rest) = (0xCBF2_9CE4_8422_2325_u64, bytes);
    while let [byte, others @ ..] = rest {
        digest = (digest ^ *byte as u64).wrapping_mul(0x0100_0000_01B3);
        rest = others;
    }
    digest
}

/// The delivered settings with what is known now; the rest stays, with its comments.
pub fn filled_in(
    text: &str,
    id: &ClientName,
    url: &str,
    ca_file: Option<&str>,
    user: Option<&User>,
) -> String {
    let mut lines = vec![
        ("client_id = ", literal(id)),
        ("url = ", quoted(url)),
        ("token_file = ", quoted("token")),
    ];
    lines.extend(user.map(|it| ("user = ", quoted(&it.name))));
    lines.extend(ca_file.map(|it| ("ca_file = ", quoted(it))));
    let mut filled = String::with_capacity(text.len() + 256);
    for line in text.lines() {
        let key = line.strip_prefix('#').unwrap_or(line);
        match lines.iter().find(|(start, _)| key.starts_with(start)) {
            Some((start, value)) => filled.extend([start, value.as_str()]),
            None => filled.push_str(line),
        }
        filled.push('\n');
    }
    filled
}

/// As TOML has it.
pub fn literal(id: &ClientName) -> String {
    match id {
        ClientName::Number(number) => number.to_string(),
        ClientName::Name(name) => quoted(name),
    }
}

/// Settings for a host that has none.
pub fn made(id: &ClientName, url: &str, ca_file: Option<&str>, user: Option<&User>) -> String {
    let id = literal(id);
    let user = user.map_or_else(String::new, |it| format!("user = {}\n", quoted(&it.name)));
    let mut text = format!(
        "# Made by `mote enroll`. Other keys have their defaults.\nclient_id = {id}\n{user}\n[server]\nurl = {}\ntoken_file = \"token\"\n",
        quoted(url)
    );
    if let Some(file) = ca_file {
        // Writing to a string does not fail.
        let _ = writeln!(text, "ca_file = {}", quoted(file));
    }
    text
}

/// As a string of TOML, whose escapes are those of JSON but for DEL.
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text)
        .to_string()
        .replace('\u{7f}', "\\u007f")
}

/// A certificate in base64 as a file of PEM.
pub fn pem(base64: &str) -> String {
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in base64.as_bytes().chunks(64) {
        text.extend(line.iter().map(|byte| char::from(*byte)));
        text.push('\n');
    }
    text + "-----END CERTIFICATE-----\n"
}
