//! Messages as POSTs: JSON of our own, or what ntfy and Slack take.

use std::time::Duration;

use serde_json::json;
use serde_json::value::RawValue;
use ureq::http::Method;

use super::outbox::OutboxEntry;
use crate::collector::settings::notify::{Webhook, WebhookFormat};
use crate::http::outbound::Outbound;
use crate::system::secret::SecretFile;

/// A POST may take this long.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// So much of an answer is looked at, for the other's words.
const MAX_ANSWER: u64 = 4096;

/// What is posted: content type, further headers, body.
type Post = (&'static str, Vec<(&'static str, String)>, String);

/// Delivers a message. The error is a sentence, without the address, which may be a secret.
pub fn deliver(webhook: &Webhook, entry: &OutboxEntry) -> Result<(), String> {
    let token = webhook.token.as_ref();
    let token = token.map(|path| SecretFile::for_this_process(path).read_token());
    let token = token.transpose().map_err(|error| error.to_string())?;
    let authorities = webhook.authorities.as_deref();
    let (kind, further, body) = post(webhook.format, entry);
    let mut headers = vec![("Content-Type", kind)];
    headers.extend(further.iter().map(|(name, value)| (*name, value.as_str())));
    let caller = Outbound::new(&webhook.url, authorities, token.as_ref(), TIMEOUT);
    let reply = caller.and_then(|it| it.call(Method::POST, &headers, body.as_bytes(), MAX_ANSWER));
    let reply = reply.map_err(|error| without_path(&error.to_string(), &webhook.url))?;
    if reply.status.is_success() {
        return Ok(());
    }
    let words = reply.words().map(|it| format!(", and says {it:?}"));
    let words = words.unwrap_or_default();
    Err(format!(
        "it answers with the status {}{words}",
        reply.status.as_u16()
    ))
}

/// An error without what follows the host in an address.
pub fn without_path(sentence: &str, url: &str) -> String {
    let host = url
        .match_indices('/')
        .nth(2)
        .and_then(|(at, _)| url.get(..at));
    sentence.replace(url, host.unwrap_or(url))
}

fn post(format: WebhookFormat, entry: &OutboxEntry) -> Post {
    let letter = &entry.letter;
    match format {
        WebhookFormat::Json => {
            // It was written as JSON before.
            let alarms = RawValue::from_string(letter.alarms.clone()).ok();
            let body = json!({
                "kind": letter.kind,
                "severity": letter.severity,
                "at": entry.at_ms as f64 / 1000.0,
                "title": letter.title,
                "text": letter.text,
                "alarms": alarms,
            });
            ("application/json", Vec::new(), body.to_string())
        }
        WebhookFormat::Ntfy => {
            let (priority, tags) = match (letter.kind.as_str(), letter.severity.as_str()) {
                ("cleared" | "over", _) => ("3", "white_check_mark"),
                (_, "critical") => ("5", "rotating_light"),
                (_, "warning") => ("4", "warning"),
                _ => ("3", "information_source"),
            };
            let headers = vec![
                ("Title", encoded(&letter.title)),
                ("Priority", priority.to_owned()),
                ("Tags", tags.to_owned()),
            ];
            ("text/plain; charset=utf-8", headers, letter.text.clone())
        }
        WebhookFormat::Slack => {
            let escaped = |text: &str| {
                text.replace('&', "&amp;")
                    .replace('<', "&lt;")
                    .replace('>', "&gt;")
            };
            let text = format!("*{}*\n{}", escaped(&letter.title), escaped(&letter.text));
            (
                "application/json",
                Vec::new(),
                json!({ "text": text }).to_string(),
            )
        }
    }
}

/// A header takes ASCII; ntfy reads RFC 2047 beyond that.
fn encoded(text: &str) -> String {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    let is_plain = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    match is_plain {
        true => text.to_owned(),
        false => format!("=?UTF-8?B?{}?=", STANDARD.encode(text)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::collector::alarms::outbox::{Letter, MessageFate};

    fn entry(title: &str, text: &str) -> OutboxEntry {
        OutboxEntry {
            id: 1,
            at_ms: 1500,
            target: "ops".to_owned(),
            letter: Arc::new(Letter {
                kind: "fired".to_owned(),
                severity: "critical".to_owned(),
                title: title.to_owned(),
                text: text.to_owned(),
                alarms: r#"[{"id":7}]"#.to_owned(),
                ids: vec![7],
            }),
            tries: 0,
            fate: MessageFate::Waiting,
            error: None,
        }
    }

    #[test]
    fn each_format_is_what_its_receiver_takes() {
        let entry = entry("[critical] <web1>: ü", "a & b\nc");
        let (kind, _, body) = post(WebhookFormat::Json, &entry);
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (kind, &body["at"], &body["alarms"][0]["id"]),
            ("application/json", &json!(1.5), &json!(7))
        );
        let (_, _, body) = post(WebhookFormat::Slack, &entry);
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["text"], "*[critical] &lt;web1&gt;: ü*\na &amp; b\nc");
        let (_, headers, body) = post(WebhookFormat::Ntfy, &entry);
        assert_eq!(body, "a & b\nc");
        // echo -n '[critical] <web1>: ü' | base64
        let title = "=?UTF-8?B?W2NyaXRpY2FsXSA8d2ViMT46IMO8?=".to_owned();
        assert_eq!(
            headers[..2],
            [("Title", title), ("Priority", "5".to_owned())]
        );
    }

    #[test]
    fn an_address_is_shown_up_to_its_host() {
        let url = "https://hooks.example/services/T0/SECRET";
        let told = without_path(&format!("{url} did not answer in time"), url);
        assert_eq!(told, "https://hooks.example did not answer in time");
    }
}
