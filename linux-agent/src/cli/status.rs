//! `mote status`: how the agent is.

use std::thread;
use std::time::Duration;

use super::outcome::{ANSWER_TIME, Failed, exit, failed, is_read, say, say_raw};
use super::source::{Source, holder};
use crate::agent::control::{self, ControlRequest};
use crate::agent::status::Status;
use crate::system::lock::Holder;

/// Says how the agent is; gives an exit code of the Linux Standard Base.
pub fn status(source: &Source, json: bool) -> Result<u8, Failed> {
    let unknown = |sentence: String| failed(exit::UNKNOWN, sentence);
    let settings = source
        .settings_in_time()
        .map_err(|failed| unknown(failed.sentence))?;
    let (code, sentence) = match holder(&settings).map_err(|failed| unknown(failed.sentence))? {
        Holder::Running(_) | Holder::Hidden => {
            let answer = control::ask(&settings.state_dir, ControlRequest::Status, ANSWER_TIME)
                .map_err(|error| unknown(format!("the agent runs but does not answer: {error}")))?;
            let status: Status = serde_json::from_str(&answer)
                .map_err(|error| unknown(format!("the agent's answer is not valid: {error}")))?;
            match json {
                true => say(answer.trim_end())?,
                false => say(status.text().trim_end())?,
            }
            let is_denied = status.server.is_some_and(|it| it.denies_token);
            return Ok(if is_denied { exit::DENIED } else { exit::OK });
        }
        Holder::Dead => (exit::FAILED, "mote does not run: it died without stopping"),
        Holder::None => (exit::NOT_RUNNING, "mote does not run"),
    };
    match json {
        true => say("{\"running\":false}")?,
        false => say(sentence)?,
    }
    Ok(code)
}

/// Says how the agent is, again and again, while somebody reads it.
pub fn watch_status(source: &Source, json: bool) -> Result<u8, Failed> {
    while is_read() {
        if !json {
            // Clears the screen (ECMA-48: cursor home, erase to the end).
            say_raw("\x1b[H\x1b[2J")?;
        }
        status(source, json)?;
        thread::sleep(Duration::from_secs(2));
    }
    Ok(exit::OK)
}
