//! What a server says of a refusal in its own words, fit for a log and a terminal.

use serde::Deserialize;
use serde_json::Value;

/// At most this many bytes of a refusal are read.
pub const MAX_LOOKED_AT: u64 = 8 << 10;

/// At most this many characters are shown.
pub const MAX_WORDS: usize = 200;

/// The names under which servers put their sentence, the most telling first.
const KEYS: [&str; 7] = [
    "error", "message", "detail", "reason", "msg", "errors", "title",
];

/// The sentence of an answer: of a JSON object its message, of HTML the title, else the first line that has text.
pub fn of(answer: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(answer);
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let found = if text.starts_with(['{', '[', '"']) {
        message_of(text).unwrap_or_else(|| text.to_owned())
    } else if text.starts_with('<') {
        unescaped(title_of(text)?)
    } else {
        text.to_owned()
    };
    let line = found.lines().map(printable).find(|line| !line.is_empty())?;
    Some(line.chars().take(MAX_WORDS).collect())
}

/// The first value may be followed by what was cut off or does not belong to it.
fn message_of(text: &str) -> Option<String> {
    let mut values = serde_json::Deserializer::from_str(text);
    in_value(&Value::deserialize(&mut values).ok()?)
}

fn in_value(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()).filter(|it| !it.trim().is_empty()),
        Value::Array(values) => values.iter().find_map(in_value),
        Value::Object(fields) => {
            let named = KEYS.iter().find_map(|key| in_value(fields.get(*key)?));
            // Django REST framework: {"client_id": ["This field is required."]}
            let of_field = || match fields.iter().next() {
                Some((key, Value::Array(values))) if fields.len() == 1 => values
                    .iter()
                    .find_map(in_value)
                    .map(|it| format!("{key}: {it}")),
                _ => None,
            };
            named.or_else(of_field)
        }
        _ => None,
    }
}

fn title_of(html: &str) -> Option<&str> {
    // Both have the same length, so positions in one are valid in the other.
    let lower = html.to_ascii_lowercase();
    for (open, close) in [("<title", "</title"), ("<h1", "</h1"), ("<p", "</p")] {
        let Some(at) = lower.find(open) else { continue };
        let begin = at + lower.get(at..)?.find('>')? + 1;
        let end = begin
            + lower
                .get(begin..)?
                .find(close)
                .unwrap_or(lower.len() - begin);
        let text = html.get(begin..end)?.trim();
        if !text.is_empty() {
            return Some(text);
        }
    }
    None
}

/// The entities that titles of error pages have.
fn unescaped(html: &str) -> String {
    [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&#x27;", "'"),
        ("&nbsp;", " "),
        ("&amp;", "&"),
    ]
    .iter()
    .fold(html.to_owned(), |text, (entity, it)| {
        text.replace(entity, it)
    })
}

/// Removes what could move a terminal's cursor or change its writing direction; joins white space.
fn printable(line: &str) -> String {
    let is_hidden = |it: char| matches!(it, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}');
    let spaced: String = line
        .chars()
        .map(|it| if it == '\t' { ' ' } else { it })
        .filter(|it| !it.is_control() && !is_hidden(*it))
        .collect();
    spaced.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(answer: &str) -> Option<String> {
        of(answer.as_bytes())
    }

    #[test]
    fn a_server_says_it_in_json_in_html_or_in_plain_text() {
        for (answer, words) in [
            (r#"{"error":"no such host"}"#, "no such host"),
            (r#"{"status":1,"message":"bad data"}"#, "bad data"),
            (r#"{"error":{"code":3,"message":"deep"}}"#, "deep"),
            (r#"{"detail":"CSRF Failed"}"#, "CSRF Failed"),
            (
                r#"{"client_id":["This field is required."]}"#,
                "client_id: This field is required.",
            ),
            (r#"["first","second"]"#, "first"),
            (r#"{"ok":false}"#, r#"{"ok":false}"#),
            (r#"{"error":"cut"#, r#"{"error":"cut"#),
            (
                "<!DOCTYPE html>\n<html><head>\n<TITLE lang=en>\n  403 Forbidden </TITLE>",
                "403 Forbidden",
            ),
            ("<html><h1>It&#39;s &lt;gone&gt;</h1>", "It's <gone>"),
            ("\n\n  KeyError: 'data'\nTraceback", "KeyError: 'data'"),
            ("Invalid\tJSON", "Invalid JSON"),
        ] {
            assert_eq!(said(answer).as_deref(), Some(words), "{answer}");
        }
        for nothing in ["", " \n ", "<html></html>", "<", "\u{202e}"] {
            assert_eq!(said(nothing), None, "{nothing:?}");
        }
    }

    #[test]
    fn words_are_short_and_move_no_cursor() {
        let shown = said(r#"{"error":"the code\u001b[2J is\u0000 \u202eused\nby another"}"#);
        assert_eq!(shown.as_deref(), Some("the code[2J is used"));
        assert_eq!(said(&"ä".repeat(300)), Some("ä".repeat(MAX_WORDS)));
        assert_eq!(of(b"\xff\xfe bad").as_deref(), Some("\u{fffd}\u{fffd} bad"));
    }
}
