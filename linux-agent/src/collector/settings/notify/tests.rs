//! What the tables mean, and what is refused.

use super::*;
use crate::collector::settings::tests::read;

fn target(keys: &str) -> Result<NotifyTarget, String> {
    let settings = read(&format!("[notify.ops]\n{keys}\n"))?;
    Ok(settings.notify.targets["ops"].clone())
}

const MAIL: &str =
    "server = \"smtp.example\", from = \"mote <m@example.org>\", to = [\"ops@example.org\"]";

#[test]
fn every_key_takes_effect() {
    let webhook = target(
        "webhook = \"http://h/x\"\nformat = \"slack\"\ntoken_file = \"t\"\nca_file = \"/c\"",
    );
    let expected = Webhook {
        url: "http://h/x".to_owned(),
        format: WebhookFormat::Slack,
        token: Some("conf/t".into()),
        authorities: Some("/c".into()),
    };
    assert_eq!(webhook, Ok(NotifyTarget::Webhook(expected)));
    for (keys, security, port) in [
        ("", Security::StartTls, 587),
        (", security = \"tls\"", Security::Tls, 465),
        (", security = \"none\"", Security::None, 25),
        (", port = 2525", Security::StartTls, 2525),
    ] {
        let Ok(NotifyTarget::Mail(mail)) = target(&format!("mail = {{ {MAIL}{keys} }}")) else {
            panic!("{keys}");
        };
        assert_eq!(
            (mail.security, mail.port, mail.to.len()),
            (security, port, 1)
        );
    }
    let Ok(NotifyTarget::Mail(mail)) = target(&format!(
        "mail = {{ {MAIL}, user = \"u\", password_file = \"p\", ca_file = \"c\" }}"
    )) else {
        panic!("a log-in");
    };
    assert_eq!(mail.login, Some(("u".to_owned(), "conf/p".into())));
    assert_eq!(mail.authorities, Some("conf/c".into()));
    let settings =
        read("alarm_repeat = \"4h\"\nalarm_grace = \"0s\"\nheartbeat_url = \"http://h/\"\n")
            .unwrap();
    let notify = settings.notify;
    assert_eq!(
        (notify.repeat, notify.grace),
        (Duration::from_secs(14_400), Duration::ZERO)
    );
    assert_eq!(notify.heartbeat.as_deref(), Some("http://h/"));
}

#[test]
fn what_reaches_nobody_is_refused_with_its_line() {
    for (keys, sentence) in [
        (
            "",
            "conf/server.toml:1: `notify.ops` must have a webhook or a mail",
        ),
        (
            "webhook = \"h/x\"",
            "conf/server.toml:2: `notify.ops.webhook` must be an address that starts with http:// or https://",
        ),
        (
            "webhook = \"file:///x\"",
            "conf/server.toml:2: `notify.ops.webhook` must be an address that starts with http:// or https://",
        ),
        (
            "webhook = \"http://h\"\nformat = \"xml\"",
            "conf/server.toml:3: `notify.ops.format` must be \"json\", \"ntfy\" or \"slack\"",
        ),
        (
            &format!("webhook = \"http://h\"\nmail = {{ {MAIL} }}"),
            "conf/server.toml:3: `notify.ops.mail` cannot be there beside webhook; make a table of its own for it",
        ),
        (
            "mail = { server = \"s\", from = \"a@b.c\" }",
            "conf/server.toml:2: `notify.ops.mail.to` must be a list of 1 to 50 mail addresses",
        ),
        (
            "mail = { server = \"s\", to = [\"a@b.c\"] }",
            "conf/server.toml:2: `notify.ops.mail.from` is missing",
        ),
        (
            "mail = { server = \"s\", from = \"nobody\", to = [\"a@b.c\"] }",
            "conf/server.toml:2: `notify.ops.mail.from` must be a mail address such as \"ops@example.org\"",
        ),
        (
            &format!("mail = {{ {MAIL}, user = \"u\" }}"),
            "conf/server.toml:2: `notify.ops.mail.user` and password_file go together; leave both out, or neither",
        ),
        (
            &format!(
                "mail = {{ {MAIL}, user = \"u\", password_file = \"p\", security = \"none\" }}"
            ),
            "conf/server.toml:2: `notify.ops.mail.security` must not be \"none\" with a password, which others could read",
        ),
        (
            "command = \"/bin/sh\"",
            "conf/server.toml:2: there is no setting `notify.ops.command`",
        ),
    ] {
        assert_eq!(target(keys).unwrap_err(), sentence, "{keys}");
    }
    let many = (0..=MAX_TARGETS).map(|n| format!("[notify.n{n}]\nwebhook = \"http://h\"\n"));
    assert!(
        read(&many.collect::<String>())
            .unwrap_err()
            .ends_with("must have 16 tables at most")
    );
}
